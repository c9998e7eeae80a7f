"""The page while things happen: approval, answers that grow, agents that come and go, many messages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from agency.slash import format_command
from tests.broker import free_port
from tests.demo.conftest import Programs
from tests.demo.tab import Tab, address_of
from tests.demo.terminal_program import DEMO

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PROGRAM = str(Path(__file__).with_name("page_program.py"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Programs() as programs:
        yield address_of(programs.start(PROGRAM, WEB_APP_PORT="0"))


@pytest.fixture(scope="module")
def tab(browser: Browser, address: str) -> Iterator[Tab]:
    with browser.new_context() as context:
        yield Tab(context.new_page(), address)


def command(to: str, name: str, **args: object) -> str:
    return format_command({"to": to, "action": {"name": name, "args": args}})


# Approval


def test_what_is_approved_runs(tab: Tab) -> None:
    tab.type(command("Host", "shell_command", command="echo twelve; pwd"))
    expect(tab.question).to_contain_text("Host asks for your approval")
    expect(tab.question).to_contain_text("User wants to use Host in ")
    shown = tab.question.locator("pre")
    expect(shown).to_have_text('/Host.shell_command command:"echo twelve; pwd"')
    expect(tab.question).to_contain_text('with id "User ')
    tab.press("Approve")
    expect(tab.answers("You approved").last).to_contain_text("echo twelve; pwd")
    expect(tab.answers("Host").last).to_contain_text("twelve")
    expect(tab.question).to_have_count(0)


def test_what_is_denied_does_not_run(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "file"
    tab.type(command("Host", "write_to_file", file_path=str(file), text="text"))
    tab.press("Deny")
    expect(tab.answers("You denied").last).to_contain_text(str(file))
    problem = tab.answers("Host").last.locator(".error")
    expect(problem).to_contain_text('"Host.write_to_file" not permitted')
    assert not file.exists()


def test_a_command_that_takes_its_time_is_said_to_do_so_until_it_ends(
    tab: Tab, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    tab.type(command("Host", "shell_command", command=f"cat {fifo}"))
    tab.press("Approve")
    expect(tab.answers("You approved").last).to_contain_text("fifo")
    tab.type(command("Host", "list_files", directory_path="/"))
    waiting = tab.answers("No answer from Host yet")
    expect(waiting.filter(has_text="list_files")).to_be_visible()
    fifo.write_text("at last")
    tab.press("Approve")
    expect(tab.answers("Host").last).to_contain_text("etc/")
    expect(waiting).to_have_count(0)


def test_no_answer_in_time_is_a_refusal(tab: Tab) -> None:
    tab.type(command("Hasty", "shell_command", command="echo late"))
    expect(tab.question).to_be_visible()
    problem = tab.answers("Hasty").last.locator(".error")
    expect(problem).to_contain_text('"Hasty.shell_command" not permitted')
    expect(tab.answers("You did not answer in time").last).to_contain_text("echo late")
    expect(tab.question).to_have_count(0)


def test_the_question_says_who_asked(tab: Tab) -> None:
    tab.type(command("Delegate", "run", command="echo for me"))
    expect(tab.question).to_contain_text("Delegate wants to use Host in ")
    expect(tab.question).to_contain_text('led to by "User":')
    tab.press("Deny")
    expect(tab.answers("Delegate").last.locator(".error")).to_contain_text("not permitted")


def test_questions_come_one_after_the_other(tab: Tab) -> None:
    for number in range(3):
        tab.type(command("Host", "shell_command", command=f"echo question {number}"))
    expect(tab.question).to_contain_text("2 more after this")
    for number in range(3):
        expect(tab.question.locator("pre")).to_contain_text(f"echo question {number}")
        tab.press("Approve")
        expect(tab.answers("You approved").last).to_contain_text(f"echo question {number}")
    expect(tab.question).to_have_count(0)
    expect(tab.answers("Host").last).to_contain_text("question 2")


def test_a_question_is_in_every_tab_and_answered_once(
    browser: Browser, tab: Tab, address: str
) -> None:
    with browser.new_context() as context:
        other = Tab(context.new_page(), address)
        tab.type(command("Host", "shell_command", command="echo once"))
        expect(other.question.locator("pre")).to_contain_text("echo once")
        other.press("Approve")
        expect(tab.question).to_have_count(0)
        expect(tab.answers("You approved").filter(has_text="echo once")).to_have_count(1)


def test_in_a_small_window_there_is_room_for_the_question_and_the_box(
    browser: Browser, address: str
) -> None:
    with browser.new_context(viewport={"width": 400, "height": 700}) as context:
        tab = Tab(context.new_page(), address)
        tab.type(command("Host", "shell_command", command="echo small; " * 50))
        tab.question.get_by_role("button", name="Deny").click(trial=True)
        for part in [tab.question, tab.box]:
            expect(part).to_be_in_viewport(ratio=0.9)
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 400
        tab.press("Deny")
        expect(tab.question).to_have_count(0)
        expect(tab.present).to_be_in_viewport(ratio=0.9)


TEMPLATES = [
    "${window.harmed = 1}",
    "{{constructor.constructor('window.harmed=1')()}}",
    "{{{this}}}",
    "`${window.harmed = 1}`",
    '"><img src=x onerror="window.harmed=1">',
    "' onmouseover='window.harmed=1",
]


def test_what_is_asked_is_only_text(tab: Tab) -> None:
    asked = command("Host", "shell_command", command=" ".join(TEMPLATES))
    tab.type(asked)
    expect(tab.question.locator("pre")).to_have_text(asked)
    tab.press("Deny")
    expect(tab.answers("You denied").last).to_contain_text(asked)
    assert tab.page.evaluate("window.harmed") is None


# Answers that grow


def test_an_answer_in_parts_grows_as_they_arrive(tab: Tab) -> None:
    tab.type(command("Teller", "tell", parts=["Once ", "upon ", "a time"]))
    value = tab.answers("Teller").last.locator("pre")
    for text in ["Once ", "Once upon ", "Once upon a time"]:
        expect(value).to_have_text(text, use_inner_text=False)
        tab.type(command("Teller", "go_on"))
    expect(tab.answers("Teller")).to_have_count(1)


def test_parts_that_are_no_running_text_have_a_line_each(tab: Tab) -> None:
    tab.type(command("Teller", "tell", parts=[1, {"two": 2}]))
    value = tab.answers("Teller").last.locator("pre")
    expect(value).to_have_text("1")
    tab.type(command("Teller", "go_on"))
    expect(value).to_have_text('1\n{"two": 2}')
    tab.type(command("Teller", "go_on"))


def test_what_is_said_grows_word_by_word(tab: Tab) -> None:
    before = tab.answers("Teller").count()
    tab.type(command("Teller", "say", content="How was it?"))
    said = tab.answers("Teller").last
    expect(said).to_contain_text("It was dark ▍")
    expect(said.locator("strong")).to_have_text("dark")
    tab.type(command("Teller", "go_on"))
    tab.type(command("Teller", "go_on"))
    expect(said).to_contain_text("It was dark and stormy.")
    expect(said).not_to_contain_text("▍")
    expect(tab.answers("Teller")).to_have_count(before + 1)


# What is shown


def test_a_large_value_is_folded_and_can_be_opened(tab: Tab) -> None:
    value = {f"key {number}": list(range(10)) for number in range(20)}
    tab.type(command("Giver", "give", value=value))
    answer = tab.answers("Giver").last
    expect(answer.locator("summary")).to_contain_text("20 entries")
    expect(answer.locator("pre")).not_to_be_visible()
    answer.locator("summary").click()
    expect(answer.locator("pre")).to_be_visible()
    assert json.loads(answer.locator("pre").inner_text()) == value


def test_a_long_text_is_folded_even_if_it_is_one_line(tab: Tab) -> None:
    tab.box.fill(command("Giver", "give", value="word " * 1000))
    tab.box.press("Enter")
    expect(tab.answers("Giver").last.locator("summary")).to_have_text("5000 characters")


def test_who_comes_and_goes_is_listed_and_nobody_is_disturbed(tab: Tab) -> None:
    heading = tab.present.get_by_role("heading", name="Newcomer")
    tab.type(command("Door", "open", ids=["Newcomer"]))
    expect(heading).to_be_visible()
    tab.type(command("Door", "close", ids=["Newcomer"]))
    expect(heading).to_have_count(0)
    expect(tab.answers("Newcomer")).to_have_count(0)


def test_the_names_of_agents_are_only_text(tab: Tab) -> None:
    tab.type(command("Door", "open", ids=TEMPLATES))
    for text in TEMPLATES:
        expect(tab.present.get_by_role("heading", name=text, exact=True)).to_be_visible()
    tab.type(command("Door", "close", ids=TEMPLATES))
    assert tab.page.evaluate("window.harmed") is None


def test_the_page_stays_fluid_after_2000_messages(tab: Tab) -> None:
    tab.box.fill(command("Flood", "say_often", times=2000))
    tab.box.press("Enter")
    expect(tab.answers("Flood").last).to_contain_text("that was all")
    expect(tab.answers("Flood").nth(-2)).to_contain_text("number 1999")
    assert tab.page.locator("#chat .message-row").count() <= 200
    for number in range(3):
        tab.type(command("Calculator", "add", a=number, b=555000))
        expect(tab.answers("Calculator").last).to_contain_text(str(number + 555000))


def test_a_page_goes_on_after_its_server_was_started_anew(
    programs: Programs, browser: Browser
) -> None:
    port = str(free_port())
    with Programs() as first, browser.new_context() as context:
        address = address_of(first.start(str(DEMO / "demo_native.py"), WEB_APP_PORT=port))
        tab = Tab(context.new_page(), address)
        tab.type("/Calculator.add a:1 b:1")
        expect(tab.answers("Calculator").last).to_contain_text("2")
        first.close()
        expect(tab.page.locator("body.ended")).to_be_visible()
        address_of(programs.start(str(DEMO / "demo_native.py"), WEB_APP_PORT=port))
        expect(tab.answers("Calculator")).to_have_count(0)  # a new conversation
        tab.type("/Calculator.add a:2 b:2")
        expect(tab.answers("Calculator").last).to_contain_text("4")

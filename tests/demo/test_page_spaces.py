"""The page in the other spaces: agents in processes of their own, and in another application."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from agency import AMQPSpace
from tests.demo.conftest import Programs
from tests.demo.openai_server import Calls, OpenAIServer, Words
from tests.demo.tab import Tab, address_of
from tests.demo.terminal_program import DEMO

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

LONG = '/Host.shell_command command:"echo has begun >&2; sleep 600"'


def test_agents_in_processes_of_their_own_talk_with_the_person(
    programs: Programs, browser: Browser
) -> None:
    program = programs.start(str(DEMO / "demo_local.py"), WEB_APP_PORT="0")
    with browser.new_context() as context:
        tab = Tab(context.new_page(), address_of(program))
        tab.type("Hello, world!")
        expect(tab.answers("Guide").last).to_contain_text("I am a small program")
        tab.type("Who is here?")
        expect(tab.answers("Guide").filter(has_text="Calculator can add").last).to_be_visible()
        tab.type("/Calculator.divide a:1 b:0")
        expect(tab.answers("Calculator").last).to_contain_text("ZeroDivisionError")
        tab.type('/Host.list_files directory_path:"/"')
        program.expect("Allow this? [y/N] ")
        program.type("y\n")
        expect(tab.answers("Host").last).to_contain_text("etc/")
        tab.type("/*.help")
        expect(tab.answers("Host").last).to_contain_text("/Host.shell_command command:string")
        program.press_ctrl_c()
        assert program.wait() == 130
        expect(tab.page.locator("body.ended")).to_be_visible()
    assert "Traceback" not in program.output


OVERHEARD = """
import runpy, sys

def overhear(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if host not in {None, "localhost", "127.0.0.1", "::1"}:
        print("wants to reach", args, flush=True)

sys.addaudithook(overhear)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_the_program_wants_to_reach_no_other_machine(programs: Programs, browser: Browser) -> None:
    program = programs.start("-c", OVERHEARD, str(DEMO / "demo_native.py"), WEB_APP_PORT="0")
    with browser.new_context() as context:
        tab = Tab(context.new_page(), address_of(program))
        tab.type("Who is here?")
        expect(tab.answers("Guide").filter(has_text="Calculator can add").last).to_be_visible()
    program.press_ctrl_c()
    assert program.wait() == 130
    assert "wants to reach" not in program.output


def test_settings_that_are_empty_are_none(programs: Programs) -> None:
    empty = {"WEB_APP_PORT": "", "WEB_APP_ADDRESS": "", "HOST_APPROVER": ""}
    program = programs.start(str(DEMO / "demo_native.py"), **empty)
    before = program.expect("8080")
    assert before in {"The page is at http://localhost:", "The page cannot have port "}


@pytest.mark.parametrize("name", ["demo_native.py", "demo_local.py"])
def test_ctrl_c_ends_the_demo_with_a_command_running_and_a_question_in_the_page(
    programs: Programs, browser: Browser, name: str
) -> None:
    program = programs.start(str(DEMO / name), WEB_APP_PORT="0", HOST_APPROVER="User")
    with browser.new_context() as context:
        tab = Tab(context.new_page(), address_of(program))
        tab.type('/Host.list_files directory_path:"/"')
        tab.press("Approve")
        expect(tab.answers("Host").last).to_contain_text("etc/")
        tab.type('/Host.list_files directory_path:"/etc"')
        tab.press("Deny")
        expect(tab.answers("Host").last.locator(".error")).to_contain_text("not permitted")
        tab.type(LONG)
        tab.type('/Host.read_file file_path:"/etc/hosts"')
        expect(tab.question).to_contain_text("1 more after this")
        tab.press("Approve")
        expect(tab.answers("You approved").last).to_contain_text("sleep 600")
        expect(tab.question.locator("pre")).to_contain_text("/Host.read_file")
        program.press_ctrl_c()
        assert program.wait() == 130
    assert program.output.endswith("^C"), "nobody was removed while still at work"


@pytest.mark.broker
@pytest.mark.usefixtures("amqp")
def test_two_applications_on_one_broker_hold_a_conversation_with_a_person(
    programs: Programs, browser: Browser
) -> None:
    page = programs.start(str(DEMO / "demo_amqp_1.py"), WEB_APP_PORT="0", HOST_APPROVER="User")
    with Programs() as first, browser.new_context() as context:
        others = first.start(str(DEMO / "demo_amqp_2.py"))
        others.expect("Guide is in the space")
        tab = Tab(context.new_page(), address_of(page))
        for agent in ["Calculator", "Guide", "Host"]:
            expect(tab.present.get_by_role("heading", name=agent)).to_be_visible()
        welcomes = tab.answers("Guide").filter(has_text="I am a small program")
        tab.type("Hello, world!")
        expect(welcomes).to_have_count(1)
        tab.type("/Calculator.multiply a:6 b:7")
        expect(tab.answers("Calculator").last).to_contain_text("42")
        tab.type("/*.help")
        expect(tab.answers("Calculator").last).to_contain_text("/Calculator.add a:number b:number")
        tab.type('/Host.list_files directory_path:"/"')
        tab.press("Approve")
        expect(tab.answers("Host").last).to_contain_text("etc/")

        others.press_ctrl_c()
        assert others.wait() == 130
        expect(tab.present.get_by_role("heading", name="Guide")).to_have_count(0)
        again = programs.start(str(DEMO / "demo_amqp_2.py"))
        again.expect("Guide is in the space")
        expect(tab.present.get_by_role("heading", name="Guide")).to_be_visible()
        tab.type("Hello again!")
        expect(welcomes).to_have_count(2)
        page.press_ctrl_c()
        assert page.wait() == 130
    assert "Traceback" not in page.output + others.output + again.output


@pytest.mark.broker
@pytest.mark.usefixtures("amqp")
def test_a_model_in_another_application_acts_with_approval_at_the_terminal_of_the_page(
    programs: Programs, browser: Browser
) -> None:
    with OpenAIServer(
        Calls([("Host-shell_command", {"command": "echo from there"})]),
        Words("It said: from there."),
        Calls([("Calculator-add", {"a": 20, "b": 22})]),
        Words("That is 42."),
    ) as server:
        page = programs.start(str(DEMO / "demo_amqp_1.py"), WEB_APP_PORT="0")
        models = {"OPENAI_BASE_URL": server.url, "OPENAI_MODEL": "scripted", "OPENAI_API_KEY": "k"}
        programs.start(str(DEMO / "demo_amqp_2.py"), **models).expect("FunctionAI is in the space")
        with browser.new_context() as context:
            tab = Tab(context.new_page(), address_of(page))
            expect(tab.present.get_by_role("heading", name="FunctionAI")).to_be_visible()
            tab.type('/FunctionAI.say content:"What does the host say?"')
            question = page.expect("Allow this? [y/N] ")
            assert '  | from       "FunctionAI"\r\n  | led to by  "User"\r\n' in question
            assert '/Host.shell_command command:"echo from there"' in question
            page.type("y\n")
            expect(tab.answers("FunctionAI").last).to_contain_text("It said: from there.")
            server.asked()
            assert "from there\\n" in server.asked().messages[-1]["content"]

            tab.type('/FunctionAI.say content:"What are 20 and 22?"')
            expect(tab.answers("FunctionAI").last).to_contain_text("That is 42.")
            server.asked()
            assert server.asked().messages[-1]["content"] == '{"result": 42}'


@pytest.mark.broker
@pytest.mark.usefixtures("amqp")
def test_who_comes_from_another_application_is_seen_and_heard_without_a_question(
    programs: Programs, browser: Browser
) -> None:
    page = programs.start(str(DEMO / "demo_amqp_1.py"), WEB_APP_PORT="0", HOST_APPROVER="User")
    with browser.new_context() as context:
        tab = Tab(context.new_page(), address_of(page))
        with AMQPSpace() as space:
            visitor = space.join("Visitor")
            visitor.send({"to": "User", "action": {"name": "say", "args": {"content": "I am in."}}})
            expect(tab.answers("Visitor")).to_contain_text("I am in.")
            expect(tab.present.get_by_role("heading", name="Visitor")).to_be_visible()

            listing = {"name": "list_files", "args": {"directory_path": "/"}}
            visitor.send({"to": "Host", "action": listing})
            expect(tab.question).to_contain_text("Visitor wants to use Host in ")
            tab.press("Approve")
            answer = visitor.receive()
            assert "etc/" in answer["action"]["args"]["data"]

            visitor.send({"to": "Host", "action": listing})
            tab.press("Deny")
            refusal = visitor.receive()
            assert refusal["action"]["args"]["error"] == '"Host.list_files" not permitted'
        expect(tab.present.get_by_role("heading", name="Visitor")).to_have_count(0)

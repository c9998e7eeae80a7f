"""The page, in a real browser: what a person types and sees, and what nobody can do to them."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from agency.slash import format_command
from tests.demo.conftest import Programs
from tests.demo.tab import Tab, address_of
from tests.demo.terminal_program import DEMO, PATIENCE, TerminalProgram

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def demo() -> Iterator[TerminalProgram]:
    with Programs() as programs:
        yield programs.start(str(DEMO / "demo_native.py"), WEB_APP_PORT="0")


@pytest.fixture(scope="module")
def address(demo: TerminalProgram) -> str:
    return address_of(demo)


@pytest.fixture(scope="module")
def tab(browser: Browser, address: str) -> Iterator[Tab]:
    """One for all tests here: what each looks for is its own, or the last of its kind."""
    with browser.new_context() as context:
        yield Tab(context.new_page(), address)


def test_the_page_shows_and_asks_nobody_else_for_anything(tab: Tab) -> None:
    expect(tab.page).to_have_title("Agency")
    expect(tab.chat).to_be_visible()
    assert tab.foreign == []


def test_an_empty_page_says_what_it_is_and_what_to_begin_with(tab: Tab) -> None:
    expect(tab.chat).to_contain_text("Everyone in the list is here with you")
    tab.chat.get_by_role("button", name="Ask everyone: who is here?").click()
    expect(tab.box).to_have_value("Who is here?")
    expect(tab.box).to_be_focused()


def test_everybody_answers_a_broadcast_of_help(tab: Tab) -> None:
    tab.type("/*.help")
    expect(tab.box).to_have_value("")
    for agent, command in [
        ("Host", "/Host.shell_command command:string"),
        ("Calculator", "/Calculator.add a:number b:number"),
        ("Guide", "/Guide.say content:string"),
    ]:
        expect(tab.answers(agent).last).to_contain_text("answers /*.help")
        expect(tab.answers(agent).last).to_contain_text(command)


def test_one_agent_is_asked_about_one_action(tab: Tab) -> None:
    tab.type('/Host.help action_name:"read_file"')
    expect(tab.answers("Host").last).to_contain_text('answers /Host.help action_name:"read_file"')
    expect(tab.answers("Host").last).to_contain_text("/Host.read_file file_path:string")


def test_plain_text_is_said_to_everyone(tab: Tab) -> None:
    tab.type("Hello, world!")
    expect(tab.answers("Guide").last).to_contain_text("I am a small program")


def test_the_guide_discovers_who_is_there(tab: Tab) -> None:
    tab.type("Who is here?")
    expect(tab.answers("Guide").filter(has_text="Host can shell_command").last).to_be_visible()
    expect(tab.answers("Guide").filter(has_text="Calculator can add").last).to_be_visible()


def test_an_action_is_invoked_with_values_of_any_kind(tab: Tab) -> None:
    tab.type("/Calculator.multiply a:6 b:7.5")
    expect(tab.answers("Calculator").last).to_contain_text("45.0")


def test_errors_look_like_errors(tab: Tab) -> None:
    tab.type("/Calculator.divide a:1 b:0")
    problem = tab.answers("Calculator").last.locator(".error")
    expect(problem).to_contain_text("ZeroDivisionError: division by zero")
    tab.type("/Calculator.nothing")
    expect(tab.answers("Calculator").last).to_contain_text('"nothing" not found on "Calculator"')
    tab.type("/Calculator.add a:1")
    expect(tab.answers("Calculator").last).to_contain_text('argument "b"')


def test_a_mistake_in_the_syntax_is_explained_and_can_be_corrected(tab: Tab) -> None:
    tab.type("/Calculator.add a:1 b:two")
    explained = tab.answers("Not sent").last
    expect(explained).to_contain_text("text stands in double quotes")
    expect(explained.locator("pre")).to_have_text("/Calculator.add a:1 b:▸two")
    expect(tab.box).to_have_value("/Calculator.add a:1 b:two")


def test_tabs_share_one_conversation(browser: Browser, address: str) -> None:
    with browser.new_context() as first, browser.new_context() as second:
        one, other = Tab(first.new_page(), address), Tab(second.new_page(), address)
        one.type("/Calculator.subtract a:1000 b:1")
        expect(other.answers("Calculator").last).to_contain_text("999")
        other.page.reload()
        expect(other.answers("Calculator").last).to_contain_text("999")


HOSTILE = [
    "\x1b[2J\x1b]52;c;aGk=\x07\x9b\u202egnp.exe",
    "<img src=x onerror=\"window.harmed='image'\">",
    "<script>window.harmed='script'</script>",
    "<svg onload=\"window.harmed='svg'\"><script>window.harmed='svg'</script></svg>",
    "<iframe src='FOREIGN/frame' srcdoc='<script>top.harmed=1</script>'></iframe>",
    "<style>@import url(FOREIGN/style.css); body {background: url(FOREIGN/b)}",
    "<link rel=stylesheet href=FOREIGN/sheet.css>",
    "<meta http-equiv=refresh content='0;url=FOREIGN/'>",
    "<video src=FOREIGN/v autoplay></video><audio src=FOREIGN/a autoplay>",
    "<div style='background-image: url(FOREIGN/style.png)'>styled</div>",
    "<object data=FOREIGN/o></object><embed src=FOREIGN/e>",
    "<base href=FOREIGN/>",
    "<form action=FOREIGN/><button>Press</button></form>",
    "![picture](FOREIGN/picture.png?secret)",
    "<picture><source srcset=FOREIGN/s></picture><img srcset='FOREIGN/t 1x'>",
    "[link](javascript:window.harmed='link')",
    "```mermaid\ngraph TD; A[<img src=FOREIGN/m onerror=window.harmed=1>]\n```",
    "$$\\includegraphics{FOREIGN/tex}$$",
]


@pytest.fixture
def foreign() -> Iterator[socket.socket]:
    """Another server: whoever asks it for anything waits to be accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def assert_harmless(tab: Tab, foreign: socket.socket) -> None:
    assert tab.page.evaluate("window.harmed") is None
    expect(tab.page).to_have_title("Agency")
    assert tab.foreign == []
    with pytest.raises(BlockingIOError):
        foreign.accept()


@pytest.mark.parametrize("action", ["say", "response", "error"])
def test_nothing_that_is_said_runs_or_loads_anything(
    tab: Tab, foreign: socket.socket, action: str
) -> None:
    name = {"say": "content", "response": "data", "error": "error"}[action]
    for text in [*HOSTILE, "\n\n".join(HOSTILE)]:
        hostile = text.replace("FOREIGN", url_of(foreign))
        args = {name: f"{hostile}\n\n{hostile}"}
        tab.type(format_command({"to": "User", "action": {"name": action, "args": args}}))
    tab.type(f'/User.say content:"That was all with {action}"')
    expect(tab.answers("User").last).to_contain_text(f"That was all with {action}")
    for link in tab.page.locator("#chat a[href^=javascript]").all():
        link.click(no_wait_after=True)
    assert_harmless(tab, foreign)


def test_names_are_only_text(tab: Tab, foreign: socket.socket) -> None:
    markup = f"<img src={url_of(foreign)} onerror=window.harmed=1><script>window.harmed=1</script>"
    tab.type(format_command({"to": markup, "action": {"name": markup, "args": {markup: 1}}}))
    help_like = {markup: {"description": markup, "args": {markup: {"type": markup}}}}
    tab.type(
        format_command({"to": "User", "action": {"name": "response", "args": {"data": help_like}}})
    )
    expect(tab.answers("User").last).to_contain_text("<script>window.harmed=1</script>")
    assert_harmless(tab, foreign)


def test_answers_appear_in_the_order_of_the_questions(tab: Tab) -> None:
    for number in range(10):
        tab.type(f"/Calculator.add a:{number} b:77000")
    answers = tab.answers("Calculator").filter(has_text="b:77000").locator("pre")
    expect(answers).to_have_text([str(77000 + number) for number in range(10)])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "localhost.evil.example"}, 400),
        ({"Host": ""}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
    ],
)
def test_only_the_page_itself_is_answered(
    address: str, headers: dict[str, str], status: int
) -> None:
    assert answer(address, "/", headers).status == status


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one loopback address")
def test_the_page_listens_at_one_address_of_this_machine_only(address: str) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=PATIENCE)


def test_another_site_cannot_send_anything(address: str) -> None:
    headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
    refused = answer(address, "/gradio_api/queue/join", headers, json.dumps({"data": ["x"]}))
    assert refused.status == 403


def answer(
    address: str, path: str, headers: dict[str, str], body: str | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        return connection.getresponse()
    finally:
        connection.close()


def test_a_request_is_approved_in_the_terminal_and_answered_in_the_page(
    tab: Tab, demo: TerminalProgram
) -> None:
    tab.type('/Host.list_files directory_path:"/"')
    demo.expect("Allow this? [y/N] ")
    waiting = tab.answers("No answer from Host yet")
    expect(waiting).to_contain_text("at the terminal where it runs")
    demo.type("y\n")
    expect(tab.answers("Host").last).to_contain_text("etc/")
    expect(waiting).to_have_count(0)
    tab.type('/Host.shell_command command:"id"')
    demo.expect("Allow this? [y/N] ")
    demo.type("n\n")
    problem = tab.answers("Host").last.locator(".error")
    expect(problem).to_contain_text('"Host.shell_command" not permitted')


def test_everybody_is_listed_beside_the_conversation(tab: Tab) -> None:
    for agent in ["Calculator", "Guide", "Host", "User"]:
        expect(tab.present.get_by_role("heading", name=agent)).to_be_visible()


@pytest.mark.parametrize(
    ("action", "command", "rest"),
    [
        ("add", "/Calculator.add a: b:", " b:"),
        ("write_to_file", '/Host.write_to_file file_path:"" text:""', '" text:""'),
        ("who can do what?", "/*.help", ""),
    ],
)
def test_a_press_on_an_action_begins_its_command(
    tab: Tab, action: str, command: str, rest: str
) -> None:
    tab.present.get_by_role("button", name=action, exact=True).click()
    expect(tab.box).to_have_value(command)
    expect(tab.box).to_be_focused()
    assert tab.box.evaluate("box => box.value.slice(box.selectionStart)") == rest


def test_a_command_that_was_begun_by_a_press_can_be_finished_and_sent(tab: Tab) -> None:
    tab.present.get_by_role("button", name="subtract", exact=True).click()
    expect(tab.box).to_be_focused()
    tab.page.keyboard.type("44")
    tab.page.keyboard.press("End")
    tab.page.keyboard.type("2")
    tab.page.keyboard.press("Enter")
    answer = tab.answers("Calculator").filter(has_text="answers /Calculator.subtract a:44 b:2")
    expect(answer.last).to_contain_text("42")

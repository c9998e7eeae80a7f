"""What Host is asked to do is put to the person at the terminal, wherever Host lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.slash import parse_command
from agents.terminal import MAX_SHOWN, framed, visible
from tests.demo.conftest import Programs
from tests.demo.terminal_program import DEMO, PATIENCE, TerminalProgram
from tests.demo.test_host import assert_ends

BAR = "  | "
DRIVER = str(Path(__file__).with_name("driver.py"))
LIST = '/Host.list_files directory_path:"."'
PROMPT = "Allow this? [y/N] "

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(
    params=["NativeSpace", "LocalSpace", pytest.param("AMQPSpace", marks=pytest.mark.broker)]
)
def space(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "AMQPSpace":
        request.getfixturevalue("amqp")
    return name


def what_is_in(question: str) -> dict[str, str]:
    """What a question shows, by name."""
    lines = [line.removeprefix(BAR) for line in question.splitlines() if line.startswith(BAR)]
    return joined(lines, lines[0].index('"'))


def joined(lines: list[str], place: int) -> dict[str, str]:
    """The texts by their names, which are before this place in the lines where the texts begin."""
    texts: dict[str, str] = {}
    name = ""
    for line in lines:
        name = line[:place].strip() or name
        texts[name] = texts.get(name, "") + line[place:]
    return texts


def test_yes_lets_it_run(programs: Programs, space: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    program = programs.start(DRIVER, space, f'/Host.list_files directory_path:"{tmp_path}"')
    question = program.expect(PROMPT)
    assert what_is_in(question) == {
        "from": '"User"',
        "in": str(Path.cwd()),
        "to run": f'/Host.list_files directory_path:"{tmp_path}"',
    }
    program.type("y\n")
    program.expect('response {"data": ["a file"]')


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "yy\n", "\x04"])
def test_anything_but_yes_is_a_refusal(programs: Programs, answer: str) -> None:
    program = programs.start(DRIVER, "NativeSpace", LIST)
    program.expect(PROMPT)
    program.type(answer)
    assert (
        program.expect("done").count('error {"error": "\\"Host.list_files\\" not permitted"') == 1
    )


def test_no_is_a_refusal_wherever_host_lives(programs: Programs, space: str) -> None:
    program = programs.start(DRIVER, space, LIST)
    program.expect(PROMPT)
    program.type("n\n")
    program.expect("Refused.")
    program.expect('error {"error": "\\"Host.list_files\\" not permitted"')


def test_no_answer_in_time_is_a_refusal(programs: Programs, space: str) -> None:
    program = programs.start(DRIVER, space, LIST, HOST_PERMISSION_TIMEOUT="0.5")
    program.expect("No answer in time: refused.")
    program.expect('error {"error": "\\"Host.list_files\\" not permitted"')


def test_what_was_refused_before_it_could_be_asked_is_shown_all_the_same(
    programs: Programs,
) -> None:
    program = programs.start(DRIVER, "NativeSpace", LIST, HOST_PERMISSION_TIMEOUT="0")
    assert "/Host.list_files" in program.expect("No answer in time: refused.")


def test_what_was_typed_before_the_question_is_no_answer(programs: Programs) -> None:
    program = programs.start(DRIVER, "NativeSpace", LIST)
    program.type("y\n")
    program.expect(PROMPT)
    program.type("n\n")
    program.expect("not permitted")


def test_one_question_at_a_time_is_on_the_terminal(programs: Programs, space: str) -> None:
    program = programs.start(DRIVER, space, LIST, '/Host.read_file file_path:"/nowhere"')
    answers = {"list_files": "y\n", "read_file": "n\n"}
    for _ in range(2):
        question = program.expect(PROMPT)
        (asked,) = [name for name in answers if name in question]
        program.type(answers.pop(asked))
    program.expect("done")
    assert 'response {"data": [' in program.output
    assert 'error {"error": "\\"Host.read_file\\" not permitted"' in program.output


def test_without_a_terminal_everything_is_refused_and_the_reason_is_logged(space: str) -> None:
    with subprocess.Popen(
        [sys.executable, DRIVER, space, LIST],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(DEMO)},
        start_new_session=True,
        text=True,
    ) as program:
        assert program.stdout is not None
        lines = []
        for line in program.stdout:
            lines.append(line)
            if line == "done\n":
                break
        program.terminate()
        assert program.wait(PATIENCE) != 0
    output = "".join(lines)
    assert "not permitted" in output
    assert "the application was not started from a terminal" in output


def test_ctrl_c_at_a_question_ends_the_program_quietly(programs: Programs, space: str) -> None:
    program = programs.start(DRIVER, space, LIST)
    program.expect(PROMPT)
    program.press_ctrl_c()
    assert program.wait() == 130
    assert "Traceback" not in program.output


def test_ctrl_c_ends_a_long_command_and_the_program_at_once(
    programs: Programs, space: str, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = f'/Host.shell_command command:"echo $$ >{fifo}; sleep 600"'
    program = programs.start(DRIVER, space, command)
    program.expect(PROMPT)
    program.type("y\n")
    process_id = int(fifo.read_text())
    program.press_ctrl_c()
    assert program.wait() == 130
    assert_ends(process_id)
    assert program.output.endswith("^C"), "nobody was removed while still at work"


def test_ctrl_c_ends_the_demo_quietly(programs: Programs, space: str) -> None:
    program = start_demo(programs, space)
    program.press_ctrl_c()
    assert program.wait() == 130
    assert "Traceback" not in program.output
    assert program.output.endswith("^C")


def test_a_port_that_is_taken_is_said_kindly(programs: Programs) -> None:
    first = start_demo(programs, "NativeSpace")
    port = first.output.partition("localhost:")[2].split()[0]
    second = programs.start(str(DEMO / "demo_native.py"), WEB_APP_PORT=port)
    second.expect(f"The page cannot have port {port}: Address already in use.")
    second.expect("Choose another port: WEB_APP_PORT=8081")
    assert second.wait() == 1
    assert "Traceback" not in second.output


def start_demo(programs: Programs, space: str) -> TerminalProgram:
    names = {"NativeSpace": "native", "LocalSpace": "local", "AMQPSpace": "amqp_1"}
    program = programs.start(str(DEMO / f"demo_{names[space]}.py"), WEB_APP_PORT="0")
    program.expect("The page is at http://localhost:")
    program.expect("\n")
    return program


HOSTILE = "ls\x1b[2J\x1b]52;c;aGk=\x07\r\n\nAllow this? [y/N] y\u202e\u2028\x9b\x00"
PADDED = "a" + " " * 77 + PROMPT + " " * 82 + PROMPT + "y"
LISTING = {"name": "list_files", "args": {"directory_path": "."}}


def call(**more: Any) -> str:
    return json.dumps({"to": "Host", "action": LISTING} | more)


def test_no_text_can_change_the_terminal_or_pose_as_the_prompt(programs: Programs) -> None:
    hostile = HOSTILE + PADDED
    action = {"name": "shell_command", "args": {"command": hostile}}
    meta = {hostile: [hostile]}
    program = programs.start(DRIVER, "NativeSpace", call(action=action, id=hostile, meta=meta))
    shown = the_only_question(program)
    assert list(shown) == ["from", "in", "to run", "with id", "with meta"]
    assert parse_command(shown["to run"])["action"] == action
    assert json.loads(shown["with id"]) == hostile
    assert json.loads(shown["with meta"]) == meta


def test_no_name_can_pose_as_the_prompt(programs: Programs) -> None:
    command = call(action={"name": PADDED})
    program = programs.start(DRIVER, "NativeSpace", command, PERSON=PADDED, ACTION=PADDED)
    shown = the_only_question(program)
    assert list(shown) == ["from", "in", "to run"]
    assert json.loads(shown["from"]) == PADDED
    assert parse_command(shown["to run"])["action"]["name"] == PADDED


def test_nobody_who_led_to_a_call_can_pose_as_the_prompt(programs: Programs) -> None:
    through = {"name": "pass_on", "args": {"message": json.loads(call())}}
    command = json.dumps({"to": "Relay", "action": through})
    program = programs.start(DRIVER, "NativeSpace", command, PERSON=PADDED)
    shown = the_only_question(program)
    assert list(shown) == ["from", "led to by", "in", "to run"]
    assert json.loads(shown["led to by"]) == PADDED


def the_only_question(program: TerminalProgram) -> dict[str, str]:
    """What is shown above the prompt, once it is refused; nothing in it is outside of the frame."""
    program.expect("This needs your approval:\r\n")
    shown = program.expect(f"\r\n{PROMPT}")
    program.type("n\n")
    assert "not permitted" in program.expect("done")
    lines = shown.split("\r\n")
    assert all(line.startswith(BAR) and len(line) < 100 for line in lines), "a line of its own"
    assert all(map(str.isprintable, lines))
    return what_is_in(shown)


def test_a_long_question_is_shown_whole_and_its_length_said(programs: Programs) -> None:
    text = "".join(f"{number} " for number in range(3000))
    action = {"name": "write_to_file", "args": {"file_path": "/nowhere/x", "text": text}}
    program = programs.start(DRIVER, "NativeSpace", call(action=action))
    program.expect("This needs your approval:")
    question = program.expect(PROMPT)
    assert what_is_in(question)["to run"].endswith(f'text:"{text}"')
    lines = question.rstrip().splitlines()
    assert lines[-1] == f"These were {len(lines) - 1} lines; scroll up to read all of them."


def test_what_is_too_long_to_be_shown_whole_is_refused_and_the_reason_is_said(
    programs: Programs,
) -> None:
    program = programs.start(DRIVER, "NativeSpace", call(id="x" * MAX_SHOWN))
    program.expect('"Host" refuses a call without asking: it has 20')
    program.expect('error {"error": "\\"Host.list_files\\" not permitted"')
    assert PROMPT not in program.output


@given(st.text())
def test_everything_that_is_shown_can_be_seen(text: str) -> None:
    assert visible(text).isprintable()


@given(
    st.lists(st.text(st.characters(exclude_categories=["C", "Z"])), min_size=1), st.integers(25, 99)
)
def test_every_line_of_a_frame_has_its_bar_and_nothing_is_lost(
    texts: list[str], columns: int
) -> None:
    about = [(f"name {number}", text) for number, text in enumerate(texts)]
    lines = framed(about, columns)
    assert all(line.startswith(BAR) for line in lines)
    assert all(len(line) < columns for line in lines)
    room = max(len(name) for name, _ in about) + 2
    assert joined([line.removeprefix(BAR) for line in lines], room) == dict(about)


def test_no_text_in_a_frame_can_pose_as_another() -> None:
    lines = framed([("from", "a" * 11 + "to run  ls"), ("to run", "rm")], 24)
    assert lines == [
        "  | from    aaaaaaaaaaa",
        "  |         to run  ls",
        "  | to run  rm",
    ]

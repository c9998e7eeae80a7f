"""What Host is asked to do is put to the person at the terminal, wherever Host lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.slash import format_command
from agents.terminal import in_a_frame, visible
from tests.demo.conftest import Programs
from tests.demo.terminal_program import DEMO, PATIENCE, TerminalProgram
from tests.demo.test_host import assert_ends

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


def test_yes_lets_it_run(programs: Programs, space: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    program = programs.start(DRIVER, space, f'/Host.list_files directory_path:"{tmp_path}"')
    question = program.expect(PROMPT)
    assert '"User" wants to use "Host" in ' in question
    framed = [line.partition("  | ")[2] for line in question.splitlines() if "  | " in line]
    assert "".join(framed) == f'/Host.list_files directory_path:"{tmp_path}"'
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


def test_no_text_can_change_the_terminal_or_pose_as_the_prompt(programs: Programs) -> None:
    command = format_command(
        {
            "to": "Host",
            "action": {"name": "shell_command", "args": {"command": HOSTILE + " " * 300 + PROMPT}},
        }
    )
    program = programs.start(DRIVER, "NativeSpace", command)
    program.expect('"User" wants')
    shown = program.expect("\n" + PROMPT)
    program.type("n\n")
    program.expect("done")
    assert {character for character in shown if not character.isprintable()} <= {"\r", "\n"}
    lines = shown.splitlines()[1:]
    assert all(line.startswith("  | ") for line in lines if line)
    assert r"\u001b[2J" in shown
    assert r"\u202e" in shown


@given(st.text())
def test_everything_that_is_shown_can_be_seen(text: str) -> None:
    assert visible(text, limit=10_000_000).isprintable()


def test_what_is_left_out_of_a_long_text_is_said() -> None:
    shown = visible("a" * 3000 + "b" * 7_000 + "c" * 3000)
    assert "[... 9000 OF 13000 CHARACTERS ARE NOT SHOWN ...]" in shown
    assert shown.startswith("aaa")
    assert shown.endswith("ccc")


@given(st.text(st.characters(exclude_categories=["C", "Z"])), st.integers(25, 200))
def test_every_line_of_a_frame_has_its_bar_and_nothing_is_lost(text: str, columns: int) -> None:
    lines = in_a_frame(text, columns).split("\n")
    assert all(line.startswith("  | ") for line in lines)
    assert "".join(line.removeprefix("  | ") for line in lines) == text
    assert all(len(line) < columns + 1 for line in lines)

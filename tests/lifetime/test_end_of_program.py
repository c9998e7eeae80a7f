"""How programs with spaces go on and end: real programs, real signals, every kind of space."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker import BrokerAddress
from tests.programs import PATIENCE, Program, all_end

PROGRAMS = Path(__file__).parent / "programs"
SERVING = ["ends_after_add.py", "loops_for_ever.py", "waits.py"]
STATUS = {"SIGINT": 130, "SIGTERM": 143}
ENDING = ["destroys.py", "uses_with.py", "uses_async_with.py"]


@pytest.fixture(
    params=["NativeSpace", "LocalSpace", pytest.param("AMQPSpace", marks=pytest.mark.broker)]
)
def kind(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def run(kind: str, request: pytest.FixtureRequest) -> Runner:
    if kind != "AMQPSpace":
        return Runner([kind], {})
    broker: BrokerAddress = request.getfixturevalue("broker")
    return Runner([kind, f"test-{uuid.uuid4().hex}"], {"AMQP_URL": broker.url()})


class Runner:
    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._arguments = arguments
        self._env = env

    @contextmanager
    def __call__(self, name: str, **env: str) -> Iterator[Program]:
        with Program(PROGRAMS / name, *self._arguments, env={**self._env, **env}) as program:
            yield program


@pytest.mark.parametrize("name", SERVING)
def test_a_program_that_only_adds_agents_serves_until_ctrl_c_then_ends_in_order(
    name: str, run: Runner
) -> None:
    with run(name) as program:
        program.wait_for("end of main")
        assert program.still_runs_after(0.2)
        started = program.descendants()
        program.interrupt()
        assert program.end() == 130
        assert all_end(started)
    assert "hello from Built" in program.output
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output


@pytest.mark.parametrize("to", ["the program", "its group"])
@pytest.mark.parametrize("name", SERVING)
def test_sigterm_ends_a_serving_program_in_order(name: str, to: str, run: Runner) -> None:
    with run(name) as program:
        program.wait_for("end of main")
        started = program.descendants()
        if to == "the program":
            program.terminate()
        else:
            program.terminate_group()
        assert program.end() == 143
        assert all_end(started)
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output


def test_a_signal_between_the_end_of_main_and_serving_ends_a_program_in_order(run: Runner) -> None:
    with run("is_signalled_between.py") as program:
        assert program.end() == 143
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output


def test_a_signal_while_actions_are_described_is_no_mistake_in_their_annotations(
    run: Runner,
) -> None:
    with run("is_signalled_while_describing.py") as program:
        assert program.end() == 143
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output
    assert "never reached" not in program.output


@pytest.mark.parametrize("by", ["destroy", "remove", "with", "async with"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_while_agents_leave_disturbs_none_and_then_ends_the_program(
    number: str, by: str, run: Runner
) -> None:
    with run("is_signalled_while_leaving.py", SIGNAL=number, BY=by) as program:
        assert program.end() == STATUS[number]
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given", "Last"]
    assert "Traceback" not in program.output
    assert "never reached" not in program.output


def test_a_second_ctrl_c_ends_a_program_at_once(run: Runner) -> None:
    with run("is_signalled_twice.py") as program:
        program.wait_for("all are there")
        started = program.descendants()
        program.interrupt()
        program.wait_for("Stuck is leaving")
        program.interrupt()
        assert program.end() == 130
        assert all_end(started)
    assert "Traceback" not in program.output


@pytest.mark.parametrize(
    "moment", ["start", "added Given1", "added Built1", "added Given2", "added Given3"]
)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_at_whatever_moment_ends_a_program_in_order(
    number: str, moment: str, run: Runner
) -> None:
    with run("never_rests.py") as program:
        program.wait_for(moment)
        if number == "SIGINT":
            program.interrupt()
        else:
            program.terminate_group()
        assert program.end() == STATUS[number]
    left = re.findall(r"(\w+) left", program.output)
    assert set(re.findall(r"added (\w+)", program.output)) <= set(left)
    assert len(left) == len(set(left))
    assert "Traceback" not in program.output


def test_a_program_that_waits_for_a_server_can_be_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"amqp://127.0.0.1:{server.getsockname()[1]}"
        with Program(PROGRAMS / "connects.py", env={"AMQP_URL": url}) as program:
            server.settimeout(PATIENCE)
            connection, _ = server.accept()
            with connection:
                program.interrupt()
                assert program.end() == 130
    assert program.output == ""


def test_asyncio_has_threads_in_agents_of_a_program_that_serves(run: Runner) -> None:
    with run("uses_threads_late.py") as program:
        program.wait_for("asyncio has threads after the end of main")
        program.interrupt()
        assert program.end() == 130
    assert "Traceback" not in program.output


def test_no_process_outlives_a_program_that_is_killed(run: Runner) -> None:
    with run("ends_after_add.py") as program:
        program.wait_for("end of main")
        started = program.descendants()
        program.kill()
        assert program.end() == 137
        assert all_end(started)


def test_a_forked_child_cannot_use_the_space_and_leaves_it_as_it_is(run: Runner) -> None:
    with run("forks.py") as program:
        assert program.end() == 0
    assert program.output.count("child: this space belongs to the process that was forked") == 4
    assert "child ended with 3" in program.output
    assert re.findall("after it hello from (.*)", program.output) == ["Given", "Built"]
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given"]
    assert "Traceback" not in program.output


def test_a_child_of_multiprocessing_leaves_the_space_as_it_is(run: Runner) -> None:
    with run("forks_by_multiprocessing.py") as program:
        assert program.end() == 0
    assert "child ended with 0" in program.output
    assert re.findall("after it hello from (.*)", program.output) == ["Given", "Built"]
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given"]
    assert "Traceback" not in program.output


def test_children_of_actions_end_while_the_program_serves(run: Runner) -> None:
    with run("forks_in_actions.py") as program:
        program.wait_for("all children ended")
        program.interrupt()
        assert program.end() == 130
    for agent in ("Built", "Given"):
        for name in ("fork", "multiprocess", "fork_in_loop"):
            assert f"{agent} {name} 0\n" in program.output
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given"]
    assert "Traceback" not in program.output


def test_a_program_that_could_add_no_agent_does_not_serve(run: Runner) -> None:
    with run("adds_in_vain.py") as program:
        assert program.end() == 0
    assert program.output.count("failed") == 2


def test_a_thread_may_add_agents_after_the_end_of_main(run: Runner) -> None:
    with run("adds_after_main.py") as program:
        assert program.end() == 0
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given"]
    assert "end of work" in program.output


@pytest.mark.parametrize("name", ENDING)
def test_a_program_that_destroys_its_space_ends_by_itself(name: str, run: Runner) -> None:
    with run(name) as program:
        program.wait_for("end of main")
        assert program.end() == 0
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output


def test_no_thread_is_left_when_a_space_is_destroyed(run: Runner) -> None:
    with run("uses_with.py") as program:
        assert program.wait_for("threads left") == "threads left: []\n"
        assert program.end() == 0


def test_a_program_that_fails_does_not_go_on_serving(run: Runner) -> None:
    with run("raises.py") as program:
        assert program.end() == 1
    assert "RuntimeError: a mistake in the program" in program.output
    assert program.output.count("Traceback") == 1
    assert "Given left" in program.output


def test_a_program_that_exits_keeps_its_exit_status(run: Runner) -> None:
    with run("exits.py") as program:
        assert program.end() == 7
    assert "Given left" in program.output


def test_threads_that_send_until_the_end_do_not_hold_up_a_program_that_exits(run: Runner) -> None:
    with run("sends_until_the_end.py") as program:
        program.wait_for("end of main")
        assert program.end() == 7
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given"]
    assert "Traceback" not in program.output


def test_actions_that_never_end_do_not_hold_up_a_program_that_exits(run: Runner) -> None:
    with run("exits_while_busy.py") as program:
        program.wait_for("both are busy")
        started = program.descendants()
        assert program.end() == 7
        assert all_end(started)
    assert sorted(re.findall("(.*) left", program.output)) == ["Built", "Given"]
    assert "Traceback" not in program.output


def test_ctrl_c_can_be_caught_as_a_keyboard_interrupt(run: Runner) -> None:
    with run("catches_interrupt.py") as program:
        program.wait_for("end of main")
        program.interrupt()
        program.wait_for("caught KeyboardInterrupt")
        program.end()
    assert "Given left" in program.output
    assert "Traceback" not in program.output


def test_a_program_with_idle_agents_uses_no_processor_time(run: Runner, kind: str) -> None:
    with run("idles.py") as program:
        program.wait_for("end of main")
        assert program.still_runs_after(0.5)
        before = program.cpu_seconds()
        assert program.still_runs_after(2.0)
        assert program.cpu_seconds() - before <= ALLOWED_WHEN_IDLE[kind]
        program.interrupt()
        program.end()


ALLOWED_WHEN_IDLE = {"NativeSpace": 0.02, "LocalSpace": 0.02, "AMQPSpace": 0.05}
"""Processor seconds in two: as good as nothing, which the kernel counts in hundredths. On AMQP leases are asserted
again every few seconds."""

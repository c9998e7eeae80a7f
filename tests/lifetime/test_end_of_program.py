"""How programs with spaces go on and end: real programs, real signals, every kind of space."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.broker import BrokerAddress
from tests.programs import Program, all_end

PROGRAMS = Path(__file__).parent / "programs"
SERVING = ["ends_after_add.py", "loops_for_ever.py", "waits.py"]
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
    def __call__(self, name: str) -> Iterator[Program]:
        with Program(PROGRAMS / name, *self._arguments, env=self._env) as program:
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


@pytest.mark.parametrize("name", SERVING)
def test_sigterm_ends_a_serving_program_in_order(name: str, run: Runner) -> None:
    with run(name) as program:
        program.wait_for("end of main")
        started = program.descendants()
        program.terminate()
        assert program.end() == 143
        assert all_end(started)
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output


def test_a_signal_between_the_end_of_main_and_serving_ends_a_program_in_order(run: Runner) -> None:
    with run("is_signalled_between.py") as program:
        assert program.end() == 143
    assert {"Built left\n", "Given left\n"} <= set(program.output.splitlines(keepends=True))
    assert "Traceback" not in program.output


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

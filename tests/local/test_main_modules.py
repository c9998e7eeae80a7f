"""Programs of every shape with LocalSpace: guarded or not, run as a file, a module, from standard input."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tests.faults.tools import eventually
from tests.programs import Program, all_end

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
ENV = {"PYTHONPATH": str(ROOT)}

INTERACTIVE = """
from agency import Agent, AgencyError, LocalSpace
class Here(Agent): pass
with LocalSpace() as space:
    try:
        space.add(Here, "here")
    except AgencyError as error:
        print(type(error).__name__, error)
    space.add_foreground(Here, "here")
    print(sorted(space.join().proxy("here").help()))
"""


def test_a_class_of_an_unguarded_main_module_is_built_elsewhere_and_main_runs_once() -> None:
    with Program(PROGRAMS / "unguarded.py") as program:
        assert program.end() == 0
    lines = program.output.splitlines()
    assert lines[-1] == "42 True"
    # What stands above the space is run again in the worker, which looks for the definition there.
    assert lines.count("main runs") == 2


def test_a_class_of_a_guarded_main_module_is_built_elsewhere() -> None:
    with Program(PROGRAMS / "guarded.py") as program:
        assert program.end() == 0
    lines = program.output.splitlines()
    assert lines.count("main runs") == 1
    assert lines[-1] == "True"


def test_a_main_module_whose_agents_are_imported_is_not_run_again() -> None:
    with Program(PROGRAMS / "imports_its_agents.py", env=ENV) as program:
        assert program.end() == 0
    assert program.output == "main runs\n"


def test_a_program_run_as_a_module_works_too() -> None:
    with Program("-m", "tests.local.programs.guarded", cwd=ROOT) as program:
        assert program.end() == 0
    assert program.output.splitlines()[-1] == "True"


def test_a_class_of_an_interactive_session_gets_a_clear_error_and_can_stay_here() -> None:
    with Program("-c", INTERACTIVE) as program:
        assert program.end() == 0
    error, help_keys = program.output.splitlines()
    assert error.startswith("StartFailed 'here' cannot be built in another process: Here is")
    assert "add_foreground" in error
    assert help_keys == "[]"


@pytest.mark.parametrize("number", [0, 1, 3, 7])
@pytest.mark.parametrize("how", ["is killed", "ends at once"])
def test_no_process_is_left_when_the_application_dies_while_it_adds_an_agent(
    how: str, number: int
) -> None:
    ends_itself = [str(number)] if how == "ends at once" else []
    with Program(PROGRAMS / "adds_and_dies.py", *ends_itself, env=ENV) as program:
        session = int(program.wait_for("session").split()[1])
        program.wait_for(f"adding {number}")
        if how == "is killed":
            program.kill()
        assert program.end() == (137 if how == "is killed" else 9)
        # Also one that was forked while the application died.
        eventually(lambda: not in_session(session), lambda: str(in_session(session)))


def in_session(session: int) -> list[psutil.Process]:
    """The processes of a program, whoever their parent is by now."""
    return [process for process in psutil.process_iter() if is_in(session, process)]


def is_in(session: int, process: psutil.Process) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):  # it has just ended
        return False


def test_a_child_that_inherited_the_applications_files_does_not_keep_the_workers_alive() -> None:
    with Program(PROGRAMS / "forks_too.py", env=ENV) as program:
        child = psutil.Process(int(program.wait_for("child").split()[1]))
        started = [process for process in program.descendants() if process != child]
        program.kill()
        try:
            assert started
            assert all_end(started)
        finally:
            child.kill()
        program.end()

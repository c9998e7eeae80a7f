"""Agents of other processes come and go as fast as anybody likes, and whoever waits for them is told how it ended."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from agency import (
    AgencyError,
    AgentIdInUse,
    LocalSpace,
    OutcomeUnknown,
    StartFailed,
    UnknownAgent,
)
from tests.local.agents import AtDoor, FailsAtDoor, Surrounded, Tracing, Worker
from tests.programs import PATIENCE, Program

PROGRAMS = Path(__file__).parent / "programs"

Value = TypeVar("Value")


def begin(function: Callable[[], Value]) -> Future[Value]:
    """Call it on a thread of its own."""
    outcome: Future[Value] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  # for who asks for the result
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


@pytest.fixture
def door(tmp_path: Path) -> Path:
    """Who reads it waits until the test has opened it for writing, which waits for who reads, and closed it."""
    os.mkfifo(tmp_path / "door")
    return tmp_path / "door"


def test_of_two_who_remove_an_agent_the_later_is_told_that_it_is_gone(door: Path) -> None:
    with LocalSpace() as space:
        space.add(AtDoor, "a", leave=door)
        removal = begin(lambda: space.remove("a"))
        with door.open("wb"):
            with pytest.raises(UnknownAgent):
                space.remove("a")
            with pytest.raises(AgentIdInUse):
                space.add(AtDoor, "a")
            assert not removal.done()
        removal.result(PATIENCE)
        space.add(AtDoor, "a")
        assert space.join().proxy("a").ping() == "pong"


def test_an_agent_that_is_being_added_cannot_be_removed_yet(door: Path) -> None:
    with LocalSpace() as space:
        addition = begin(lambda: space.add(AtDoor, "a", enter=door))
        with door.open("wb"), pytest.raises(UnknownAgent):
            space.remove("a")
        addition.result(PATIENCE)
        space.remove("a")


def test_many_who_add_remove_and_ask_the_same_agents_are_all_told_what_became_of_it() -> None:
    with LocalSpace() as space:

        def trouble(number: int) -> None:
            me = space.join()
            for turn in range(12):
                agent = f"agent-{(number + turn) % 2}"
                try:
                    match (number + turn // 2) % 3:
                        case 0:
                            space.add(Worker, agent)
                        case 1:
                            space.remove(agent)
                        case _:
                            me.proxy(agent, timeout=None).process()
                except AgencyError:
                    pass  # which one depends on who came first; that all of it ends does not

        troubles = [begin(lambda number=number: trouble(number)) for number in range(6)]  # type: ignore[misc]
        for one in troubles:
            one.result(PATIENCE)


@pytest.mark.parametrize(
    ("ends", "told"), [("returns", "late_answer"), ("is killed", "agent_died")]
)
def test_whoever_waits_for_an_action_that_outlasts_its_agent_is_told_and_its_end_is_counted(
    door: Path, ends: str, told: str
) -> None:
    with LocalSpace(max_workers=1, grace=0.1) as space:
        lost: queue.SimpleQueue[Any] = queue.SimpleQueue()
        space.dead_letters.listen(lost.put)
        space.add(AtDoor, "leaving")
        space.add(Worker, "beside")
        me = space.join("me")
        answer = begin(lambda: me.proxy("leaving", timeout=None).meet(door=str(door)))
        with door.open("wb"):
            space.remove("leaving")
            with pytest.raises(OutcomeUnknown, match="left the space"):
                answer.result(PATIENCE)
            space.add(Worker, "leaving")  # its id is free
            assert lost.empty()
            if ends == "is killed":
                os.kill(me.proxy("beside").process(), signal.SIGKILL)
                assert lost.get(timeout=PATIENCE).reason.value == told
        if ends == "returns":
            assert lost.get(timeout=PATIENCE).reason.value == told


def test_whoever_waits_for_an_action_that_outlasts_its_agents_process_is_told_too() -> None:
    with LocalSpace(grace=0.1) as space:
        space.add(Worker, "leaving")
        me = space.join("me")
        answer = begin(lambda: me.proxy("leaving", timeout=None).block())
        me.receive(PATIENCE)
        space.remove("leaving")
        with pytest.raises(OutcomeUnknown):
            answer.result(PATIENCE)


def test_what_was_sent_to_an_agent_that_cannot_be_built_is_not_lost_in_silence(door: Path) -> None:
    with LocalSpace() as space:
        lost: queue.SimpleQueue[Any] = queue.SimpleQueue()
        space.dead_letters.listen(lost.put)
        me = space.join("me")
        addition = begin(lambda: space.add(FailsAtDoor, "hopeless", enter=door))
        with door.open("wb"):
            for number in range(3):
                me.send({"id": str(number), "to": "hopeless", "action": {"name": "ping"}})
        with pytest.raises(StartFailed):
            addition.result(PATIENCE)
        letters = [lost.get(timeout=PATIENCE) for _ in range(3)]
        assert [(letter.reason.value, letter.message["id"]) for letter in letters] == [
            ("agent_removed", "0"),
            ("agent_removed", "1"),
            ("agent_removed", "2"),
        ]


def test_an_agent_that_is_given_up_after_the_start_timeout_does_not_come_to_life(
    door: Path, tmp_path: Path
) -> None:
    with LocalSpace(max_workers=1, start_timeout=4.0) as space:
        space.add(Worker, "beside")
        with pytest.raises(StartFailed, match=r"within 4\.0 seconds"):
            space.add(Tracing, "slow", tmp_path / "trace", enter=door)
        with pytest.raises(UnknownAgent):
            space.remove("slow")
        me = space.join()
        me.proxy("beside").process()  # by now its process knows that it is given up
        door.write_bytes(b"")
        space.add(Tracing, "slow", tmp_path / "trace")
        assert (tmp_path / "trace").read_text(encoding="utf-8") == "added\n"
        assert me.proxy("slow").ping() == "pong"


def test_an_agent_that_comes_while_ctrl_c_is_pressed_is_told_that_it_leaves() -> None:
    with Program(PROGRAMS / "interrupted_in_add.py") as program:
        assert program.end() == 130
    assert program.output == "came\nleft\n"


def test_a_process_whose_agents_have_all_been_given_up_or_removed_ends(door: Path) -> None:
    with LocalSpace(max_workers=1, start_timeout=0.5, grace=0.1) as space:
        space.add(Worker, "beside")
        process = psutil.Process(space.join().proxy("beside").process())
        with pytest.raises(StartFailed):
            space.add(AtDoor, "slow", enter=door)
        space.remove("beside")
        process.wait(PATIENCE)


def test_a_worker_begins_with_the_settings_that_the_application_has_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAKEN_AWAY", "early")
    with LocalSpace() as space:
        space.add(Worker, "early")
        (tmp_path / "written_later.py").write_text(
            "from tests.local.agents import Surrounded\nclass Late(Surrounded): pass\n",
            encoding="utf-8",
        )
        monkeypatch.setenv("SET_LATER", "late")
        monkeypatch.delenv("TAKEN_AWAY")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        import written_later  # type: ignore[import-not-found]

        late: type[Surrounded] = written_later.Late
        monkeypatch.setitem(sys.modules, "written_later", written_later)
        space.add(late, "late")
        agent = space.join().proxy("late")
        assert agent.setting(name="SET_LATER") == "late"
        assert agent.setting(name="TAKEN_AWAY") is None
        assert agent.folder() == str(tmp_path)


@pytest.mark.parametrize("dead", ["nursery", "hub"])
def test_a_space_whose_processes_have_died_says_that_it_has_to_be_made_anew(dead: str) -> None:
    with LocalSpace() as space:
        space.add(Worker, "there")
        worker = psutil.Process(space.join().proxy("there").process())
        nursery = worker.parent()
        assert nursery is not None
        hub = next(child for child in nursery.children() if child.pid != worker.pid)
        (nursery if dead == "nursery" else hub).kill()
        psutil.wait_procs([worker], PATIENCE)
        with pytest.raises(StartFailed, match="destroy the space and make a new one"):
            space.add(Worker, "another")

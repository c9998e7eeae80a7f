"""Faults of LocalSpace's processes, with the ledger as witness: nothing is lost in silence, nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agency import (
    ActionError,
    Agent,
    AgentNotFound,
    Down,
    Guest,
    LocalSpace,
    OutcomeUnknown,
    Reason,
    RequestError,
    action,
)
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.members import Odd, Recorder
from tests.faults.tools import begin, ends, eventually, leaves_nothing_behind, suspend
from tests.local.processes import hub_and_workers
from tests.programs import PATIENCE, Program, all_end

pytestmark = pytest.mark.timeout(180)

PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}


@pytest.fixture
def space(figures: Figures) -> Iterator[LocalSpace]:
    """A space, and the certainty that it leaves no process, thread or open file behind."""
    with leaves_nothing_behind(), figures.stopping(LocalSpace(grace=1.0)) as space:
        yield space


@pytest.fixture
def me(space: LocalSpace) -> Guest:
    return space.join("me")


def kill_at_random(
    me: Guest, space: LocalSpace, ledger: Ledger, path: Path, *, chance: random.Random, kills: int
) -> None:
    """Send to two agents while one of them is killed again and again, and added anew each time."""
    space.dead_letters.listen(ledger.dead)
    space.add(Recorder, "steady", path)
    number = 0
    for _ in range(kills):
        space.add(Recorder, "mortal", path)
        process = psutil.Process(me.proxy("mortal").process())
        for until_killed in reversed(range(chance.randrange(1, 60))):
            for receiver in ("steady", "mortal"):
                with ledger.sending("me", receiver, number):
                    me.send(
                        {"to": receiver, "action": {"name": "note", "args": {"number": number}}}
                    )
            number += 1
            if until_killed == 0:
                ledger.fault("worker killed")
                process.kill()
        # Whoever asks is told of the death, in one way or the other.
        with pytest.raises((AgentNotFound, OutcomeUnknown)):
            me.proxy("mortal", timeout=PATIENCE).process()
    assert me.proxy("steady", timeout=PATIENCE).process()
    eventually(lambda: not ledger.verdict().silent, lambda: str(ledger.verdict()))


def check(ledger: Ledger) -> None:
    verdict = ledger.verdict()
    assert verdict.is_clean(losses_told=True), verdict
    assert {item.receiver for item in verdict.lost} <= {"mortal"}
    assert verdict.dead.keys() <= {"agent_died", "agent_removed", "no_such_agent"}


def test_a_worker_killed_at_random_moments_loses_nothing_in_silence_and_nothing_of_others(
    space: LocalSpace, me: Guest, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    kill_at_random(me, space, ledger, tmp_path / "ledger", chance=seed, kills=10)
    check(ledger)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_hundred_kills(
    space: LocalSpace, me: Guest, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    kill_at_random(me, space, ledger, tmp_path / "ledger", chance=seed, kills=200)
    check(ledger)


def test_a_worker_that_stands_still_holds_up_nobody_else_and_goes_on_in_order(
    space: LocalSpace, me: Guest, ledger: Ledger, tmp_path: Path
) -> None:
    for agent_id in ("frozen", "well"):
        space.add(Recorder, agent_id, tmp_path / "ledger")
    process = psutil.Process(me.proxy("frozen").process())
    suspend(process)
    for number in range(500):
        with ledger.sending("me", "frozen", number):
            me.send({"to": "frozen", "action": {"name": "note", "args": {"number": number}}})
        assert me.proxy("well").process() != process.pid
    assert ledger.count("begun") == 0
    process.resume()
    me.proxy("frozen", timeout=PATIENCE).process()
    verdict = ledger.verdict()
    assert verdict.is_clean(), verdict
    assert verdict.begun == 500


def test_a_worker_that_stands_still_does_not_hold_up_the_end(space: LocalSpace, me: Guest) -> None:
    space.add(Odd, "frozen")
    space.add(Recorder, "beside", os.devnull)
    suspend(psutil.Process(me.proxy("beside").process()))
    waiting = begin(lambda: me.proxy("beside", timeout=None).process())
    ends(space.destroy)
    with pytest.raises(RequestError):
        waiting.result(PATIENCE)


class Computer(Agent):
    @action
    def compute(self) -> None:
        """Say that it has begun, then never end, nor rest."""
        sender = self._current_message["from"]
        self.send({"to": sender, "action": {"name": "say", "args": {"content": "begun"}}})
        while True:
            pass


def test_an_action_that_computes_for_ever_holds_up_neither_others_nor_the_end(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Computer, "computer")
    space.add(Odd, "well")
    waiting = begin(lambda: me.proxy("computer", timeout=None).compute())
    assert me.receive(PATIENCE)["action"]["args"] == {"content": "begun"}
    assert me.proxy("well", timeout=PATIENCE).ping() == "pong"
    ends(space.destroy)
    with pytest.raises(OutcomeUnknown):
        waiting.result(PATIENCE)


def test_a_program_with_an_action_that_computes_for_ever_goes_on_and_ends() -> None:
    with Program(PROGRAMS / "computes_for_ever.py", env=ENVIRONMENT) as program:
        program.wait_for("well: pong")
        program.wait_for("told: OutcomeUnknown")
        program.wait_for("destroyed")
        assert program.end() == 0
    assert "Fatal" not in program.output


def test_agents_that_come_and_go_leave_nothing_behind_while_the_space_lives(
    space: LocalSpace,
) -> None:
    def come_and_go(times: int) -> None:
        for _ in range(times):
            space.add(Odd, "mayfly")
            space.remove("mayfly")

    come_and_go(2)
    hub = hub_and_workers()[0]
    before = hub.num_fds()
    with leaves_nothing_behind():
        come_and_go(20)
    # What has just left may still be held, by one or two at a time.
    assert hub.num_fds() <= before + 4


class Hungry(Agent):
    @action
    def eat(self) -> int:
        """Take more memory than this process may have."""
        have = psutil.Process().memory_info().vms
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (have + (64 << 20), before[1]))
        try:
            return len(bytearray(128 << 20))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    @action
    def gorge(self) -> None:
        """Have nearly all the memory that this process may ever have, and keep it."""
        have = psutil.Process().memory_info().vms
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (have + (64 << 20), hard))
        self.eaten: list[bytearray] = []
        with contextlib.suppress(MemoryError):
            while True:
                self.eaten.append(bytearray(1 << 20))
        self.eaten.pop()  # enough to say so

    @action
    def take(self, load: str) -> int:
        return len(load)

    @action
    def ping(self) -> str:
        return "pong"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept")
def test_a_worker_out_of_memory_fails_that_action_only(space: LocalSpace, me: Guest) -> None:
    space.add(Hungry, "hungry")
    with pytest.raises(ActionError, match="MemoryError"):
        me.proxy("hungry").eat()
    assert me.proxy("hungry").ping() == "pong"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept")
@pytest.mark.parametrize("size", [7_500_000, 3_000_000], ids=["by the socket", "by the shelf"])
def test_a_worker_without_memory_for_what_it_is_sent_dies_and_all_are_told(
    space: LocalSpace, me: Guest, size: int
) -> None:
    space.add(Hungry, "hungry")
    space.add(Odd, "well")
    told: queue.SimpleQueue[Down] = queue.SimpleQueue()
    space.watch("hungry", told.put)
    me.proxy("hungry", timeout=PATIENCE).gorge()
    with pytest.raises((OutcomeUnknown, AgentNotFound)):
        me.proxy("hungry", timeout=PATIENCE).take(load="x" * size)
    assert told.get(timeout=PATIENCE).reason is Reason.AGENT_DIED
    assert me.proxy("well", timeout=PATIENCE).ping() == "pong"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept")
def test_an_application_without_memory_for_what_it_is_sent_says_so_and_ends() -> None:
    one_heap = {"MALLOC_ARENA_MAX": "1"}  # so that no thread has memory in reserve
    with Program(PROGRAMS / "has_no_memory_left.py", env={**ENVIRONMENT, **one_heap}) as program:
        program.wait_for("lost: the agent's process was lost")
        started = program.descendants()
        assert program.wait_for("refused:")
        assert program.wait_for("destroyed")
        assert program.end() == 0
        assert all_end(started)
    assert "the exchange of messages of" in program.output


def test_a_program_with_few_file_descriptors_says_so_and_recovers() -> None:
    with Program(PROGRAMS / "has_few_files.py", env=ENVIRONMENT) as program:
        assert program.end() == 0, program.output
    assert "refused" in program.output
    assert "added again" in program.output
    assert "Traceback" not in program.output


def test_a_program_with_few_descriptors_for_good_refuses_the_agent_that_is_too_many() -> None:
    with Program(PROGRAMS / "adds_until_refused.py", env=ENVIRONMENT) as program:
        assert program.end() == 0, program.output
    assert program.output.count("no room for one more process: [Errno 24]") == 3
    assert "well: True" in program.output
    assert program.output.count("added again: 1 True") == 2
    assert "Traceback" not in program.output


def test_a_program_with_few_descriptors_now_has_many_agents_with_no_more_each() -> None:
    with Program(PROGRAMS / "adds_many_with_few_files.py", env=ENVIRONMENT) as program:
        assert program.end() == 0, program.output
    assert program.output == "well: True\nlimit: 64\n"


def test_who_asks_an_async_agent_that_has_no_descriptors_is_told() -> None:
    with Program(PROGRAMS / "has_no_files_for_a_loop.py", env=ENVIRONMENT) as program:
        program.wait_for("refused: no event loop can be made")
        told = program.wait_for("told:")
        assert "'error'" in told
        assert "'plain'" in told
        assert program.wait_for("works again: pong")
        assert program.end() == 0


def test_a_second_ctrl_c_ends_a_program_at_once() -> None:
    """The first waits for the action in progress, the second for nothing."""
    with Program(PROGRAMS / "is_busy.py") as program:
        program.wait_for("begun")
        started = program.descendants()
        program.interrupt()
        program.wait_for("is leaving")
        program.interrupt()
        assert program.end() == 130
        assert all_end(started)

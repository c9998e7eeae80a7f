"""Faults of LocalSpace's processes, with the ledger as witness: nothing is lost in silence, nothing runs twice."""

from __future__ import annotations

import contextlib
import os
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
    Guest,
    LocalSpace,
    OutcomeUnknown,
    RequestError,
    action,
)
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.members import Odd, Recorder
from tests.faults.tools import begin, ends, eventually, leaves_nothing_behind, suspend
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
    def ping(self) -> str:
        return "pong"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the limit is not kept")
def test_a_worker_out_of_memory_fails_that_action_only(space: LocalSpace, me: Guest) -> None:
    space.add(Hungry, "hungry")
    with pytest.raises(ActionError, match="MemoryError"):
        me.proxy("hungry").eat()
    assert me.proxy("hungry").ping() == "pong"


def test_a_worker_that_writes_garbage_harms_nobody_else(space: LocalSpace, me: Guest) -> None:
    space.add(Garbler, "garbler")
    space.add(Odd, "well")
    me.send({"to": "garbler", "action": {"name": "garble"}})
    with contextlib.suppress(AgentNotFound, OutcomeUnknown):  # no request waits in vain
        me.request({"to": "garbler", "action": {"name": "help"}}, timeout=PATIENCE)
    assert me.proxy("well", timeout=5.0).ping() == "pong"


class Garbler(Agent):
    @action
    def garble(self) -> None:
        """Write what is no frame on the way to the hub, as memory that is overwritten would."""
        for connection in psutil.Process().net_connections("unix"):
            if connection.fd > 2:
                os.write(connection.fd, b"\x00\x00\x00\x08" + b"\xff" * 8)


def test_a_program_with_few_file_descriptors_says_so_and_recovers() -> None:
    with Program(PROGRAMS / "has_few_files.py", env=ENVIRONMENT) as program:
        assert program.end() == 0, program.output
    assert "refused" in program.output
    assert "added again" in program.output
    assert "Traceback" not in program.output


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

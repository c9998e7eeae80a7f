"""Agents whose processes die and that are started again, with the ledger as witness: their mail waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from agency import (
    ActionError,
    Agent,
    AgentIdInUse,
    AgentNotFound,
    Down,
    Guest,
    LocalSpace,
    MailboxFull,
    OutcomeUnknown,
    Reason,
    Supervision,
    UnknownAgent,
    action,
)
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.members import Recorder
from tests.faults.tools import begin, ends, eventually, leaves_nothing_behind, suspend
from tests.programs import PATIENCE, Program, all_end

pytestmark = pytest.mark.timeout(180)

PROGRAMS = Path(__file__).parent / "programs"

AT_ONCE = Supervision(backoff=0.01, intensity=1000)
MANY = 100_000
"""More messages than can be on their way when a mailbox is full."""

NEXT_YEAR = Supervision(backoff=3e7, max_backoff=3e7)


class Phoenix(Recorder):
    """Comes again, and can be made to die in several ways."""

    supervision: ClassVar[Supervision | None] = AT_ONCE

    def __init__(
        self, id: str, ledger: str | Path, *, lives: Path | None = None, **options: Any
    ) -> None:
        super().__init__(id, ledger, **options)
        self._lives = lives

    def after_add(self) -> None:
        if self._lives is not None:
            with self._lives.open("a", encoding="utf-8") as lives:
                lives.write("a life\n")

    @action
    def die(self, how: str) -> None:
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "exit":
            os._exit(3)
        elif how == "end":
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    @action
    def note_at_door(self, number: int, door: str) -> None:
        """Begin, then wait until the test opens the door, a pipe."""
        self.note(number)
        Path(door).read_bytes()


class Mortal(Phoenix):
    supervision = None


class Returner(Phoenix):
    supervision = Supervision(restart="always", backoff=0.01)


class Mayfly(Phoenix):
    """Dies as soon as it lives, but for the first time."""

    supervision = Supervision(backoff=0.01)

    def after_add(self) -> None:
        super().after_add()
        assert self._lives is not None
        if len(self._lives.read_text(encoding="utf-8").splitlines()) > 1:
            os.abort()


class Unrepeatable(Phoenix):
    """Can be built once only."""

    supervision = Supervision(backoff=0.01)

    def __init__(self, id: str, ledger: str | Path, *, lives: Path) -> None:
        super().__init__(id, ledger, lives=lives)
        if lives.exists():
            with lives.open("a", encoding="utf-8") as trace:
                trace.write("in vain\n")
            raise ValueError("there is one already")


class Sleeper(Phoenix):
    """Stays away after its death for longer than any test."""

    supervision = NEXT_YEAR


class Stuck(Phoenix):
    """Never gets ready again after its death."""

    def after_add(self) -> None:
        assert self._lives is not None
        is_first = not self._lives.exists()
        super().after_add()
        if not is_first:
            Path(f"{self._lives}.door").read_bytes()


class Sender(Agent):
    """Sends from a process of its own."""

    @action
    def send_note(self, number: int, to: str) -> None:
        self.send(note(number, to))


@pytest.fixture
def space(figures: Figures) -> Iterator[LocalSpace]:
    """A space, and the certainty that it leaves no process, thread or open file behind."""
    with leaves_nothing_behind(), figures.stopping(LocalSpace(grace=5.0)) as space:
        yield space


@pytest.fixture
def me(space: LocalSpace) -> Guest:
    return space.join("me")


def note(number: int, to: str = "phoenix", name: str = "note", **args: Any) -> dict[str, Any]:
    return {"to": to, "action": {"name": name, "args": {"number": number, **args}}}


def watched(space: LocalSpace, agent_id: str = "phoenix") -> queue.SimpleQueue[Down]:
    told: queue.SimpleQueue[Down] = queue.SimpleQueue()
    space.watch(agent_id, told.put)
    return told


def lost_ids(space: LocalSpace) -> Callable[[], set[str]]:
    """Begin to listen; the function returned tells the ids of the messages that were lost."""
    ids: list[str] = []
    space.dead_letters.listen(lambda letter: ids.append((letter.message or {}).get("id", "")))
    return lambda: set(ids)


def kill(me: Guest, agent_id: str = "phoenix") -> None:
    """Have the agent killed in an action; return when the death is known."""
    with pytest.raises(OutcomeUnknown):
        me.proxy(agent_id, timeout=PATIENCE).die(how="kill")


def occupy(me: Guest, folder: Path) -> None:
    """Keep the agent in an action, so that it begins with nothing else."""
    door = folder / "door"
    os.mkfifo(door)
    me.send(note(0, name="note_at_door", door=str(door)))
    with contextlib.closing(Ledger(folder / "ledger")) as ledger:
        eventually(lambda: ledger.count("begun") == 1)


def fill(me: Guest, ledger: Ledger, *, first: int = 1) -> int:
    """Send until there is no room, without waiting for any; returns the number that was refused."""

    async def send_all() -> int:
        for number in range(first, MANY):
            is_full = False
            with ledger.sending("me", "phoenix", number):
                try:
                    me.send(note(number))
                except MailboxFull:
                    is_full = True
                    raise
            if is_full:
                return number
        raise AssertionError("the mailbox is never full")

    return asyncio.run(send_all())


def kill_at_random(
    me: Guest,
    space: LocalSpace,
    ledger: Ledger,
    path: Path,
    *,
    chance: random.Random,
    kills: int,
    **options: Any,
) -> None:
    """Send to two agents while one of them is killed again and again, and comes again each time."""
    space.dead_letters.listen(ledger.dead)
    space.add(Recorder, "steady", path)
    space.add(Phoenix, "phoenix", path, **options)
    number = 0
    for _ in range(kills):
        process = psutil.Process(me.proxy("phoenix", timeout=PATIENCE).process())
        for until_killed in reversed(range(chance.randrange(1, 60))):
            for receiver in ("steady", "phoenix"):
                with ledger.sending("me", receiver, number):
                    me.send(note(number, receiver))
            number += 1
            if until_killed == 0:
                ledger.fault("worker killed")
                process.kill()
        process.wait(PATIENCE)
    for receiver in ("steady", "phoenix"):
        assert me.proxy(receiver, timeout=PATIENCE).process()
    verdict = ledger.verdict()
    assert verdict.is_clean(losses_told=True), verdict
    assert verdict.dead.keys() <= {"agent_died"}
    # What a process began with while it was killed, and could not write down any more: one at a time.
    assert len(verdict.lost) <= kills


def test_an_agent_killed_at_random_moments_comes_again_and_gets_all_that_it_had_not_begun(
    space: LocalSpace, me: Guest, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    kill_at_random(me, space, ledger, tmp_path / "ledger", chance=seed, kills=10)
    assert 1 <= space.restarts["phoenix"] <= 10


@pytest.mark.long
@pytest.mark.timeout(3600)  # each death is followed by a pause, ten seconds at most
def test_an_agent_killed_two_hundred_times_comes_again_each_time(
    space: LocalSpace, me: Guest, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    kill_at_random(me, space, ledger, tmp_path / "ledger", chance=seed, kills=200)


@pytest.mark.parametrize("how", ["kill", "segfault", "exit"])
def test_a_successor_has_the_same_id_and_arguments_and_is_set_up_anew(
    space: LocalSpace, me: Guest, tmp_path: Path, how: str
) -> None:
    lives = tmp_path / "lives"
    space.add(Phoenix, "phoenix", tmp_path / "ledger", lives=lives)
    before = me.proxy("phoenix").process()
    with pytest.raises(OutcomeUnknown):
        me.proxy("phoenix", timeout=PATIENCE).die(how=how)
    assert me.proxy("phoenix", timeout=PATIENCE).process() != before
    assert lives.read_text(encoding="utf-8").splitlines() == ["a life", "a life"]
    assert space.restarts == {"phoenix": 1}


def test_a_message_that_kills_kills_once_and_those_behind_it_are_handled(
    space: LocalSpace, me: Guest, ledger: Ledger, tmp_path: Path
) -> None:
    space.dead_letters.listen(ledger.dead)
    space.add(Phoenix, "phoenix", tmp_path / "ledger")
    for number in range(100):
        with ledger.sending("me", "phoenix", number):
            me.send(note(number, name="note_and_die" if number % 40 == 20 else "note"))
    assert me.proxy("phoenix", timeout=PATIENCE).process()
    verdict = ledger.verdict()
    assert verdict.is_clean(), verdict
    assert verdict.begun == 100
    assert verdict.dead == {"agent_died": 2}
    assert space.restarts == {"phoenix": 2}


def test_whoever_waits_for_what_was_not_begun_goes_on_waiting_and_gets_the_value(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    space.add(Phoenix, "phoenix", tmp_path / "ledger")
    process = psutil.Process(me.proxy("phoenix").process())
    occupy(me, tmp_path)
    asked = [
        begin(lambda: me.proxy("phoenix", timeout=PATIENCE).process()),
        begin(lambda: me.proxy("phoenix", timeout=PATIENCE).help(action_name="note")),
    ]
    process.kill()
    assert asked[0].result(PATIENCE) != process.pid
    assert "note" in asked[1].result(PATIENCE)


def test_between_two_lives_the_id_is_taken_and_mail_is_accepted(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    space.add(Sleeper, "phoenix", tmp_path / "ledger")
    space.add(Recorder, "sender", tmp_path / "ledger")
    letters = lost_ids(space)
    kill(me)
    with pytest.raises(AgentIdInUse):
        space.add(Recorder, "phoenix", tmp_path / "ledger")
    me.send(note(1) | {"id": "to it"})
    me.send(note(2, to="*") | {"id": "to all"})
    waiting = begin(lambda: me.proxy("phoenix", timeout=None).process())
    assert me.proxy("sender").process()
    assert space.dead_letters.counts == {"agent_died": 1}
    space.remove("phoenix")
    with pytest.raises(AgentNotFound):
        waiting.result(PATIENCE)
    assert {"to it", "to all"} <= letters()
    space.add(Recorder, "phoenix", tmp_path / "ledger")
    assert me.proxy("phoenix").process()


def test_an_agent_that_dies_too_often_is_let_go_after_exactly_as_many_restarts_as_it_may_have(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    space.add(Mayfly, "phoenix", tmp_path / "ledger", lives=lives)
    told = watched(space)
    letters = lost_ids(space)
    process = psutil.Process(me.proxy("phoenix").process())
    occupy(me, tmp_path)
    me.send(note(1) | {"id": "never begun"})
    waiting = begin(lambda: me.proxy("phoenix", timeout=None).process())
    process.kill()
    with pytest.raises(AgentNotFound):
        waiting.result(PATIENCE)
    down = told.get(timeout=PATIENCE)
    assert (down.agent_id, down.reason) == ("phoenix", Reason.AGENT_DIED)
    assert len(lives.read_text(encoding="utf-8").splitlines()) == 1 + 3
    assert space.restarts == {"phoenix": 3}
    assert "never begun" in letters()
    space.add(Recorder, "phoenix", tmp_path / "ledger")
    space.remove("phoenix")
    assert told.empty()


def test_an_agent_that_cannot_be_built_again_counts_as_dying_again(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    space.add(Unrepeatable, "phoenix", tmp_path / "ledger", lives=lives)
    told = watched(space)
    kill(me)
    down = told.get(timeout=PATIENCE)
    assert down.reason is Reason.AGENT_DIED
    assert "there is one already" in down.detail
    assert lives.read_text(encoding="utf-8").splitlines() == ["a life"] + ["in vain"] * 3


@pytest.mark.parametrize(("how", "why"), [("kill", "SIGKILL"), ("exit", "status 3")])
def test_an_agent_without_supervision_is_gone_at_once_and_who_watches_is_told_why(
    space: LocalSpace, me: Guest, tmp_path: Path, how: str, why: str
) -> None:
    space.add(Mortal, "mortal", tmp_path / "ledger")
    told = watched(space, "mortal")
    with pytest.raises(OutcomeUnknown):
        me.proxy("mortal", timeout=PATIENCE).die(how=how)
    down = told.get(timeout=PATIENCE)
    assert down.reason is Reason.AGENT_DIED
    assert why in down.detail
    assert space.restarts == {}


def test_a_process_that_ends_itself_in_good_order_comes_again_only_if_always_is_said(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    space.add(Phoenix, "phoenix", tmp_path / "ledger")
    space.add(Returner, "returner", tmp_path / "ledger")
    told = watched(space)
    for agent_id in ("phoenix", "returner"):
        with pytest.raises(OutcomeUnknown):
            me.proxy(agent_id, timeout=PATIENCE).die(how="end")
    assert "status 0" in told.get(timeout=PATIENCE).detail
    assert me.proxy("returner", timeout=PATIENCE).process()
    assert space.restarts == {"returner": 1}


def test_a_space_may_say_what_holds_for_classes_that_say_nothing(tmp_path: Path) -> None:
    with LocalSpace(supervision=AT_ONCE) as space:
        me = space.join()
        space.add(Recorder, "recorder", tmp_path / "ledger")
        psutil.Process(me.proxy("recorder").process()).kill()
        assert me.proxy("recorder", timeout=PATIENCE).process()


def test_agents_that_share_a_process_die_together_and_each_comes_again(tmp_path: Path) -> None:
    with LocalSpace(max_workers=1) as space:
        me = space.join()
        space.add(Phoenix, "phoenix", tmp_path / "ledger")
        space.add(Phoenix, "neighbour", tmp_path / "ledger")
        space.add(Recorder, "mortal", tmp_path / "ledger")
        kill(me)
        both = {me.proxy(one, timeout=PATIENCE).process() for one in ("phoenix", "neighbour")}
        assert len(both) == 1
        with pytest.raises(AgentNotFound):
            me.proxy("mortal", timeout=PATIENCE).process()


@pytest.mark.parametrize("how", ["remove", "destroy"])
def test_an_agent_that_waits_for_its_next_life_leaves_at_once_and_in_order(
    space: LocalSpace, me: Guest, tmp_path: Path, how: str
) -> None:
    space.add(Sleeper, "phoenix", tmp_path / "ledger")
    told = watched(space)
    letters = lost_ids(space)
    kill(me)
    me.send(note(1) | {"id": "kept"})
    ends(space.destroy if how == "destroy" else lambda: space.remove("phoenix"))
    assert told.get(timeout=PATIENCE).reason is Reason.AGENT_REMOVED
    assert "kept" in letters()
    if how == "remove":
        with pytest.raises(UnknownAgent):
            space.remove("phoenix")


@pytest.mark.parametrize("how", ["remove", "destroy"])
@pytest.mark.parametrize("max_workers", [None, 1])
def test_an_agent_in_the_midst_of_a_restart_leaves_at_once_and_in_order(
    tmp_path: Path, how: str, max_workers: int | None
) -> None:
    lives = tmp_path / "lives"
    door = tmp_path / "lives.door"
    os.mkfifo(door)
    with leaves_nothing_behind(), LocalSpace(grace=5.0, max_workers=max_workers) as space:
        me = space.join("me")
        space.add(Stuck, "phoenix", tmp_path / "ledger", lives=lives)
        told = watched(space)
        letters = lost_ids(space)
        kill(me)
        eventually(lambda: len(lives.read_text(encoding="utf-8").splitlines()) == 2)
        me.send(note(1) | {"id": "kept"})
        ends(space.destroy if how == "destroy" else lambda: space.remove("phoenix"))
        assert told.get(timeout=PATIENCE).reason is Reason.AGENT_REMOVED
        assert "kept" in letters()


def test_ctrl_c_ends_a_program_whose_agent_waits_for_its_next_life() -> None:
    with Program(PROGRAMS / "waits_for_its_next_life.py") as program:
        program.wait_for("dead")
        started = program.descendants()
        program.interrupt()
        assert program.end() == 130
        assert "Traceback" not in program.output
        assert all_end(started)


def test_a_halted_space_starts_nobody_again_and_keeps_the_mail_until_it_ends(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    space.add(Phoenix, "phoenix", tmp_path / "ledger", lives=lives)
    told = watched(space)
    letters = lost_ids(space)
    process = psutil.Process(me.proxy("phoenix").process())
    occupy(me, tmp_path)
    me.send(note(1) | {"id": "kept"})
    ends(space.halt)
    process.kill()
    eventually(lambda: space.dead_letters.counts == {"agent_died": 1})
    ends(space.destroy)
    assert told.get(timeout=PATIENCE).reason is Reason.AGENT_REMOVED
    assert "kept" in letters()
    assert lives.read_text(encoding="utf-8").splitlines() == ["a life"]


@pytest.mark.skipif(sys.platform != "linux", reason="a stopped process is one that does not hear")
def test_a_process_that_does_not_hear_that_it_is_to_halt_is_ended(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    space.add(Recorder, "deaf", tmp_path / "ledger")
    process = psutil.Process(me.proxy("deaf").process())
    suspend(process)
    ends(space.halt)
    process.wait(PATIENCE)


# Mailboxes with a bound, over several lives


@pytest.fixture
def patient(figures: Figures) -> Iterator[LocalSpace]:
    """A space in which senders wait for room for as long as it takes."""
    space = LocalSpace(grace=5.0, send_timeout=PATIENCE)
    with leaves_nothing_behind(), figures.stopping(space):
        yield space


def send_one_more(me: Guest, ledger: Ledger, number: int) -> Callable[[], None]:
    """To be called on a thread, which waits for room."""

    def send() -> None:
        with ledger.sending("me", "phoenix", number):
            me.send(note(number))

    return send


def test_what_waits_for_the_next_life_counts_against_the_bound_of_the_mailbox(
    ledger: Ledger, tmp_path: Path
) -> None:
    with leaves_nothing_behind(), LocalSpace(grace=5.0, send_timeout=0.2) as space:
        me = space.join("me")
        space.dead_letters.listen(ledger.dead)
        space.add(Sleeper, "phoenix", tmp_path / "ledger", mailbox=10)
        space.add(Sender, "sender")
        process = psutil.Process(me.proxy("phoenix").process())
        with ledger.sending("me", "phoenix", 0):
            occupy(me, tmp_path)
        refused = fill(me, ledger)
        process.kill()
        eventually(lambda: space.dead_letters.counts == {"agent_died": 1})
        assert fill(me, ledger, first=refused + 1) == refused + 1
        with pytest.raises(MailboxFull, match="'phoenix' is full"):
            me.send(note(MANY))
        with pytest.raises(ActionError, match="'phoenix' is full"):
            me.proxy("sender", timeout=PATIENCE).send_note(number=MANY, to="phoenix")
        me.send(note(MANY, to="*"))
        eventually(lambda: space.dead_letters.counts == {"agent_died": 1, "mailbox_full": 1})
        space.remove("phoenix")
        eventually(lambda: not ledger.verdict().silent, lambda: str(ledger.verdict()))
        assert space.dead_letters.counts["agent_removed"] == refused - 1


def test_a_full_mailbox_passes_to_the_next_life_with_those_who_wait_for_room(
    patient: LocalSpace, ledger: Ledger, tmp_path: Path
) -> None:
    me = patient.join("me")
    patient.dead_letters.listen(ledger.dead)
    patient.add(Phoenix, "phoenix", tmp_path / "ledger", mailbox=10)
    process = psutil.Process(me.proxy("phoenix").process())
    with ledger.sending("me", "phoenix", 0):
        occupy(me, tmp_path)
    refused = fill(me, ledger)
    sending = begin(send_one_more(me, ledger, refused + 1))
    process.kill()
    sending.result(PATIENCE)
    assert me.proxy("phoenix", timeout=PATIENCE).process() != process.pid
    verdict = ledger.verdict()
    assert verdict.is_clean(), verdict
    assert verdict.begun == refused + 1
    assert verdict.dead == {"agent_died": 1}


def test_a_mailbox_that_is_filled_between_two_lives_has_room_when_the_heir_has_made_some(
    patient: LocalSpace, ledger: Ledger, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    door = tmp_path / "lives.door"
    os.mkfifo(door)
    me = patient.join("me")
    patient.add(Stuck, "phoenix", tmp_path / "ledger", lives=lives, mailbox=10)
    kill(me)
    refused = fill(me, ledger)
    sending = begin(send_one_more(me, ledger, refused + 1))
    door.write_bytes(b"open")
    sending.result(PATIENCE)
    assert me.proxy("phoenix", timeout=PATIENCE).process()
    verdict = ledger.verdict()
    assert verdict.is_clean(), verdict
    assert verdict.begun == refused


@pytest.mark.parametrize("how", ["removed", "dead too often"])
def test_who_waits_for_room_goes_on_when_no_heir_comes(
    patient: LocalSpace, ledger: Ledger, tmp_path: Path, how: str
) -> None:
    me = patient.join("me")
    patient.dead_letters.listen(ledger.dead)
    kind = Sleeper if how == "removed" else Mayfly
    patient.add(kind, "phoenix", tmp_path / "ledger", lives=tmp_path / "lives", mailbox=10)
    process = psutil.Process(me.proxy("phoenix").process())
    with ledger.sending("me", "phoenix", 0):
        occupy(me, tmp_path)
    refused = fill(me, ledger)
    sending = begin(send_one_more(me, ledger, refused + 1))
    process.kill()
    if how == "removed":
        eventually(lambda: patient.dead_letters.counts == {"agent_died": 1})
        patient.remove("phoenix")
    sending.result(PATIENCE)
    eventually(lambda: not ledger.verdict().silent, lambda: str(ledger.verdict()))
    assert ledger.verdict().begun == 1
    assert ledger.count("refused") == 1


def test_an_agent_with_a_small_mailbox_killed_at_random_moments_loses_nothing_that_was_accepted(
    patient: LocalSpace, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    me = patient.join("me")
    kill_at_random(me, patient, ledger, tmp_path / "ledger", chance=seed, kills=10, mailbox=5)

"""More than agents can take, with the ledger as witness: floods, slow receivers, and storms of broadcasts.

A full mailbox on AMQP is in `test_broker`.
"""

from __future__ import annotations

import asyncio
import os
import queue
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agency import (
    Agent,
    AMQPSpace,
    DeadLetter,
    LocalSpace,
    MailboxFull,
    NativeSpace,
    Reason,
    Space,
    SpaceHalted,
    action,
)
from agency.envelope import HOP_LIMIT
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.ledger import Ledger
from tests.faults.members import Recorder
from tests.faults.tools import begin, eventually, suspend
from tests.programs import PATIENCE

pytestmark = pytest.mark.timeout(180)

MANY = 100_000
"""More messages than can be on their way when a mailbox is full."""

ON_ITS_WAY = 16 << 20
"""Bytes that one process may have sent before it sees that a mailbox is full: its outbox, and the
buffers of a socket.
"""

Make = Callable[..., Space]


@pytest.fixture(params=[NativeSpace, LocalSpace])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a space of each kind whose mailboxes are in this application."""
    made: list[Space] = []

    def make(**options: Any) -> Space:
        made.append(request.param(grace=1.0, **options))
        return made[-1]

    yield make
    for space in made:
        space.destroy()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Path]:
    """Where agents stand still until something is written to it."""
    path = tmp_path / "door"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)  # so that nobody waits for the other side to open it
    yield path
    os.write(held, b"open" * 8)
    os.close(held)


def let_through(door: Path) -> None:
    door.write_bytes(b"open")


class Standing(Recorder):
    """Stands still when it is told to, with its mail waiting."""

    @action
    def stand(self, door: str) -> None:
        with open(door, "rb", buffering=0) as opening:  # noqa: PTH123  # a pipe
            opening.read(4)

    @action
    def stand_then_ask(self, door: str, other: str) -> Any:
        self.stand(door)
        return self.request({"to": other, "action": {"name": "process"}}, timeout=PATIENCE)


class Passing(Agent):
    """Passes on whatever it is given."""

    def __init__(self, id: str, to: str) -> None:
        super().__init__(id)
        self._to, self._passed = to, 0

    @action
    def take(self) -> None:
        self._passed += 1
        self.send({"to": self._to, "action": {"name": "take"}})

    @action
    def passed(self) -> int:
        return self._passed


class Flooding(Agent):
    """Sends as long as it is let."""

    @action
    def flood(self, to: str) -> int:
        """Send until there is no room; returns how many that were."""
        message = {"to": to, "action": {"name": "ignore"}}
        for number in range(MANY):
            try:
                self.send(message)
            except MailboxFull:
                return number
        return MANY

    @action
    def flood_from(self, door: str, to: str) -> int:
        """Say that all is ready, and `flood` when the door is open."""
        self.send({"to": "me", "action": {"name": "say", "args": {"content": "ready"}}})
        with open(door, "rb", buffering=0) as opening:  # noqa: PTH123  # a pipe
            opening.read(4)
        return self.flood(to)

    @action
    def ignore(self) -> None:
        """Take no notice."""


class Async(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=2)

    @action
    async def flood(self, to: str) -> int:
        """Send until there is no room; returns how many that were."""
        for number in range(MANY):
            try:
                self.send(note(number, to))
            except MailboxFull:
                return number
        return MANY

    @action
    async def ask(self, to: str) -> Any:
        return await self.arequest({"to": to, "action": {"name": "process"}}, timeout=PATIENCE)

    @action
    async def send_elsewhere(self, to: str) -> None:
        await asyncio.to_thread(self.send, note(MANY, to))

    @action
    async def ping(self) -> str:
        return "pong"


def note(number: int, to: str, **more: Any) -> dict[str, Any]:
    return {"to": to, "action": {"name": "note", "args": {"number": number}}} | more


def stand(sender: Agent, receiver: str, door: Path) -> None:
    """Let the receiver stand still."""
    sender.send({"to": receiver, "action": {"name": "stand", "args": {"door": str(door)}}})


def fill(sender: Agent, receiver: str, ledger: Ledger, **more: Any) -> int:
    """Send to the receiver until its mailbox is full; returns how many it was sent."""
    for number in range(MANY):
        is_full = False
        with ledger.sending(sender.id, receiver, number):
            try:
                sender.send(note(number, receiver, **more))
            except MailboxFull:
                is_full = True
                raise
        if is_full:
            return number
    raise AssertionError("the mailbox is never full")


def all_arrive(ledger: Ledger, count: int) -> None:
    """What was accepted is begun, once and in order, and nothing that was refused."""
    eventually(lambda: ledger.count("begun") >= count, lambda: str(ledger.verdict()))
    verdict = ledger.verdict()
    assert verdict.is_clean(), verdict
    assert verdict.begun == count


# Floods


def test_a_full_mailbox_refuses_loses_nothing_and_delays_nobody_else(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=0.2)
    space.add(Standing, "full", tmp_path / "ledger", mailbox=100)
    space.add(Standing, "well", tmp_path / "ledger")
    me = space.join("me")
    stand(me, "full", door)
    accepted = fill(me, "full", ledger)
    assert accepted >= 100
    assert me.proxy("well", timeout=PATIENCE).process()
    with pytest.raises(MailboxFull, match="the mailbox of 'full' is full"):
        me.proxy("full").process()
    let_through(door)
    all_arrive(ledger, accepted)


def test_who_sends_faster_than_the_receiver_takes_is_slowed_and_loses_nothing(
    make: Make, ledger: Ledger, tmp_path: Path
) -> None:
    space = make(send_timeout=PATIENCE)
    space.add(Recorder, "slow", tmp_path / "ledger", mailbox=20)
    me = space.join("me")
    for number in range(3000):
        with ledger.sending("me", "slow", number):
            me.send(note(number, "slow"))
    all_arrive(ledger, 3000)


def test_large_messages_fill_a_mailbox_by_their_bytes(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=0.2)
    space.add(Standing, "full", tmp_path / "ledger")
    me = space.join("me")
    stand(me, "full", door)
    accepted = fill(me, "full", ledger, meta={"load": "x" * (1 << 20)})
    assert 64 << 20 <= (accepted + 1) << 20 <= (64 << 20) + ON_ITS_WAY
    let_through(door)
    all_arrive(ledger, accepted)


def test_agents_that_flood_each_other_or_themselves_end(make: Make, door: Path) -> None:
    space = make(send_timeout=1.0)
    space.add(Flooding, "one", mailbox=50)
    space.add(Flooding, "other", mailbox=50)
    me = space.join("me")
    one, other = (me.proxy(agent_id, timeout=PATIENCE) for agent_id in ("one", "other"))
    floods = [
        begin(lambda: one.flood_from(door=str(door), to="other")),
        begin(lambda: other.flood_from(door=str(door), to="one")),
    ]
    for _ in floods:
        assert me.receive(PATIENCE)["action"]["name"] == "say"
    for _ in floods:
        let_through(door)
    # Who ends first met a full mailbox; then that agent takes what the other one still sends.
    assert 50 <= min(flood.result(PATIENCE) for flood in floods) < MANY
    assert 50 <= me.proxy("one", timeout=PATIENCE).flood(to="one") < MANY


def test_an_agent_with_a_full_mailbox_gets_the_answers_it_waits_for(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=0.2)
    space.add(Standing, "full", tmp_path / "ledger", mailbox=10)
    space.add(Standing, "other", tmp_path / "ledger")
    me = space.join("me")
    asking = begin(
        lambda: me.proxy("full", timeout=PATIENCE).stand_then_ask(door=str(door), other="other")
    )
    accepted = fill(me, "full", ledger)
    let_through(door)
    assert asking.result(PATIENCE) == me.proxy("other").process()
    all_arrive(ledger, accepted)


def test_a_broadcast_waits_for_no_full_mailbox_and_reaches_all_others(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=0.2)
    space.dead_letters.listen(ledger.dead)
    space.add(Standing, "full", tmp_path / "ledger", mailbox=10)
    space.add(Recorder, "well", tmp_path / "ledger")
    me = space.join("me")
    stand(me, "full", door)
    accepted = fill(me, "full", ledger)
    with ledger.sending("me", "well", 0):
        me.send(note(0, "*"))
    eventually(lambda: ledger.count("dead") == 1)
    let_through(door)
    all_arrive(ledger, accepted + 1)
    assert ledger.verdict().dead == {"mailbox_full": 1}


def test_async_code_is_told_at_once_and_waits_beside_its_event_loop(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=PATIENCE)
    space.add(Standing, "full", tmp_path / "ledger", mailbox=10)
    space.add(Async, "async")
    me = space.join("me")
    stand(me, "full", door)
    accepted = me.proxy("async", timeout=PATIENCE).flood(to="full")
    assert 10 <= accepted < MANY
    asking = begin(lambda: me.proxy("async", timeout=PATIENCE).ask(to="full"))
    assert me.proxy("async", timeout=PATIENCE).ping() == "pong"
    assert not asking.done()
    let_through(door)
    assert isinstance(asking.result(PATIENCE), int)
    me.proxy("async", timeout=PATIENCE).send_elsewhere(to="full")
    eventually(lambda: ledger.count("begun") == accepted + 1)


def test_who_waits_for_room_is_let_go_when_the_receiver_leaves(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=PATIENCE)
    space.dead_letters.listen(ledger.dead)
    space.add(Standing, "full", tmp_path / "ledger", mailbox=10)
    space.add(Async, "async")
    me = space.join("me")
    stand(me, "full", door)
    me.proxy("async", timeout=PATIENCE).flood(to="full")

    def send_one_more() -> None:
        with ledger.sending("me", "full", MANY):
            me.send(note(MANY, "full"))

    sending = begin(send_one_more)
    with pytest.raises(TimeoutError):  # it waits
        sending.result(1.0)
    space.remove("full")
    sending.result(PATIENCE)
    eventually(lambda: not ledger.verdict().silent, lambda: str(ledger.verdict()))


def test_who_waits_for_room_where_all_is_halted_is_refused_in_time_and_what_was_accepted_is_told(
    make: Make, ledger: Ledger, tmp_path: Path, door: Path
) -> None:
    space = make(send_timeout=1.0)
    space.dead_letters.listen(ledger.dead)
    space.add(Standing, "full", tmp_path / "ledger", mailbox=10)
    space.add(Async, "async")
    me = space.join("me")
    stand(me, "full", door)
    accepted = me.proxy("async", timeout=PATIENCE).flood(to="full")
    sending = begin(lambda: me.send(note(MANY, "full")))
    space.halt()
    with pytest.raises((MailboxFull, SpaceHalted)):
        sending.result(PATIENCE)
    let_through(door)
    space.destroy()
    assert ledger.verdict().begun == 0
    assert space.dead_letters.counts == {"agent_removed": accepted}


def test_a_worker_that_stands_still_costs_its_bound_and_nobody_else_is_slowed(
    ledger: Ledger, tmp_path: Path
) -> None:
    with LocalSpace(grace=1.0, send_timeout=0.2) as space:
        space.add(Recorder, "frozen", tmp_path / "ledger")
        space.add(Flooding, "flooding")
        space.add(Recorder, "well", tmp_path / "ledger")
        me = space.join("me")
        frozen = psutil.Process(me.proxy("frozen").process())
        others = [psutil.Process(), *psutil.Process().children(recursive=True)]
        before = sum(process.memory_info().rss for process in others)
        suspend(frozen)
        accepted = fill(me, "frozen", ledger, meta={"load": "x" * (1 << 18)})
        for _ in range(20):
            with pytest.raises(MailboxFull):
                me.send(note(MANY, "frozen"))
            assert me.proxy("flooding", timeout=PATIENCE).flood(to="frozen") == 0
            assert me.proxy("well", timeout=PATIENCE).process() != frozen.pid
        grown = sum(process.memory_info().rss for process in others) - before
        assert grown < (64 << 20) + 2 * ON_ITS_WAY
        frozen.resume()
        all_arrive(ledger, accepted)


# Storms


class Crying(Agent):
    """Answers each broadcast by another."""

    def __init__(self, id: str) -> None:
        super().__init__(id, mailbox=5)
        self._heard = 0

    @action
    def cry(self) -> None:
        self._heard += 1
        self.send({"to": "*", "action": {"name": "cry"}})

    @action
    def heard(self) -> int:
        return self._heard


def test_a_storm_of_broadcasts_ends_and_every_one_is_accounted_for(make: Make) -> None:
    space = make(send_timeout=PATIENCE)
    crying = [f"crying-{number}" for number in range(6)]
    for agent_id in crying:
        space.add(Crying, agent_id)
    me = space.join("me")
    me.send({"to": "*", "action": {"name": "cry"}})

    def is_over() -> bool:
        """Whether every agent has heard every broadcast that was sent, or it is a dead letter."""
        heard = sum(me.proxy(one, timeout=PATIENCE).heard() for one in crying)
        dead = space.dead_letters.counts
        sent = 1 + heard - dead.get("hop_limit", 0)
        return bool(heard + dead.get("mailbox_full", 0) == len(crying) * sent)

    eventually(is_over, lambda: str(space.dead_letters.counts), limit=120.0)
    assert space.dead_letters.counts["hop_limit"] > 0


def test_agents_that_pass_on_in_a_circle_are_stopped_and_the_operator_is_told(make: Make) -> None:
    a_circle_ends(make(), 120.0)


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(600)
def test_agents_that_pass_on_in_a_circle_over_a_broker_are_stopped_too(
    broker: BrokerAddress,
) -> None:
    with AMQPSpace(options_for(broker), exchange=f"circle-{uuid.uuid4().hex}") as space:
        a_circle_ends(space, 500.0)


def a_circle_ends(space: Space, limit: float) -> None:
    """Three agents pass on a message to each other for ever: it is stopped, counted, and heard of."""
    circle = ["a", "b", "c"]
    for agent_id, following in zip(circle, [*circle[1:], circle[0]], strict=True):
        space.add(Passing, agent_id, following)
    heard: queue.SimpleQueue[DeadLetter] = queue.SimpleQueue()
    space.dead_letters.listen(heard.put)
    me = space.join("me")
    me.send({"to": "a", "action": {"name": "take"}})
    letter = heard.get(timeout=limit)
    assert letter.reason is Reason.HOP_LIMIT
    assert letter.message is not None
    assert {letter.message["from"], letter.message["to"]} <= set(circle)
    assert sum(me.proxy(one, timeout=PATIENCE).passed() for one in circle) == HOP_LIMIT + 1
    assert space.dead_letters.counts == {"hop_limit": 1}

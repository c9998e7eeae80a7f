"""A resident at its limits: time, causes without end, and the kill switch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agency import ACCESS_REQUESTED, Agent, NativeSpace, RequestTimeout, action
from agency.envelope import HOP_LIMIT, Envelope, Kind, answer
from agency.resident import Resident
from agency.schema import Message
from agency.threads import Crew
from tests.faults.tools import begin, eventually
from tests.programs import PATIENCE


class Slow(NativeSpace):
    """Accepts what somebody waits for when the time is over."""

    def route(self, envelope: Envelope) -> None:
        if envelope.wants_answer:
            envelope.deadline = time.monotonic()


def test_the_time_that_a_request_waits_for_room_is_part_of_its_timeout() -> None:
    with Slow() as space:
        me = space.join("me")
        message = {"to": "nobody", "action": {"name": "act"}}
        for asking in (
            begin(lambda: me.request(message, timeout=10 * PATIENCE)),
            begin(lambda: asyncio.run(me.arequest(message, timeout=10 * PATIENCE))),
        ):
            with pytest.raises(RequestTimeout):
                asking.result(PATIENCE)


class Counting(Agent):
    @action
    def count(self) -> Iterator[int]:
        yield 1


def test_of_a_stream_that_is_too_far_down_a_chain_of_causes_nothing_is_wanted() -> None:
    resident = Resident(Counting("a"), NativeSpace(), Crew("crew"))
    message: Message = {"from": "b", "to": "a", "action": {"name": "count"}}
    for hops, wanted in ((1, True), (HOP_LIMIT + 1, False)):
        asked = Envelope.of(message, f"b.{hops}", Kind.STREAM)
        asked.hops = hops
        resident.deliver(asked)
        part = answer(asked, "a.1", "a", value=1, kind=Kind.PART)
        assert resident.emit(part) is wanted


class Guarded(Agent):
    """Stops its event loop for as long as the test likes."""

    def __init__(self) -> None:
        super().__init__("guarded", concurrency=3)
        self.may = threading.Event()
        self.doors = [threading.Event(), threading.Event()]
        self.stands = [threading.Event(), threading.Event()]
        self.has_acted = False

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        return self.may.wait(PATIENCE)

    @action
    async def stand(self, at: int) -> None:
        self.stands[at].set()
        self.doors[at].wait(PATIENCE)

    @action(access_policy=ACCESS_REQUESTED)
    async def act(self) -> None:
        self.has_acted = True


def test_what_was_permitted_and_has_not_gone_on_when_all_is_halted_stays_where_it_is() -> None:
    guarded, space, crew = Guarded(), NativeSpace(), Crew("crew")
    resident = Resident(guarded, space, crew)
    resident.move_in()
    resident.open_up()

    def tell(number: int, name: str, **args: Any) -> None:
        message: Message = {
            "from": "b",
            "to": "guarded",
            "action": {"name": name, "args": args},
        }
        resident.deliver(Envelope.of(message, f"b.{number}", Kind.TELL))

    tell(1, "act")
    tell(2, "stand", at=0)
    assert guarded.stands[0].wait(PATIENCE)
    tell(3, "stand", at=1)
    guarded.may.set()
    eventually(lambda: len(resident.mailbox) == 2)  # 3, and then 1 again
    guarded.doors[0].set()
    assert guarded.stands[1].wait(PATIENCE)
    assert not resident.mailbox  # 1 is to go on next
    resident.halt()
    resident.deny()
    guarded.doors[1].set()
    resident.begin_to_leave()
    assert resident.move_out(PATIENCE)
    assert not guarded.has_acted
    assert space.dead_letters.counts == {"agent_removed": 1}

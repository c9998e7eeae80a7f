"""What waits for permission has its place in the mailbox, and comes to an end like all else."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

from agency import (
    ACCESS_REQUESTED,
    ActionNotPermitted,
    Agent,
    MailboxFull,
    NativeSpace,
    RequestTimeout,
    action,
)
from tests.faults.tools import begin
from tests.programs import PATIENCE

ACT = {"to": "guarded", "action": {"name": "act"}}


class Guarded(Agent):
    """Permits when it is let."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self.proposed: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.may = threading.Event()
        self.count = 0

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        self.proposed.put(proposed_message)
        return self.may.wait(PATIENCE)

    @action(access_policy=ACCESS_REQUESTED)
    def act(self) -> int:
        self.count += 1
        return self.count


@pytest.mark.parametrize("more", [{}, {"meta": {"load": "x" * (1 << 20)}}])  # light and heavy
def test_what_waits_for_permission_takes_room_in_the_mailbox(more: dict[str, Any]) -> None:
    with NativeSpace(send_timeout=0) as space:
        guarded = space.add(Guarded("guarded", mailbox=3))
        me = space.join("me")
        for _ in range(3):
            me.send(ACT | more)
            guarded.proposed.get(timeout=PATIENCE)
        with pytest.raises(MailboxFull):
            me.send(ACT | more)
        guarded.may.set()
        numbers = [me.receive(PATIENCE)["action"]["args"]["data"] for _ in range(3)]
        assert numbers == [1, 2, 3]


def test_large_messages_that_wait_for_permission_fill_a_mailbox_by_their_bytes() -> None:
    load = "x" * (7 << 20)
    with NativeSpace(send_timeout=0) as space:
        guarded = space.add(Guarded("guarded"))
        me = space.join("me")
        for _ in range(10):  # 70 MiB: one more than fits
            me.send(ACT | {"meta": {"load": load}})
            guarded.proposed.get(timeout=PATIENCE)
        with pytest.raises(MailboxFull):
            me.send(ACT | {"meta": {"load": load}})
        guarded.may.set()


def test_who_has_been_permitted_gives_its_room_to_those_who_wait_for_it() -> None:
    with NativeSpace(send_timeout=PATIENCE) as space:
        guarded = space.add(Guarded("guarded", mailbox=2))
        me = space.join("me")

        def send() -> None:
            for _ in range(50):
                me.send(ACT)

        sending = begin(send)
        for _ in range(2):
            guarded.proposed.get(timeout=PATIENCE)
        guarded.may.set()
        sending.result(PATIENCE)
        for _ in range(50):
            me.receive(PATIENCE)
        assert guarded.count == 50


def test_what_is_permitted_when_nobody_waits_any_more_does_not_run() -> None:
    with NativeSpace() as space:
        lost: queue.SimpleQueue[str] = queue.SimpleQueue()
        space.dead_letters.listen(lambda letter: lost.put(letter.reason.value))
        guarded = space.add(Guarded("guarded"))
        me = space.join("me")
        with pytest.raises(RequestTimeout):
            me.request(ACT, timeout=0.2)
        guarded.may.set()
        assert lost.get(timeout=PATIENCE) == "expired"
        assert me.request(ACT, timeout=PATIENCE) == 1


class AsyncGuarded(Agent):
    """Never decides."""

    def __init__(self, id: str) -> None:
        super().__init__(id, permission_timeout=0.1)
        self.given_up = threading.Event()

    async def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        try:
            return await asyncio.Event().wait()
        finally:
            self.given_up.set()

    @action(access_policy=ACCESS_REQUESTED)
    def act(self) -> None: ...


def test_who_has_not_decided_in_time_is_asked_no_longer() -> None:
    with NativeSpace() as space:
        guarded = space.add(AsyncGuarded("guarded"))
        with pytest.raises(ActionNotPermitted):
            space.join("me").request(ACT, timeout=PATIENCE)
        assert guarded.given_up.wait(PATIENCE)

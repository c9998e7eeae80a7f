"""How much may wait to be confirmed, and who is let in when."""

from __future__ import annotations

import contextlib

import pytest

from agency import NotAccepted
from agency.spaces.amqp_outbox import Outbox, Outcome, Publication
from tests.faults.tools import begin

MESSAGES = 512
BYTES = 16 * 1024 * 1024


def put(outbox: Outbox, body: bytes = b"", timeout: float = 0.0) -> Publication:
    return outbox.put("bob", body, b"", None, timeout)


def fill(outbox: Outbox, body: bytes) -> None:
    """Until there is no more room."""
    with contextlib.suppress(NotAccepted):
        for _ in range(2 * MESSAGES):
            put(outbox, body)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.mark.parametrize(
    ("size", "count"), [(0, MESSAGES), (BYTES // 4, 4), (BYTES // 4 + 1, 4), (2 * BYTES, 1)]
)
def test_no_more_is_let_in_than_may_wait_by_number_and_by_bytes(
    outbox: Outbox, size: int, count: int
) -> None:
    """A message that is larger than all that may wait is let in alone."""
    fill(outbox, bytes(size))
    with pytest.raises(NotAccepted, match=f"has not confirmed {count} earlier messages"):
        put(outbox)


@pytest.mark.parametrize(("size", "count"), [(0, MESSAGES), (BYTES // 4, 4)])
def test_who_waits_for_room_is_let_in_when_half_of_it_is_free(
    outbox: Outbox, size: int, count: int
) -> None:
    fill(outbox, bytes(size))
    outbox.take(most_properties=1)
    outbox.confirmed(count // 2 - 1, multiple=True, accepted=True)
    with pytest.raises(NotAccepted):
        put(outbox)
    waiting = begin(lambda: put(outbox, timeout=30.0))
    outbox.confirmed(count // 2, multiple=False, accepted=True)
    assert waiting.result(30.0) in outbox.take(most_properties=1)


def test_what_was_given_up_takes_up_room_for_as_long_as_the_server_may_take_it(
    outbox: Outbox,
) -> None:
    written = put(outbox, bytes(BYTES))
    outbox.take(most_properties=1)
    assert written.wait(0) is Outcome.UNKNOWN
    with pytest.raises(NotAccepted):
        put(outbox)
    outbox.channel_lost(None)
    never_written = put(outbox, bytes(BYTES))
    assert never_written.wait(0) is Outcome.NOT_SENT
    put(outbox)

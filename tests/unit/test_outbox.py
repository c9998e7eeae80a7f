"""The outbox knows at any moment how much of it is taken up, whoever gave a message up, and when."""

from __future__ import annotations

import pytest

from agency.errors import NotAccepted
from agency.spaces.amqp_outbox import Outbox, Outcome, Publication

MOST_PROPERTIES = 1000
ROOM = 512
"""Messages that an outbox holds."""


def put(outbox: Outbox, timeout: float | None = 0) -> Publication:
    return outbox.put("a", b"{}", b"", None, timeout)


def test_a_message_given_up_while_its_refusal_is_asked_about_is_released_once() -> None:
    asked: list[Publication] = []
    outbox = Outbox(asked.append)
    publication = put(outbox)
    outbox.take(MOST_PROPERTIES)
    outbox.confirmed(1, multiple=False, accepted=False)
    assert asked == [publication]
    assert publication.wait(0) is Outcome.UNKNOWN
    outbox.refused(publication)
    assert publication.outcome is Outcome.UNKNOWN
    assert len(outbox) == 0


def test_what_was_given_up_before_it_is_refused_is_not_asked_about_and_takes_no_room() -> None:
    asked: list[Publication] = []
    outbox = Outbox(asked.append)
    publication = put(outbox)
    outbox.take(MOST_PROPERTIES)
    assert publication.wait(0) is Outcome.UNKNOWN
    assert len(outbox) == 1
    outbox.confirmed(1, multiple=False, accepted=False)
    assert asked == []
    assert len(outbox) == 0


def test_who_must_not_wait_for_room_needs_none() -> None:
    outbox = Outbox()
    for _ in range(ROOM):
        put(outbox)
    with pytest.raises(NotAccepted):
        put(outbox)
    put(outbox, timeout=None)
    assert len(outbox.take(MOST_PROPERTIES)) == ROOM + 1

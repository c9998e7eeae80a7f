"""The mailbox: how many messages may wait, and who waits until there is room."""

from __future__ import annotations

import pytest

from agency import Agent, NativeSpace
from agency.envelope import MAILBOX_BYTES, Envelope, Kind
from agency.mailbox import Mailbox
from agency.resident import Resident
from agency.schema import Message
from agency.threads import Crew
from tests.faults.tools import begin, eventually
from tests.programs import PATIENCE


def test_there_is_room_until_as_many_wait_as_may() -> None:
    mailbox = Mailbox(2)
    mailbox.append("one")
    assert mailbox.has_room()
    mailbox.append("two")
    assert not mailbox.has_room()
    mailbox.popleft()
    assert mailbox.has_room()


def test_there_is_no_room_while_what_waits_is_too_heavy() -> None:
    mailbox = Mailbox(10)
    mailbox.weigh(MAILBOX_BYTES - 1)
    assert mailbox.has_room()
    mailbox.weigh(1)
    assert not mailbox.has_room()
    mailbox.taken(1)
    assert mailbox.has_room()


def test_only_what_somebody_wants_to_know_is_watched() -> None:
    mailbox = Mailbox(1)
    watched = [mailbox.is_watched]
    mailbox.weigh(10)
    watched.append(mailbox.is_watched)
    mailbox.taken(10)
    watched.append(mailbox.is_watched)
    assert watched == [False, True, False]
    mailbox.append("one")
    assert not mailbox.wait_for_room(0.01)
    assert not mailbox.is_watched


def test_whoever_waits_is_let_in_one_by_one() -> None:
    mailbox = Mailbox(1)
    mailbox.append("first")

    def put_in() -> None:
        assert mailbox.wait_for_room(PATIENCE)
        mailbox.append("more")
        mailbox.hand_on()

    waiting = [begin(put_in) for _ in range(3)]
    for _ in waiting:
        eventually(lambda: len(mailbox) > 0)
        mailbox.popleft()
        mailbox.hand_on()
    for one in waiting:
        one.result(PATIENCE)


def test_all_who_wait_are_let_in_when_nothing_is_refused_any_more() -> None:
    mailbox = Mailbox(1)
    mailbox.append("first")
    mailbox.weigh(MAILBOX_BYTES)
    waiting = [begin(lambda: mailbox.wait_for_room(PATIENCE)) for _ in range(3)]
    mailbox.open_wide()
    assert [one.result(PATIENCE) for one in waiting] == [True] * 3
    mailbox.append("another")
    assert mailbox.has_room()


@pytest.mark.parametrize(
    ("mailbox", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_a_bound_that_is_none_is_refused(mailbox: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="mailbox"):
        Agent("a", mailbox=mailbox)


def test_what_is_put_back_in_a_halted_agents_mailbox_is_first_again_and_takes_its_room() -> None:
    resident = Resident(Agent("a", mailbox=2), NativeSpace(), Crew("crew"))
    for number in ("1", "2"):
        message: Message = {"from": "b", "to": "a", "action": {"name": "help"}}
        envelope = Envelope.of(message, number, Kind.TELL)
        envelope.weight = MAILBOX_BYTES // 2
        resident.deliver(envelope)
    taken = resident.mailbox.popleft()
    resident.halt()
    assert resident.begin(taken) is None
    assert [one.id for one in resident.mailbox] == ["1", "2"]
    assert resident.mailbox.most == 0

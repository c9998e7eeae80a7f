"""What an agent has been given of its mailbox: acknowledged once, begun once, and let go of when the id is lost."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, field

from agency.spaces.amqp_inbox import Inbox, Taken
from agency.spaces.amqp_properties import Delivery, Properties


def delivery(tag: int, *, redelivered: bool = False) -> Delivery:
    return Delivery("a", "a", b"{}", Properties(), redelivered, 1, tag)


@dataclass
class Care:
    """One message in the care of an agent."""

    acknowledged: list[int] = field(default_factory=list)
    forgotten: list[Taken] = field(default_factory=list)
    inbox: Inbox = field(default_factory=Inbox)

    def __post_init__(self) -> None:
        self.taken = Taken(
            ("id", "b", "a"),
            delivery(1),
            self.inbox,
            lambda one: self.acknowledged.append(one.tag),
            self.forgotten.append,
            is_first=True,
        )

    def lose_id(self) -> None:
        self.inbox.lease_changed(False)
        self.inbox.lease_changed(True)


def test_what_was_not_begun_when_the_id_was_lost_is_begun_and_acknowledged_no_more() -> None:
    care = Care()
    care.lose_id()
    assert not care.taken.may_start()
    care.taken.settled()
    assert care.acknowledged == []
    assert care.taken in care.forgotten
    assert not care.taken.came_again(delivery(2, redelivered=True))


def test_what_had_been_begun_is_acknowledged_as_it_came_the_second_time() -> None:
    care = Care()
    assert care.taken.may_start()
    care.lose_id()
    assert care.taken.came_again(delivery(2, redelivered=True))
    care.taken.settled()
    assert care.acknowledged == [2]


def test_what_had_been_settled_is_acknowledged_when_it_comes_again() -> None:
    care = Care()
    assert care.taken.may_start()
    care.taken.settled()
    care.lose_id()
    assert care.taken.came_again(delivery(2, redelivered=True))
    assert care.acknowledged == [1, 2]


def test_what_its_sender_wrote_twice_is_acknowledged_twice_and_handled_once() -> None:
    care = Care()
    assert care.taken.came_again(delivery(2))
    assert care.taken.may_start()
    care.taken.settled()
    assert care.acknowledged == [2, 1]


def test_what_was_settled_without_being_begun_is_not_handled_again() -> None:
    care = Care()
    care.taken.settled()
    care.lose_id()
    assert care.taken.came_again(delivery(2, redelivered=True))
    assert care.acknowledged == [1, 2]


def given(inbox: Inbox, envelope_id: str, sender: str, *, settled: bool = True) -> Taken:
    place = (envelope_id, sender, "a")
    taken = Taken(place, delivery(1), inbox, lambda _: None, lambda _: None, is_first=True)
    inbox.remember(taken)
    if settled:
        assert taken.may_start()
        taken.settled()
    return taken


def test_what_one_sender_wrote_is_known_again_however_much_others_send() -> None:
    inbox = Inbox()
    first = given(inbox, "eve.1", "eve")
    for number in range(20_000):
        given(inbox, f"ann.{number}", "ann")
    for number in range(3_000):
        given(inbox, f"guest{number}.1", f"guest{number}")
    assert inbox.knows(first.place) is first


def test_what_is_still_being_handled_is_known_again_whatever_else_comes() -> None:
    """As an action that makes many requests: their answers come the same way."""
    inbox = Inbox()
    of_the_same, of_another = (
        given(inbox, f"{sender}.0", sender, settled=False) for sender in ("ann", "eve")
    )
    for number in range(1, 6_000):
        given(inbox, f"ann.{number}", "ann")
        given(inbox, f"guest{number}.1", f"guest{number}")
    for taken in of_the_same, of_another:
        assert inbox.knows(taken.place) is taken


def test_what_is_remembered_is_bounded_whoever_sends() -> None:
    inbox = Inbox()
    everything = [
        given(inbox, f"{sender}.{number}", sender)
        for sender, number in itertools.product(map(str, range(100)), range(400))
    ]
    everything += [given(inbox, f"ann.{number}", "ann") for number in range(2_000)]
    everything += [given(inbox, f"guest{number}.1", f"guest{number}") for number in range(5_000)]
    assert sum(inbox.knows(taken.place) is not None for taken in everything) <= 16_384


def test_what_was_lost_unbegun_is_not_remembered_for_ever() -> None:
    inbox = Inbox()
    lost = given(inbox, "ann.0", "ann", settled=False)
    inbox.lease_changed(False)
    for number in range(1, 2_000):
        given(inbox, f"ann.{number}", "ann")
    assert inbox.knows(lost.place) is None


def test_the_content_of_a_message_is_not_kept() -> None:
    body = b"x" * 1_000
    used = sys.getrefcount(body)
    whole = Delivery("a", "a", body, Properties(), False, 1, 1)
    taken = Taken(("id", "b", "a"), whole, Inbox(), lambda _: None, lambda _: None, is_first=True)
    assert taken.came_again(whole)
    del whole
    assert sys.getrefcount(body) == used


def test_only_the_first_mail_of_an_inbox_is_the_first() -> None:
    inbox = Inbox()
    assert [inbox.is_new() for _ in range(3)] == [True, False, False]

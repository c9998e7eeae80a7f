"""What an agent has been given of its mailbox: acknowledged once, begun once, and let go of when the id is lost."""

from __future__ import annotations

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


def test_only_the_first_mail_of_an_inbox_is_the_first() -> None:
    inbox = Inbox()
    assert [inbox.is_new() for _ in range(3)] == [True, False, False]

"""What an agent has been given of its mailbox: which messages are in its care, and which it may begin
with.

The server keeps a message until it is acknowledged, and gives it out again when a link breaks, to
whoever has the id by then. So this side remembers what it has had, and lets go of what it has not
begun with as soon as the id may be another's. Above: `amqp_space`. Below: `agency.envelope`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from agency.envelope import Receipt
from agency.spaces.amqp_outbox import Publication
from agency.spaces.amqp_properties import Delivery, Properties

__all__ = ["Inbox", "Place", "Taken"]

Place = tuple[str, str, str]
"""Which message, by the ids of its envelope, its sender and its receiver."""

_EACH: Final = 1024
"""How many messages of one sender an agent knows again when they come a second time, besides those in its
care: a sender writes at most 512 again when its link was cut.
"""
_SENDERS: Final = 4096  # of whom an agent remembers anything: those whom it heard last
_ALL: Final = 16384  # messages of all senders together; who has sent the most is remembered least

_Sender = tuple[str, str]
"""Who numbers its messages: one life of an agent, and the id that it spoke as."""
_Messages = OrderedDict[Place, "Taken"]

_NOTHING: Final = Properties()


class Inbox:
    """What one agent of this process has been given. Used on the link's thread.

    What it remembers of one sender, no other can make it forget, unless there are thousands; and what is
    in the agent's care is not forgotten at all.

    Args:
        catch_up: Called before each message is begun with, on any thread: returns when `losses` can be believed.
    """

    def __init__(self, catch_up: Callable[[], None] = lambda: None) -> None:
        self.catch_up = catch_up
        self.losses = 0
        """How often the id was lost: what was given out before belongs to whoever has it next."""
        self._known: OrderedDict[_Sender, _Messages] = OrderedDict()
        self._count = 0
        self._is_new = True

    def lease_changed(self, held: bool) -> None:  # a callback's one argument
        """The id is no longer surely ours, or is again."""
        if not held:
            self.losses += 1

    def is_new(self) -> bool:
        """Whether this is asked for the first time. So the mail is the first that the agent is given, and
        if another had the id before and died, it had begun with this.
        """
        is_new, self._is_new = self._is_new, False
        return is_new

    def knows(self, place: Place) -> Taken | None:
        """How the message was given before, if it is among the last thousand of its sender."""
        messages = self._known.get(_sender(place))
        return None if messages is None else messages.get(place)

    def remember(self, taken: Taken) -> None:
        """Know the message again."""
        sender = _sender(taken.place)
        messages = self._known.get(sender)
        if messages is None:
            messages = self._known[sender] = OrderedDict()
            if len(self._known) > _SENDERS:
                self._forget_a_sender()
        self._known.move_to_end(sender)
        before = len(messages)
        messages[taken.place] = taken
        if len(messages) > _EACH:
            _shorten(messages, _EACH)
        self._count += len(messages) - before
        if self._count > _ALL:
            self._forget_the_most()

    def _forget_a_sender(self) -> None:
        """One that was not heard for long."""
        for _ in range(len(self._known)):
            sender, messages = self._known.popitem(last=False)
            before = len(messages)
            _shorten(messages, 0)
            self._count -= before - len(messages)
            if not messages:
                return
            self._known[sender] = messages  # some are in the agent's care

    def _forget_the_most(self) -> None:
        most = _EACH
        while self._count > _ALL // 2 and most:
            most //= 2
            for messages in self._known.values():
                _shorten(messages, most)
            self._count = sum(map(len, self._known.values()))


def _sender(place: Place) -> _Sender:
    envelope_id, sender, _ = place
    return envelope_id.partition(".")[0], sender


def _shorten(messages: _Messages, most: int) -> None:
    """Forget the oldest, down to so many, except for what is in the agent's care."""
    for _ in range(len(messages)):
        if len(messages) <= most:
            return
        place, taken = messages.popitem(last=False)
        if taken.is_in_care:
            messages[place] = taken


class Taken(Receipt):
    """A delivery in the care of an agent: acknowledged when it is settled and all that was sent
    because of it is safe with the server.

    If the id is lost before the agent has begun with it, it is in its care no more, for ever: what
    comes again is another delivery.

    Attributes:
        acknowledge: How to take it out of the mailbox.
        place: Which message it is.
        is_first: Whether this process was the first that the server gave the message to.
    """

    __slots__ = (
        "_begun",
        "_delivery",
        "_forget",
        "_inbox",
        "_lock",
        "_losses",
        "_open",
        "_settled",
        "acknowledge",
        "is_first",
        "place",
        "reply_to",
    )

    def __init__(
        self,
        place: Place,
        delivery: Delivery,
        inbox: Inbox,
        acknowledge: Callable[[Delivery], None],
        forget: Callable[[Taken], None],
        *,
        is_first: bool,
    ) -> None:
        self.place = place
        self.is_first = is_first
        self.reply_to = delivery.properties.reply_to
        self._lock = threading.Lock()
        self._open = 1  # publications that are waited for, and one for the handling; by _lock
        self._delivery = _without_content(delivery)
        self._inbox = inbox
        self._losses = inbox.losses
        self.acknowledge = acknowledge
        self._forget = forget
        self._begun = False  # or settled without; by _lock
        self._settled = False

    @property
    def is_in_care(self) -> bool:
        """Whether it is still to be acknowledged."""
        return not (self._settled or self.is_void)

    @property
    def is_void(self) -> bool:
        """Whether it went out of the agent's care before the agent began with it."""
        return not self._begun and self._losses != self._inbox.losses

    def may_start(self) -> bool:
        self._inbox.catch_up()
        with self._lock:
            self._begun = begun = self._losses == self._inbox.losses
        if not begun:
            self._forget(self)
        return begun

    def wait_for(self, publication: Publication) -> bool:
        """Do not acknowledge before the outcome of this is known. False if it is too late for that."""
        with self._lock:
            if self._open == 0:
                return False
            self._open += 1
        publication.when_settled(lambda _: self._one_less())
        return True

    def settled(self) -> None:
        self._forget(self)
        if not self._begun:
            with self._lock:
                if self.is_void:
                    return
                self._begun = True
        self._one_less()

    def came_again(self, delivery: Delivery) -> bool:
        """The server delivered the message again. False if it is another delivery, to be handled:
        this one was void.
        """
        with self._lock:
            if self.is_void:
                return False
            if self._losses == self._inbox.losses:  # its sender wrote it twice: one is enough
                self.acknowledge(delivery)
                return True
            self._losses = self._inbox.losses
            self._delivery = _without_content(
                delivery
            )  # only this one can be acknowledged from now on
        if self._settled:
            self.acknowledge(delivery)
        return True

    def _one_less(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open:
                return
        self._settled = True
        self.acknowledge(self._delivery)


def _without_content(delivery: Delivery) -> Delivery:
    """All that an acknowledgement needs: it is remembered for much longer than the message is used."""
    agent_id, key, _, _, redelivered, generation, tag = delivery
    return Delivery(agent_id, key, b"", _NOTHING, redelivered, generation, tag)

"""What it means that the server said no to a message: its mailbox is full, or something else.

The server says no because the mailbox is full; or because its node went down with the message,
which it may have stored; or because no node leads a replicated mailbox for now. It does not say
which. So it is asked for the mailbox, on a channel for each question, because one that finds no
mailbox ends its channel.

Runs on the I/O thread. Above: `amqp_publisher`. Below: `amqp_connection`, `amqp_outbox`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pika.exceptions

from agency.spaces.amqp_connection import Connection, IOLoop
from agency.spaces.amqp_outbox import Publication
from agency.spaces.amqp_topology import Topology

__all__ = ["Refusals"]

_ANSWER_TIME: Final = 5.0  # seconds
_NOT_FOUND: Final = 404
_NO_SUCH_QUEUE: Final = "no queue"  # the text of a 404, if not "home node ... is down", say

Settle = Callable[[Publication, str, bool], None]
"""Takes a refused message; why the server may have it all the same, or an empty text; and whether its mailbox is
surely full.
"""


class Refusals:
    """Messages that were refused, until it is known why."""

    def __init__(
        self, loop: IOLoop, connection: Connection, topology: Topology, settle: Settle
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._topology = topology
        self._settle = settle
        self._questions: dict[str, _Question] = {}  # by what the mailbox is called

    def add(self, publication: Publication) -> None:
        """One question for each mailbox at a time: what is refused meanwhile is for the next one."""
        names = self._topology.mailboxes_of(publication.routing_key)
        if not names:
            self._settle(publication, "", True)
        elif (question := self._questions.get(names[0])) is None:
            self._ask(names, [publication])
        elif question.is_late:
            self._settle(publication, _LATE, False)
        else:
            question.later.append(publication)

    def lost(self) -> None:
        """The connection is."""
        questions = list(self._questions.values())
        self._questions.clear()
        for question in questions:
            question.give_up("the link broke")

    def _ask(self, names: tuple[str, ...], refused: list[Publication]) -> None:
        question = _Question(self._loop, self._topology, names, refused, self._settle)
        self._questions[names[0]] = question
        question.on_end = partial(self._ended, names, question)
        question.ask(self._connection)

    def _ended(self, names: tuple[str, ...], question: _Question) -> None:
        if self._questions.get(names[0]) is question:
            del self._questions[names[0]]
            if question.later:
                self._ask(names, question.later)


_LATE: Final = "the server does not say what became of its mailbox"


class _Question:
    """Whether there is such a mailbox, and whether it is full."""

    def __init__(
        self,
        loop: IOLoop,
        topology: Topology,
        names: tuple[str, ...],
        refused: list[Publication],
        settle: Settle,
    ) -> None:
        self.later: list[Publication] = []
        """Refused since it was asked."""
        self.is_late = False
        """It was not answered in time. It stays so long as its channel: another could wait as well."""
        self.on_end: Callable[[], None] = lambda: None
        self._topology = topology
        self._names = list(names)
        self._refused = refused
        self._settle = settle
        self._loop = loop
        self._timer = loop.call_later(_ANSWER_TIME, self._too_late)

    def ask(self, connection: Connection) -> None:
        """For the next of its names."""
        name = self._names.pop(0)

        def opened(channel: Any) -> None:
            def there(frame: Any) -> None:
                count = frame.method.message_count
                self.ended("", is_full=self._topology.is_full(name, count))
                channel.close()

            def closed(_channel: Any, reason: BaseException) -> None:
                if not isinstance(reason, pika.exceptions.ChannelClosedByBroker):
                    return  # by us; or the connection is gone as well, and `Refusals.lost` follows
                if reason.reply_code != _NOT_FOUND or _NO_SUCH_QUEUE not in reason.reply_text:
                    self.ended("its mailbox went down")
                elif self._names:
                    self.ask(connection)
                else:  # it is no agent's of this library, and who knows what it is called
                    self.ended("", is_full=True)

            channel.add_on_close_callback(closed)
            channel.queue_declare(name, passive=True, callback=there)

        try:
            connection.channel(opened)
        except pika.exceptions.NoFreeChannels:  # thousands of mailboxes refuse at once
            self.ended("the server was not asked why it was refused")

    def ended(self, doubt: str, *, is_full: bool = False) -> None:
        """The answer is known."""
        self._loop.remove_timeout(self._timer)
        for publication in self._refused:
            self._settle(publication, doubt, is_full)
        self.on_end()

    def give_up(self, doubt: str) -> None:
        """There will be no answer, to a later question either."""
        self._loop.remove_timeout(self._timer)
        refused = self._refused + self.later
        self._refused, self.later = [], []
        for publication in refused:
            self._settle(publication, doubt, False)

    def _too_late(self) -> None:
        self.is_late = True
        self.give_up(_LATE)

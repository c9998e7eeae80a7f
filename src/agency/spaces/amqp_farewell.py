"""How an id is given back, so that no mail is lost in silence.

First the mailbox is taken out of the exchange: what is sent from now on is returned to its sender.
What is in it is delivered to the closed door of the agent, which tells those who wait. When it is
empty it is deleted under its consumers: the server delivers what was still under way, then ends
them. What had not been delivered is counted. The lease goes last.

If somebody here claims the id before the mailbox is deleted, what is left in it is his, and no more is
delivered; what was turned away, of which its senders have been told, is taken out first.

Runs on the I/O thread. Above: `amqp_member`. Below: `amqp_topology`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from agency.spaces.amqp_connection import IOLoop
from agency.spaces.amqp_topology import Topology

__all__ = ["Farewell"]

_LOOK_INTERVAL: Final = 0.02  # seconds between looks whether the mailbox is empty
_STUCK_TIME: Final = 30.0
"""Seconds without a delivery after which what is in the mailbox is counted unseen. Those who wait are told over
the other connection, which may take this long to come back.
"""
_END_TIME: Final = 5.0
"""Seconds that the server is given to end the consumers of a deleted mailbox, or all that is needed to take out
what was turned away.
"""


class Farewell:
    """One attempt, on one channel. It ends with the channel; the next one begins from the beginning.

    Args:
        loop: The I/O thread's.
        channel: The one that owns the lease and has the consumers.
        topology: What the queues are called.
        agent_id: Whose they are.
        is_settled: Whether all that was delivered is acknowledged.
        on_undelivered: Gets the number of messages that went with the mailbox, if there were any.
        on_step: Called when the server has done something of it.
        on_end: Called when the server has done all.
    """

    def __init__(
        self,
        loop: IOLoop,
        channel: Any,
        topology: Topology,
        agent_id: str,
        *,
        is_settled: Callable[[], bool],
        on_undelivered: Callable[[int], None],
        on_step: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._topology = topology
        self._bindings = topology.bindings(agent_id)
        self._mailbox = topology.mailbox(agent_id)
        self._express = topology.express(agent_id)
        self._lease = topology.lease(agent_id)
        self._is_settled = is_settled
        self._on_undelivered = on_undelivered
        self._on_step = on_step
        self._on_end = on_end
        self._consumers: set[str] = set()
        self._awaited: set[str] = set()  # queues to be deleted, consumers to be ended
        self._left: int | None = None  # in the mailbox
        self._least = float("inf")  # that was in it so far
        self._least_since = 0.0
        self._is_cut_short = False
        self._is_hurried = False
        self._has_counted_rest = False
        self._has_ended = False

    def begin(self, consumers: Iterable[str]) -> None:
        """Mailbox and lease. The consumers, by their tags, go on to deliver, and are ended."""
        self._consumers = set(consumers)
        self._awaited = {self._mailbox, self._express, *consumers}
        *others, last = [
            partial(self._channel.queue_unbind, queue, self._topology.exchange, key)
            for queue, key in self._bindings
        ]
        for unbind in others:
            unbind()
        last(callback=lambda _frame: self._unbound())

    def begin_with_lease(self) -> None:
        """The lease only: the mailbox stays as it is."""
        self._channel.queue_delete(self._lease, callback=lambda _frame: self._ended())

    def consumer_ended(self, tag: str) -> None:
        """The server says so."""
        self._consumers.discard(tag)
        self._no_more(tag)

    def delivered(self) -> None:
        """A message less is in the mailbox."""
        if self._left:
            self._left -= 1

    def cut_short(self) -> None:
        """Somebody waits for the id: what has not been delivered is his, unless it is being deleted."""
        self._is_cut_short = True

    def hurry(self) -> None:
        """The link is going to be closed: what is still in the mailbox is counted unseen."""
        self._is_hurried = True

    def count_rest(self) -> None:
        """There is no more time: what was in the mailbox when it was last seen is counted."""
        if self._left and not (self._has_ended or self._is_cut_short):
            self._has_counted_rest = True
            self._on_undelivered(self._left)

    def abandon(self) -> None:
        """Its channel is being closed; what the server still says of it means nothing."""
        self._has_ended = True

    def _unbound(self) -> None:
        self._on_step()
        self._least_since = time.monotonic()
        self._look()

    def _look(self) -> None:
        """Ask how much is in the mailbox."""
        if not self._has_ended:
            self._channel.queue_declare(self._mailbox, passive=True, callback=self._counted)

    def _counted(self, frame: Any) -> None:
        if self._has_ended:
            return
        if self._is_cut_short:
            self._loop.call_later(_END_TIME, self._ended)
            self._end_consumers()
            return
        self._left = count = frame.method.message_count
        now = time.monotonic()
        if count < self._least:
            self._least, self._least_since = count, now
        is_emptied = bool(self._consumers) and not self._is_hurried
        if count and is_emptied and now - self._least_since < _STUCK_TIME:
            self._loop.call_later(_LOOK_INTERVAL, self._look)
            return
        self._loop.call_later(_END_TIME, self._no_more_at_all)
        for queue in (self._mailbox, self._express):
            self._channel.queue_delete(queue, callback=partial(self._deleted, queue))

    def _end_consumers(self) -> None:
        """One after the other: pika cannot tell whose end an answer means."""
        if self._has_ended:
            return
        if self._consumers:
            consumer = self._consumers.pop()
            self._channel.basic_cancel(consumer, callback=lambda _frame: self._end_consumers())
        elif self._is_settled():
            self._ended()
        else:
            self._loop.call_later(_LOOK_INTERVAL, self._end_consumers)

    def _deleted(self, queue: str, frame: Any) -> None:
        self._on_step()
        if queue == self._mailbox:
            self._left = None
        if frame.method.message_count and not self._has_counted_rest:
            self._on_undelivered(frame.method.message_count)
        self._no_more(queue)

    def _no_more(self, queue_or_consumer: str) -> None:
        if not self._has_ended and queue_or_consumer in self._awaited:
            self._awaited.discard(queue_or_consumer)
            if not self._awaited:
                self.begin_with_lease()

    def _no_more_at_all(self) -> None:
        if not self._has_ended and self._awaited:
            self._awaited.clear()
            self.begin_with_lease()

    def _ended(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end()

"""The consuming half of a link: the agent ids that this process holds, and their mailboxes.

Identity and mail are different queues (`amqp_topology`). The *lease* is exclusive: while this
connection owns it, the id is ours. It is watched (a consumer hears of its deletion) and re-asserted
every few seconds (declaring it again fails if it went to somebody else unheard). The *mailbox*
keeps the mail. In this order: lease, mailbox, consume; and when the lease is lost: stop consuming
first, then try to take it again. Beside the mailbox an *express* queue brings what must not wait
for the acknowledgement of earlier mail.

Each id has a channel of its own, so that trouble with one does not touch the others (an AMQP server
allows about 2,000 a connection). Runs on the I/O thread. Above: `amqp_link`. Below:
`amqp_connection`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import takewhile
from typing import Any, Final

import pika.exceptions

from agency.errors import AgencyError, AgentIdInUse, BrokerRefused, BrokerUnreachable, SpaceClosed
from agency.spaces import amqp_frames
from agency.spaces.amqp_connection import Connection, IOLoop, backoff
from agency.spaces.amqp_options import AMQPOptions
from agency.spaces.amqp_properties import Delivery
from agency.spaces.amqp_publisher import Publisher
from agency.spaces.amqp_topology import (
    DEAD_LETTERS_ARGUMENTS,
    DEAD_LETTERS_KEY,
    LEASE_ARGUMENTS,
    Topology,
)

__all__ = ["Member", "Members"]

_log = logging.getLogger("agency.amqp")

_REASSERT_INTERVAL: Final = 5.0  # seconds
_CONSUME_TIME: Final = 6.0
"""Seconds after which a consumer of a replicated mailbox is taken to be forgotten: RabbitMQ forgets it if the
queue has no leader at that moment, and then does nothing more for the channel.
"""
_PROBE_INTERVAL: Final = 2.0  # seconds between questions to a silent holder
_STUCK_TIME: Final = 1.0  # seconds after which the mail of an agent that has left is counted unseen
_LOOK_INTERVAL: Final = 0.02  # seconds between looks whether it is all delivered
_RESOURCE_LOCKED: Final = 405
_FINAL_CODES: Final = {403, 406}  # ACCESS_REFUSED, PRECONDITION_FAILED: trying again cannot help


class Members:
    """All ids of this process, on one connection. All of it runs on the I/O thread."""

    def __init__(
        self,
        loop: IOLoop,
        options: AMQPOptions,
        topology: Topology,
        publisher: Publisher,
        on_change: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.topology = topology
        self.publisher = publisher
        self.by_id: dict[str, Member] = {}
        self.connection = Connection(
            loop,
            options,
            "consuming",
            on_open=self._connected,
            on_lost=self._lost,
            on_failed=on_change,
        )
        self._on_change = on_change
        self._reassert_timer: object | None = None

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Take these out of their mailboxes, in one piece; those of earlier channels are ignored."""
        tags: dict[str, list[int]] = {}
        for delivery in deliveries:
            member = self.by_id.get(delivery.agent_id)
            if member is not None and delivery.generation == member.generation:
                tags.setdefault(delivery.agent_id, []).append(delivery.tag)
        frames = b"".join(self.by_id[agent_id].acknowledged(tags[agent_id]) for agent_id in tags)
        if frames:
            self.connection.write(frames)

    def set_aside(self, delivery: Delivery) -> None:
        """Take this out of its mailbox, to where dead letters go, if there is such a place."""
        member = self.by_id.get(delivery.agent_id)
        if member is not None and delivery.generation == member.generation:
            member.set_aside(delivery.tag)

    def stop(self) -> None:
        """Fence every member; the leases end with the connection."""
        while self.by_id:  # the end of one may be the beginning of its successor
            next(iter(self.by_id.values())).end()
        if self._reassert_timer is not None:
            self.loop.remove_timeout(self._reassert_timer)
            self._reassert_timer = None

    def _connected(self) -> None:
        self._on_change()
        self._reassert_timer = self.loop.call_later(_REASSERT_INTERVAL, self._reassert)
        for member in list(self.by_id.values()):
            member.set_up()

    def _lost(self) -> None:
        if self._reassert_timer is not None:
            self.loop.remove_timeout(self._reassert_timer)
            self._reassert_timer = None
        for member in list(self.by_id.values()):
            member.fence()

    def _reassert(self) -> None:
        self._reassert_timer = self.loop.call_later(_REASSERT_INTERVAL, self._reassert)
        with self.connection.batch():
            for member in self.by_id.values():
                member.reassert()


class Member:
    """One agent id that this process holds, or wants to hold. All of it runs on the I/O thread.

    Attributes:
        generation: Which channel of its life it is at: what belongs to an earlier one (its deliveries, their
            acknowledgements, its closing) is ignored.
        is_left_alone: Whether it only waits for a connection to clean up behind an agent that has gone.
    """

    def __init__(
        self,
        members: Members,
        agent_id: str,
        claimed: Future[None],
        patience: float,
        on_lease: Callable[[bool], None],
    ) -> None:
        self.agent_id = agent_id
        self._members = members
        self._claimed = claimed
        self._patience = patience
        self._seen_locked = False
        self._patience_timer = members.loop.call_later(patience, self._claim_timed_out)
        self._on_lease = on_lease
        self._lease = members.topology.lease(agent_id)
        self._mailbox = members.topology.mailbox(agent_id)
        self._express = members.topology.express(agent_id)
        self.generation = 0
        self.is_left_alone = False
        self._channel: Any = None
        self._held = False
        self._told_held = False
        self._reasserting = False
        self._ended = False
        self._failures = 0
        self._probed_at = float("-inf")
        self._unacknowledged: dict[int, None] = {}  # tags, ascending; a second ack ends the channel
        self._lease_consumer = ""
        self._mail_consumer = ""
        self._express_consumer = ""
        self._is_bound = False
        self._withdrawn = False
        self._when_bound: Callable[[], None] = _nothing
        self._give_back: Callable[[], None] | None = None
        self._when_released: Callable[[int], None] = _ignored
        self._when_gone: list[Callable[[], None]] = []
        self._locked_since: float | None = None
        self._mailbox_stays = False
        self._not_yet_deleted: set[str] = set()
        self._undelivered = 0
        self._on_delivery: Callable[[Delivery], None] | None = None
        self._prefetch = 1
        self._timer: object | None = None

    def set_up(self) -> None:
        """Open a channel, take the lease, declare the mailbox, and consume if that was asked for."""
        self._clear_timer()
        if self._ended or not self._members.connection.is_open:
            return
        if self._when_gone:
            self.end()  # what is left is the successor's
            return
        self.generation += 1
        self._reasserting = False
        try:
            self._members.connection.channel(partial(self._opened, self.generation))
        except pika.exceptions.NoFreeChannels:
            self._fail(BrokerRefused("the server allows no more channels on this connection"))

    def consume(self, on_delivery: Callable[[Delivery], None], prefetch: int) -> None:
        """Have mail delivered from now on, after every reconnect as well."""
        self._on_delivery, self._prefetch = on_delivery, prefetch
        if self._held:
            self._start_consumers()

    def acknowledged(self, tags: Iterable[int]) -> bytes:
        """The frames that take these deliveries out of the mailbox: one for all those before the
        first that is still open, one each for others.
        """
        done = self._unacknowledged.keys() & tags
        if not done or not self._is_open():
            return b""
        number = self._channel.channel_number
        in_order = list(takewhile(done.__contains__, self._unacknowledged))
        for tag in done:
            del self._unacknowledged[tag]
        frames = [amqp_frames.acknowledge(number, in_order[-1], multiple=True)] if in_order else []
        done.difference_update(in_order)
        frames += [amqp_frames.acknowledge(number, tag) for tag in sorted(done)]
        return b"".join(frames)

    def set_aside(self, tag: int) -> None:
        """See `Members.set_aside`."""
        if tag in self._unacknowledged and self._is_open():
            del self._unacknowledged[tag]
            self._channel.basic_reject(tag, requeue=False)

    def withdraw(self, done: Callable[[], None]) -> None:
        """Have nobody find the mailbox any more, and go on to take what is in it. Then call `done`: as
        soon as there is a connection.
        """
        self._withdrawn, self._is_bound = True, False
        self._when_bound = done
        if self._held and self._is_open():
            self._bind()

    def release(self, *, delete_mailbox: bool, done: Callable[[int], None]) -> None:
        """Give the id back: delete the mailbox if asked, then the lease; then call `done` with the number
        of messages that went with the mailbox, undelivered. All others have been delivered by then.

        That begins as soon as there is a connection, and anew if it is lost before the end.
        """
        self._when_released = done
        self._give_back = partial(self._delete, mailbox=delete_mailbox)
        if not self._claimed.done():
            self.end()
        elif self._is_bound:
            self._give_back()

    def leave_alone(self) -> None:
        """Nobody waits for `release` any more: the id may be claimed anew before that is done."""
        self.is_left_alone = True

    def is_claimed_by(self, claimed: Future[None]) -> bool:
        """Whether it came to be for this claim."""
        return self._claimed is claimed

    def make_way(self, done: Callable[[], None]) -> None:
        """Call `done` when the id can be claimed anew: at once if there is no connection, or when the
        server has done what it was told on this one. pika goes on to say what waits in a channel that
        is being closed, and would take from the successor what is now its own.
        """
        self._when_gone.append(done)
        if not self._is_open():
            self.end()

    def reassert(self) -> None:
        """Make sure that the lease is still ours."""
        if self._held and self._is_open() and not self._reasserting:
            self._reasserting = True
            self._declare_lease(partial(self._reasserted, self.generation))

    def fence(self) -> None:
        """Stop consuming at once: what was delivered but not acknowledged belongs to whoever holds
        the id next.
        """
        self.generation += 1
        channel, self._channel = self._channel, None
        self._held = self._is_bound = False
        self._unacknowledged.clear()
        self._lease_consumer = self._mail_consumer = self._express_consumer = ""
        if channel is not None and channel.is_open:
            channel.close()
        self._tell(held=False)

    def end(self) -> None:
        """Fence, and never come back."""
        if self._ended:
            return
        self._ended = True
        if not self._claimed.done():
            self._claimed.set_exception(SpaceClosed("the link to the AMQP server is closed"))
        self._clear_timer()
        self._members.loop.remove_timeout(self._patience_timer)
        self._members.publisher.forget_probe(self._lease)
        self._members.by_id.pop(self.agent_id, None)
        self.fence()
        self._has_been_bound()
        when_released, self._when_released = self._when_released, _ignored
        when_released(self._undelivered)
        for begin in self._when_gone:
            begin()

    def _opened(self, generation: int, channel: Any) -> None:
        if generation != self.generation:
            channel.close()
            return
        self._channel = channel
        channel.add_on_close_callback(partial(self._closed, generation))
        channel.add_on_cancel_callback(partial(self._cancelled, generation))
        self._deliveries = amqp_frames.Deliveries(self.agent_id, generation, self._delivered)
        self._members.connection.read(channel, self._deliveries)
        self._declare_lease(partial(self._leased, generation))

    def _declare_lease(self, callback: Callable[[Any], None]) -> None:
        self._channel.queue_declare(
            self._lease, exclusive=True, arguments=LEASE_ARGUMENTS, callback=callback
        )

    def _leased(self, generation: int, _frame: Any) -> None:
        if generation != self.generation:
            return
        topology, channel = self._members.topology, self._channel
        self._members.publisher.forget_probe(self._lease)
        self._locked_since = None
        if self._mailbox_stays:
            self._delete_lease()
            return
        self._held = True
        with self._members.connection.batch():
            self._lease_consumer = channel.basic_consume(self._lease, self._probed, auto_ack=True)
            if topology.account is None:
                channel.exchange_declare(topology.exchange, "direct", durable=True)
            if topology.dead_letters is not None:
                channel.queue_declare(
                    topology.dead_letters, durable=True, arguments=DEAD_LETTERS_ARGUMENTS
                )
                channel.queue_bind(topology.dead_letters, topology.exchange, DEAD_LETTERS_KEY)
            arguments = topology.mailbox_arguments
            channel.queue_declare(self._mailbox, durable=True, arguments=arguments)
            channel.queue_declare(self._express, durable=True, arguments=arguments)
            self._bind()

    def _bind(self) -> None:
        """Have the mailbox found by others, or by nobody if it is withdrawn."""
        topology, channel = self._members.topology, self._channel
        wanted, unwanted = topology.bindings(self.agent_id), list[tuple[str, str]]()
        if self._withdrawn:
            wanted, unwanted = topology.last_bindings(self.agent_id), wanted
        steps = [
            partial(channel.queue_bind, queue, topology.exchange, key) for queue, key in wanted
        ]
        steps += [
            partial(channel.queue_unbind, queue, topology.exchange, key) for queue, key in unwanted
        ]
        for step in steps[:-1]:
            step()
        steps[-1](callback=partial(self._bound, self.generation, self._withdrawn))

    def _bound(self, generation: int, withdrawn: bool, _frame: Any) -> None:  # of a callback
        if generation != self.generation or withdrawn != self._withdrawn or not self._held:
            return
        self._failures = 0
        if not self._claimed.done():
            self._claimed.set_result(None)
            self._told_held = True
        self._is_bound = True
        self._tell(held=True)
        self._start_consumers()
        self._has_been_bound()
        if self._give_back is not None:
            self._give_back()

    def _has_been_bound(self) -> None:
        when_bound, self._when_bound = self._when_bound, _nothing
        when_bound()

    def _start_consumers(self) -> None:
        if self._on_delivery is None or not self._is_open():
            return
        with self._members.connection.batch():
            if not self._express_consumer:
                self._express_consumer = self._consume(self._express, prefetch=0)  # no limit
            if not self._mail_consumer:
                self._mail_consumer = self._consume(self._mailbox, prefetch=self._prefetch)

    def _consume(self, queue: str, prefetch: int) -> str:
        self._channel.basic_qos(prefetch_count=prefetch)
        answered = self._expect_answer() if self._members.topology.replicated else None
        consumer = str(self._channel.basic_consume(queue, _read_by_hand, callback=answered))
        self._deliveries.consumers.add(consumer.encode())
        return consumer

    def _expect_answer(self) -> Callable[[object], None]:
        """Connect again if what is returned has not been called in time."""
        generation = self.generation

        def give_up() -> None:
            if generation == self.generation and self._is_open():
                _log.warning("agent %r: no answer from the server; connecting again", self.agent_id)
                self._members.connection.drop()

        timer = self._members.loop.call_later(_CONSUME_TIME, give_up)
        return lambda _: self._members.loop.remove_timeout(timer)

    def _delivered(self, delivery: Delivery) -> None:
        if delivery.generation != self.generation or self._on_delivery is None:
            return  # it stays in its queue: the channel that it came through is being closed
        self._unacknowledged[delivery.tag] = None
        try:
            self._on_delivery(delivery)
        except Exception:  # noqa: BLE001  # it would end the connection, and come again
            _log.exception("a delivery to %r is left unacknowledged", self.agent_id)

    def _probed(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        if self._held:
            self._members.publisher.answer_probe(properties)

    def _reasserted(self, generation: int, frame: Any) -> None:
        self._reasserting = False
        if generation == self.generation and frame.method.consumer_count == 0:
            self._lose("its lease had vanished", retry_in=0)

    def _cancelled(self, generation: int, frame: Any) -> None:
        if generation != self.generation:
            return  # of an earlier channel
        self._deleted(frame.method.consumer_tag)
        if not self._held:
            return
        if frame.method.consumer_tag == self._lease_consumer:
            self._lose("its lease was deleted", retry_in=0)
        else:
            self._lose("its mailbox was deleted or became unavailable", retry_in=0)

    def _delete(self, *, mailbox: bool) -> None:
        """See `release`."""
        if mailbox:
            self._empty(self.generation)
        else:
            self._held = self._is_bound = False
            self._on_delivery = None
            self._delete_lease()

    def _empty(self, generation: int, least: float = float("inf"), since: float = 0.0) -> None:
        """Delete the mailbox when all that is in it has been delivered, so that those who wait for
        answers are told; or when nothing more is taken.
        """
        if generation != self.generation:
            return

        def counted(frame: Any) -> None:
            if generation != self.generation:
                return
            count, now = frame.method.message_count, time.monotonic()
            progress = now if count < least else since
            if count and self._mail_consumer and now - progress < _STUCK_TIME:
                again = partial(self._empty, generation, min(count, least), progress)
                self._members.loop.call_later(_LOOK_INTERVAL, again)
            else:
                self._delete_queues()

        self._channel.queue_declare(self._mailbox, passive=True, callback=counted)

    def _delete_queues(self) -> None:
        self._held = self._is_bound = False
        # The server answers, then delivers what was under way, and then ends the consumers.
        queues = [self._mailbox, self._express]
        consumers = {self._mail_consumer, self._express_consumer} - {""}
        self._not_yet_deleted = {*queues, *consumers}
        for queue in queues:
            deleted = partial(self._queue_deleted, self.generation, queue)
            self._channel.queue_delete(queue, callback=deleted)

    def _queue_deleted(self, generation: int, queue: str, frame: Any) -> None:
        self._undelivered += frame.method.message_count
        if generation == self.generation:
            self._deleted(queue)

    def _deleted(self, queue_or_consumer: str) -> None:
        if queue_or_consumer in self._not_yet_deleted:
            self._not_yet_deleted.discard(queue_or_consumer)
            if not self._not_yet_deleted:
                self._delete_lease()

    def _delete_lease(self) -> None:
        deleted = partial(self._lease_deleted, self.generation)
        self._channel.queue_delete(self._lease, callback=deleted)

    def _lease_deleted(self, generation: int, _frame: Any) -> None:
        if generation == self.generation:
            self.end()

    def _closed(self, generation: int, _channel: Any, reason: BaseException) -> None:
        """The server closed the channel, or the connection did; then `Members._lost` does the rest."""
        if generation != self.generation:
            return
        self._channel = None
        if not isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            return
        if reason.reply_code == _RESOURCE_LOCKED and self._give_back is not None:
            self._locked_while_leaving(reason.reply_text)
        elif reason.reply_code in _FINAL_CODES and self._give_back is not None:
            self._leave_mailbox(reason.reply_text)
        elif reason.reply_code == _RESOURCE_LOCKED and not self._claimed.done():
            self._locked()
        elif reason.reply_code in _FINAL_CODES and not self._claimed.done():
            self._fail(BrokerRefused(f"agent id {self.agent_id!r}: {reason.reply_text}"))
        else:
            self._failures += 1
            self._lose(reason.reply_text, retry_in=backoff(self._failures))

    def _locked_while_leaving(self, reason: str) -> None:
        """The lease is a successor's, or still that of our own connection which has broken."""
        now = time.monotonic()
        if self._locked_since is None:
            self._locked_since = now
        if now - self._locked_since < self._patience:
            self._locked()
        else:
            self._leave_to_successor(reason)

    def _leave_to_successor(self, reason: str) -> None:
        _log.warning("agent %r: its queues stay: %s", self.agent_id, reason)
        self.end()

    def _leave_mailbox(self, reason: str) -> None:
        """The server does not let us delete the mailbox. The lease is ours, for as long as the
        connection lasts: it is given back all the same.
        """
        _log.warning("agent %r: its mailbox stays: %s", self.agent_id, reason)
        if self._mailbox_stays:
            self.end()
        else:
            self._mailbox_stays = True
            self._lose(reason, retry_in=0)

    def _locked(self) -> None:
        """Another connection owns the lease. Ask whether it lives; if it is silent it may be a dead
        one's remains.
        """
        self.fence()
        self._seen_locked = True
        if (now := time.monotonic()) - self._probed_at >= _PROBE_INTERVAL:
            self._probed_at = now
            self._members.publisher.probe(self._lease, self._probe_answered)
        self._set_timer(random.uniform(0.1, 0.5))  # noqa: S311

    def _probe_answered(self, alive: bool) -> None:  # a callback's one argument
        if self._held or self._ended or (self._claimed.done() and self._give_back is None):
            return
        if alive and self._give_back is not None:
            self._leave_to_successor("the id is another's")
        elif alive:
            self._fail(self._in_use())
        else:
            self._probed_at = float("-inf")
            self.set_up()

    def _claim_timed_out(self) -> None:
        """The patience of the claimant is at its end."""
        if self._claimed.done():
            return
        trouble = self._members.connection.trouble
        if self._seen_locked and not trouble:
            self._fail(self._in_use())
        else:
            trouble = trouble or "the server does not answer"
            self._fail(BrokerUnreachable(f"agent id {self.agent_id!r} not claimed: {trouble}"))

    def _in_use(self) -> AgentIdInUse:
        return AgentIdInUse(f"agent id {self.agent_id!r} is in use in this space")

    def _lose(self, reason: str, *, retry_in: float) -> None:
        if self._told_held:
            _log.warning("agent %r is not served for now: %s", self.agent_id, reason)
        self.fence()
        self._set_timer(retry_in)

    def _fail(self, error: AgencyError) -> None:
        if not self._claimed.done():
            self._claimed.set_exception(error)
            self.end()
        else:
            _log.warning("agent %r: %s", self.agent_id, error)
            self._failures += 1
            self._set_timer(backoff(self._failures))

    def _tell(self, *, held: bool) -> None:
        if held != self._told_held and self._claimed.done() and not self._ended:
            self._told_held = held
            self._on_lease(held)

    def _is_open(self) -> bool:
        return self._channel is not None and bool(self._channel.is_open)

    def _set_timer(self, delay: float) -> None:
        self._clear_timer()
        if not self._ended:
            self._timer = self._members.loop.call_later(delay, self.set_up)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._members.loop.remove_timeout(self._timer)
            self._timer = None


def _nothing() -> None: ...


def _ignored(_count: int) -> None: ...


def _read_by_hand(*_: object) -> None:
    """What pika wants to call with deliveries, of which it sees none."""
    raise AssertionError("a delivery that `Deliveries` did not take")

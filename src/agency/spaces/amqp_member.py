"""One agent id that this process holds, or wants to hold, and its mailbox.

Identity and mail are different queues (`amqp_topology`). The *lease* is exclusive: while this
connection owns it, the id is ours. It is watched (a consumer hears of its deletion) and re-asserted
every few seconds (declaring it again fails if it went to somebody else unheard). The *mailbox*
keeps the mail. In this order: lease, mailbox, consume; and when the lease is lost: stop consuming
first, then try to take it again. Beside the mailbox an *express* queue brings what must not wait
for the acknowledgement of earlier mail.

Runs on the I/O thread. Above: `amqp_members`. Below: `amqp_farewell`, `amqp_connection`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import pika.exceptions

from agency.errors import AgencyError, AgentIdInUse, BrokerRefused, BrokerUnreachable, SpaceClosed
from agency.spaces import amqp_frames
from agency.spaces.amqp_connection import backoff
from agency.spaces.amqp_farewell import Farewell
from agency.spaces.amqp_properties import Delivery
from agency.spaces.amqp_topology import DEAD_LETTERS_ARGUMENTS, DEAD_LETTERS_KEY, LEASE_ARGUMENTS

if TYPE_CHECKING:
    from agency.spaces.amqp_members import Members

__all__ = ["Member"]

_log = logging.getLogger("agency.amqp")

_CONSUME_TIME: Final = 6.0
"""Seconds after which a consumer of a replicated mailbox is taken to be forgotten: RabbitMQ forgets it if the
queue has no leader at that moment, and then does nothing more for the channel.
"""
_MOST_FAREWELLS: Final = 5
"""How often a mailbox is to be deleted before it is left to expire: the attempt itself may be what breaks
the connection, as with a replicated mailbox of which most nodes are down.
"""
_PROBE_INTERVAL: Final = 2.0  # seconds between questions to a silent holder
_RESOURCE_LOCKED: Final = 405
_FINAL_CODES: Final = {403, 406}  # ACCESS_REFUSED, PRECONDITION_FAILED: trying again cannot help


class Member:
    """Holds the id, from its claim to its release. All of it runs on the I/O thread.

    Attributes:
        generation: Which channel it is at, counted for all members together: what belongs to an earlier one,
            of its own or of a predecessor of the same id (its deliveries, their acknowledgements, its
            closing), is ignored.
        is_left_alone: Whether it only waits for a connection to clean up behind an agent that has gone.
        steps: Grows with all that is heard of its mail, and of the end of it.
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
        self._express_key = members.topology.express_key(agent_id)
        self.generation = next(members.generations)
        self.is_left_alone = False
        self.steps = 0
        self._makes_way = False
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
        self._is_leaving = False
        self._deletes_mailbox = False
        self._farewells = 0
        self._on_undelivered: Callable[[int], None] = _ignored
        self._farewell: Farewell | None = None
        self._when_gone: list[Callable[[], None]] = []
        self._locked_since: float | None = None
        self._on_delivery: Callable[[Delivery], None] | None = None
        self._prefetch = 1
        self._timer: object | None = None

    def set_up(self) -> None:
        """Open a channel, take the lease, declare the mailbox, and consume if that was asked for."""
        self._clear_timer()
        if self._ended or not self._members.connection.is_open:
            return
        if self._makes_way:
            self.end()  # what is left is the successor's
            return
        self.fence()  # a late answer to a probe may come while there is a channel
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

    def release(
        self,
        *,
        delete_mailbox: bool,
        on_undelivered: Callable[[int], None],
        done: Callable[[], None],
    ) -> None:
        """Give the id back: see `Link.release`. Begins as soon as there is a connection, and anew if it is
        lost before the end.
        """
        self._is_leaving, self._deletes_mailbox = True, delete_mailbox
        self._on_undelivered = on_undelivered
        self._when_gone.append(done)
        if self._is_bound:
            self._take_leave()

    def give_up(self) -> None:
        """Nobody waits for the claim any more."""
        if not self._claimed.done():
            self._fail_claim(BrokerUnreachable("nobody waits for it"))
            return
        self.release(delete_mailbox=False, on_undelivered=_ignored, done=_nothing)
        self.leave_alone()

    def hurry(self) -> None:
        """The link is going to be closed: see `Farewell.hurry`."""
        if self._farewell is not None:
            self._farewell.hurry()

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
        self._makes_way = True
        self._when_gone.append(done)
        if not self._is_open():
            self.end()
        elif self._farewell is not None:
            self._farewell.cut_short()

    def reassert(self) -> None:
        """Make sure that the lease is still ours."""
        if self._held and self._is_open() and not self._reasserting:
            self._reasserting = True
            self._declare_lease(partial(self._reasserted, self.generation))

    def fence(self) -> None:
        """Stop consuming at once: what was delivered but not acknowledged belongs to whoever holds
        the id next.
        """
        self.generation = next(self._members.generations)
        channel, self._channel = self._channel, None
        self._held = self._is_bound = False
        if self._farewell is not None:
            self._farewell.abandon()
            self._farewell = None
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
        if self._farewell is not None:
            self._farewell.count_rest()
        if not self._claimed.done():
            self._claimed.set_exception(SpaceClosed("the link to the AMQP server is closed"))
        self._clear_timer()
        self._members.loop.remove_timeout(self._patience_timer)
        self._members.publisher.forget_probe(self._lease)
        self._members.by_id.pop(self.agent_id, None)
        self.fence()
        for tell in self._when_gone:
            tell()

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
        self._seen_locked, self._locked_since = False, None
        if self._is_leaving and not self._deletes_mailbox:
            self._take_leave()
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
            *others, last = topology.bindings(self.agent_id)
            for queue, key in others:
                channel.queue_bind(queue, topology.exchange, key)
            queue, key = last
            bound = partial(self._bound, generation)
            channel.queue_bind(queue, topology.exchange, key, callback=bound)

    def _bound(self, generation: int, _frame: Any) -> None:
        if generation != self.generation or not self._held:
            return
        self._failures = 0
        if not self._claimed.done():
            self._claimed.set_result(None)
            self._told_held = True
        self._is_bound = True
        self._tell(held=True)
        self._start_consumers()
        if self._is_leaving:
            self._take_leave()

    def _take_leave(self) -> None:
        """On this channel."""
        if self._makes_way:
            self.end()
            return
        self._farewells += 1
        if self._farewells > _MOST_FAREWELLS:
            self._deletes_mailbox = False
        self._held = self._is_bound = False
        self._farewell = Farewell(
            self._members.loop,
            self._channel,
            self._members.topology,
            self.agent_id,
            is_settled=lambda: not self._unacknowledged,
            on_undelivered=self._on_undelivered,
            on_step=self._step,
            on_end=self.end,
        )
        if self._deletes_mailbox:
            self._farewell.begin({self._mail_consumer, self._express_consumer} - {""})
        else:
            self._on_delivery = None
            self._farewell.begin_with_lease()

    def _step(self) -> None:
        self.steps += 1

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
        self.steps += 1
        if self._farewell is not None and delivery.routing_key != self._express_key:
            self._farewell.delivered()
        try:
            self._on_delivery(delivery)
        except Exception:  # noqa: BLE001  # it would end the connection, and come again
            _log.exception("a delivery to %r is taken out of its mailbox", self.agent_id)
            self._members.acknowledge([delivery])

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
        if self._farewell is not None:
            self._farewell.consumer_ended(frame.method.consumer_tag)
        elif self._held and frame.method.consumer_tag == self._lease_consumer:
            self._lose("its lease was deleted", retry_in=0)
        elif self._held:
            self._lose("its mailbox was deleted or became unavailable", retry_in=0)

    def _closed(self, generation: int, _channel: Any, reason: BaseException) -> None:
        """The server closed the channel, or the connection did; then `Members._lost` does the rest."""
        if generation != self.generation:
            return
        self._channel = None
        if not isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            return
        code, text = reason.reply_code, reason.reply_text
        is_serving = self._claimed.done() and not self._is_leaving
        if is_serving or code not in {_RESOURCE_LOCKED, *_FINAL_CODES}:
            self._failures += 1
            self._lose(text, retry_in=backoff(self._failures))
        elif code in _FINAL_CODES:
            self._refused(text)
        elif self._is_leaving:
            self._locked_while_leaving(text)
        else:
            self._locked()

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
        if self._claimed.done() and self._claimed.exception() is None:
            _log.warning("agent %r: its queues stay: %s", self.agent_id, reason)
        self.end()

    def _refused(self, reason: str) -> None:
        """The server does not let us have the mailbox, or delete it."""
        if not self._claimed.done():
            self._fail_claim(BrokerRefused(f"agent id {self.agent_id!r}: {reason}"))
        elif self._deletes_mailbox:
            _log.warning("agent %r: its mailbox stays: %s", self.agent_id, reason)
            self._deletes_mailbox = False
            self._lose(reason, retry_in=0)
        else:
            self.end()

    def _fail_claim(self, error: AgencyError) -> None:
        """The rest of what makes the id ours is not to be had. The lease may be ours by now, for as long
        as the connection lasts: it is given back.
        """
        self._claimed.set_exception(error)
        if self._members.connection.is_open:
            self._is_leaving = self.is_left_alone = True
            self._lose(str(error), retry_in=0)
        else:
            self.end()

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
        if self._held or self._ended or (self._claimed.done() and not self._is_leaving):
            return
        if alive and self._is_leaving:
            self._leave_to_successor("the id is another's")
        elif alive:
            self._fail_in_use()
        else:
            self._probed_at = float("-inf")
            self.set_up()

    def _claim_timed_out(self) -> None:
        """The patience of the claimant is at its end."""
        if self._claimed.done():
            return
        trouble = self._members.connection.trouble
        if self._seen_locked and not trouble:
            self._fail_in_use()
        else:
            trouble = trouble or "the server does not answer"
            self._fail_claim(
                BrokerUnreachable(f"agent id {self.agent_id!r} not claimed: {trouble}")
            )

    def _fail_in_use(self) -> None:
        error = AgentIdInUse(f"agent id {self.agent_id!r} is in use in this space")
        if self._is_open():
            self._fail_claim(error)  # the server may be about to give us the lease after all
        else:
            self._fail(error)

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


def _ignored(_count: int) -> None: ...


def _nothing() -> None: ...


def _read_by_hand(*_: object) -> None:
    """What pika wants to call with deliveries, of which it sees none."""
    raise AssertionError("a delivery that `Deliveries` did not take")

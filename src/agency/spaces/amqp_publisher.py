"""The publishing half of a link: writes the outbox, keeps it in order across reconnects, and
carries probes.

Runs on the I/O thread. Publishes go through one channel with confirms; a second one carries the
short questions and answers by which two processes find out who holds an agent id (`amqp_members`).
Both are on a connection of their own, because an AMQP server in distress stops reading from
connections that publish. Above: `amqp_link`. Below: `amqp_connection`, `amqp_outbox`, `amqp_refusals`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pika
import pika.exceptions

from agency.spaces import amqp_frames
from agency.spaces.amqp_connection import Connection, IOLoop, backoff
from agency.spaces.amqp_options import AMQPOptions
from agency.spaces.amqp_outbox import Outbox, Publication
from agency.spaces.amqp_refusals import Refusals
from agency.spaces.amqp_topology import Topology

__all__ = ["Publisher"]

_log = logging.getLogger("agency.amqp")

_CONFIRM_TIME: Final = 4.0
"""Seconds without any confirm after which a server with replicated mailboxes is taken to have forgotten it:
RabbitMQ does if a quorum queue has no leader at that moment, and does nothing more for the channel.
"""
_RENEWAL_INTERVAL: Final = 2.0
"""Seconds from one renewal of the connection to the next: to elect a leader takes about as long, and every renewal
keeps all others waiting for a moment.
"""
_RENEWAL_TIME: Final = 1.0  # seconds that are given to what is not confirmed
_REPLY_QUEUE: Final = (
    "amq.rabbitmq.reply-to"  # RabbitMQ's direct reply-to: a queue that is no queue
)
_PROBE_LIFETIME: Final = "5000"  # milliseconds
_SUSPICIOUS: Final = (
    1.0  # seconds from an answer to the end of the connection that it may have caused
)
_MUTE_TIME: Final = 60.0
_MESSAGE_FAULTS: Final = {
    403,
    406,
}  # ACCESS_REFUSED, PRECONDITION_FAILED (too large, another user's name)


class Publisher:
    """Writes what is in the outbox whenever the server can take it. All of it runs on the I/O
    thread.
    """

    def __init__(
        self, loop: IOLoop, options: AMQPOptions, topology: Topology, on_change: Callable[[], None]
    ) -> None:
        self.outbox = Outbox(self._ask_why)
        self.ready = False
        """Messages can be written."""
        self.refused: str | None = None
        """Why the server does not let us publish."""
        self.blocked = False
        self.connection = Connection(
            loop,
            options,
            "publishing",
            on_open=self._connected,
            on_lost=self._lost,
            on_failed=on_change,
        )
        self._refusals = Refusals(loop, self.connection, topology, self.outbox.refused)
        self._loop = loop
        self._topology = topology
        self._to_all = {topology.broadcast_key: topology.exchange}
        self._to_one = topology.mail_exchange
        self._on_change = on_change
        self._channel: Any = None
        self._side_channel: Any = None
        self._channel_failures = 0
        self._probes: dict[str, Callable[[bool], None]] = {}
        self._answered_at = self._mute_until = float("-inf")
        self._oldest: int | None = None
        self._check_timer: object | None = None
        self._renewed_at = float("-inf")
        self._renewal: object | None = None  # the timer of its beginning, then of its end
        self._is_renewing = False  # nothing is written until then

    def drain(self) -> None:
        """Write all that may be written now, in one piece."""
        if not self.ready or self.blocked or self._is_renewing or not self._channel.is_open:
            return
        frame_max = self.connection.frame_max
        if taken := self.outbox.take(amqp_frames.most_properties(frame_max)):
            number, to_all, to_one = self._channel.channel_number, self._to_all, self._to_one
            self.connection.write(
                b"".join(
                    amqp_frames.publish(
                        message,
                        channel=number,
                        exchange=to_all.get(message.routing_key, to_one),
                        frame_max=frame_max,
                    )
                    for message in taken
                )
            )

    def probe(self, lease_queue: str, on_answer: Callable[[bool], None]) -> None:
        """Ask the owner of a lease whether it is alive. `on_answer`: True, it says so; False, there
        is none.

        No answer comes if the owner hangs, if it is cut off and the server has not noticed, or if
        the server's permissions do not let us write to the default exchange.
        """
        if self._side_channel is None:
            return
        self._probes[lease_queue] = on_answer
        self._side_channel.basic_publish(
            "",
            lease_queue,
            b"",
            pika.BasicProperties(
                type="agency-probe",
                correlation_id=lease_queue,
                reply_to=_REPLY_QUEUE,
                expiration=_PROBE_LIFETIME,
            ),
            mandatory=True,
        )

    def answer_probe(self, properties: Any) -> None:
        """Tell the one who asked that this process is alive and holds the lease.

        RabbitMQ ends the connection of whoever answers to a forged address, and nobody can tell one. So
        nothing is answered for a while after that happened.
        """
        reply_to, now = properties.reply_to or "", time.monotonic()
        if now < self._mute_until:
            return
        if self._side_channel is not None and reply_to.startswith(_REPLY_QUEUE + "."):
            self._answered_at = now
            reply = pika.BasicProperties(
                type="agency-alive", correlation_id=properties.correlation_id
            )
            self._side_channel.basic_publish("", reply_to, b"", reply)

    def forget_probe(self, lease_queue: str) -> None:
        """The answer no longer matters."""
        self._probes.pop(lease_queue, None)

    def _connected(self) -> None:
        self.connection.on_blocked(
            partial(self._set_blocked, True), partial(self._set_blocked, False)
        )
        self._open_channel()
        self.connection.channel(self._side_channel_opened)
        if self._topology.replicated:
            self._check_timer = self._loop.call_later(_CONFIRM_TIME, self._check_confirms)

    def _lost(self) -> None:
        if (now := time.monotonic()) - self._answered_at < _SUSPICIOUS:
            self._mute_until = now + _MUTE_TIME
        self.ready = self.blocked = self._is_renewing = False
        self._oldest = None
        for timer in (self._check_timer, self._renewal):
            if timer is not None:
                self._loop.remove_timeout(timer)
        self._check_timer = self._renewal = None
        self._channel = self._side_channel = None
        self._probes.clear()
        self._refusals.lost()
        self.outbox.channel_lost(None)

    def _open_channel(self) -> None:
        if not self.connection.is_open or self._channel is not None:
            return
        try:
            self.connection.channel(self._channel_opened)
        except pika.exceptions.NoFreeChannels:  # all are questions, which end
            self._channel_failures += 1
            self._loop.call_later(backoff(self._channel_failures), self._open_channel)

    def _channel_opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        if self._topology.account is None:
            channel.exchange_declare(self._topology.exchange, "direct", durable=True)
        self.connection.read(channel, amqp_frames.Confirms(self._confirmed))
        channel.confirm_delivery(_read_by_hand, callback=self._channel_ready)

    def _channel_ready(self, _frame: Any) -> None:
        self.ready = True
        self.refused = None
        self._on_change()
        self.drain()

    def _channel_closed(self, channel: Any, reason: BaseException) -> None:
        if channel is not self._channel:
            return
        was_ready, self.ready, self._channel = self.ready, False, None
        if not isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            return  # the connection is gone as well: `_lost` follows
        _log.warning("the server closed the publishing channel: %s", reason.reply_text)
        self._channel_failures += 1
        if was_ready:
            of_a_message = reason.reply_code in _MESSAGE_FAULTS
            self.outbox.channel_lost(reason.reply_text if of_a_message else None)
        else:
            self.refused = reason.reply_text
            self._on_change()
        self._loop.call_later(backoff(self._channel_failures), self._open_channel)

    def _returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self.outbox.returned(properties.message_id)

    def _confirmed(
        self, tag: int, multiple: bool, accepted: bool
    ) -> None:  # a callback's arguments
        self._channel_failures = 0
        self.outbox.confirmed(tag, multiple=multiple, accepted=accepted)
        if self._is_renewing:
            self._renew_if_idle()
        elif self.outbox:
            self.drain()  # some wait for their turn after a refusal

    def _check_confirms(self) -> None:
        """Connect again if the oldest message has waited for its confirm since the last time."""
        self._check_timer = self._loop.call_later(_CONFIRM_TIME, self._check_confirms)
        oldest = self.outbox.oldest if self.ready and not self.blocked else None
        if oldest is not None and oldest == self._oldest:
            _log.warning("messages are not confirmed; connecting again")
            self.connection.drop()
            oldest = None
        self._oldest = oldest

    def _ask_why(self, refused: Publication) -> None:
        self._refusals.add(refused)

    def renew(self) -> None:
        """Publish over a new connection soon, once for all who ask for it within some seconds. What is
        written is given time to be confirmed first: nobody else's message is to be written twice.
        """
        if self._renewal is None and self.connection.is_open:
            pause = max(0.0, self._renewed_at + _RENEWAL_INTERVAL - time.monotonic())
            self._renewal = self._loop.call_later(pause, self._begin_renewal)

    def _begin_renewal(self) -> None:
        self._renewal = None
        if not self.blocked:  # else nothing will be confirmed, and nothing else helps
            self._is_renewing = True
            self._renewal = self._loop.call_later(_RENEWAL_TIME, self._renew_now)
            self._renew_if_idle()

    def _renew_if_idle(self) -> None:
        if self.outbox.oldest is None:
            self._renew_now()

    def _renew_now(self) -> None:
        self._renewed_at = time.monotonic()
        self.connection.drop()

    def _set_blocked(self, blocked: bool) -> None:  # a callback's one argument
        self.blocked = blocked
        _log.warning(
            "the server %s",
            "takes no messages for now (alarm)" if blocked else "takes messages again",
        )
        self.drain()

    def _side_channel_opened(self, channel: Any) -> None:
        self._side_channel = channel
        channel.add_on_close_callback(self._side_channel_closed)
        channel.add_on_return_callback(self._probe_returned)
        channel.basic_consume(_REPLY_QUEUE, self._probe_answered, auto_ack=True)

    def _side_channel_closed(self, channel: Any, reason: BaseException) -> None:
        if channel is self._side_channel:
            self._side_channel = None
            _log.debug("no probes until the next connection: %s", reason)

    def _probe_answered(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self._probe_result(properties.correlation_id, alive=True)

    def _probe_returned(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self._probe_result(properties.correlation_id, alive=False)

    def _probe_result(self, lease_queue: str | None, *, alive: bool) -> None:
        if (on_answer := self._probes.pop(lease_queue or "", None)) is not None:
            on_answer(alive)


def _read_by_hand(frame: object) -> None:
    """What pika wants to call with confirms, of which it sees none."""
    raise AssertionError(f"a confirm that `Confirms` did not take: {frame}")

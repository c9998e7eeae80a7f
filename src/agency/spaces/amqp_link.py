"""The link to an AMQP server: claim agent ids, publish, receive, acknowledge. The port behind which
pika sits.

It moves bytes and knows nothing of agents or messages. Above: `agency.spaces.amqp_space`. Below,
each on the link's one I/O thread: `amqp_publisher` (with `amqp_outbox` and `amqp_refusals`) and
`amqp_members`, each on an `amqp_connection` of its own; the names on the server are in
`amqp_topology`. Importing this module needs the extra `amqp`.

A lost connection is made again for as long as the link lives, with random delays of 0 to 10 s. Then
unconfirmed messages are written again, in order and with the same message id, before new ones:
receivers may see them twice.

The methods of `Link` may be called from any thread but the I/O thread, except where they say
otherwise. Callbacks run on the I/O thread: they must not block or raise, and hand over at once.
While they run, nothing is sent or received.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from agency.errors import AgentIdInUse, BrokerRefused, BrokerUnreachable, SpaceClosed
from agency.lifetime import interruptible
from agency.spaces.amqp_connection import IOLoop
from agency.spaces.amqp_member import Member
from agency.spaces.amqp_members import Members
from agency.spaces.amqp_options import AMQPOptions
from agency.spaces.amqp_outbox import Outcome, Publication
from agency.spaces.amqp_properties import Delivery, Properties
from agency.spaces.amqp_publisher import Publisher
from agency.spaces.amqp_topology import Topology
from agency.threads import Latch

__all__ = [
    "Delivery",
    "Link",
    "Outcome",
    "Properties",
    "Publication",
    "Topology",
]

_log = logging.getLogger("agency.amqp")

_ROUTING_KEY_BYTES: Final = 255  # AMQP 0-9-1 section 4.2.5.3
_ANSWER_TIME: Final = 10.0  # seconds that a reachable server may take for a small command
_COMMAND_TIME: Final = 3.0
"""Seconds for which the release of an id waits without a word of the server."""
_FAREWELL_TIME: Final = 10.0
"""Seconds for which it waits at most, while there is mail to be turned away."""
_HURRY_TIME: Final = 2.0
"""Seconds at the end of `close` in which mail is no more turned away, but counted."""
_REVIVAL_PAUSE: Final = 0.1  # seconds: what comes again at once shall not take all of a processor
_CLOSE_GRACE: Final = 2.0  # seconds for a polite end of the connections

_Value = TypeVar("_Value")


class _Release:
    """An id that is being given back."""

    def __init__(self) -> None:
        self.member: Member | None = None
        self.done = Latch()

    @property
    def steps(self) -> int:
        """Grows while the server has a part in it."""
        return 0 if self.member is None else self.member.steps


class Link:
    """Two connections to one AMQP server, and the thread that serves them."""

    def __init__(self, options: AMQPOptions, topology: Topology) -> None:
        pika_log = logging.getLogger("pika")
        if pika_log.level == logging.NOTSET:  # it logs every lost connection as several errors
            pika_log.setLevel(logging.CRITICAL)
        # A file of certificates that cannot be read is found out before anything is open.
        options = replace(options, ssl_context=options.client_ssl_context())
        self.topology = topology
        self._options = options
        self._process = os.getpid()
        self._loop = IOLoop(self._turn)
        self._publisher = Publisher(self._loop, options, topology, self._changed)
        self._members = Members(self._loop, options, topology, self._publisher, self._changed)
        self._commands: deque[Callable[[], None]] = deque()
        self._acknowledged: deque[Delivery] = deque()
        self._woken = False
        self._current_at = time.monotonic()
        """When the I/O thread had its last turn, before any doubt."""
        self._in_doubt = False
        self._doubters: list[Callable[[], None]] = []
        self._silent = False
        self._releasing = threading.Lock()
        self._releases: list[_Release] = []  # that nobody waits for; replaced under the lock
        self._connected: Future[None] = Future()
        self._lifecycle = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="agency-amqp", daemon=True)

    @classmethod
    def connect(cls, options: AMQPOptions, topology: Topology) -> Link:
        """Connect, or raise within about `options.connect_timeout`.

        Raises:
            BrokerRefused: the server has us not: account, virtual host, permission, certificate, an exchange of
                another type. Raised at once.
            BrokerUnreachable: no server answered in time; the text says where and why.
        """
        link = cls(options, topology)
        link._thread.start()
        link._submit(link._publisher.connection.start)
        link._submit(link._members.connection.start)
        try:
            _value_of(link._connected, options.connect_timeout)
        except TimeoutError:
            trouble = link._publisher.connection.trouble or link._members.connection.trouble
            link.close(0)
            raise BrokerUnreachable(
                f"no AMQP server within {options.connect_timeout:g} s: {trouble or 'no answer'}"
            ) from None
        except BaseException:
            link.close(0)
            raise
        return link

    @property
    def reconnects(self) -> int:
        """How many times an open connection was lost so far."""
        return self._publisher.connection.losses + self._members.connection.losses

    @property
    def on_own_thread(self) -> bool:
        """Whether the caller is on the I/O thread, as in a callback, and so must not wait."""
        return threading.get_ident() == self._thread.ident

    @property
    def blocked(self) -> bool:
        """The server takes no messages for now, because it is short of memory or disk."""
        return self._publisher.blocked

    def claim(
        self,
        agent_id: str,
        on_lease: Callable[[bool], None] = lambda _held: None,
        *,
        patience: float | None = None,
    ) -> None:
        """Make the id ours, in the whole space, and give it a mailbox that collects mail from now
        on.

        A live holder is found by asking it, within milliseconds. One that does not answer may be
        the remains of a dead process, which the server keeps for 2 to 3 heartbeats; only then this
        waits, for `patience` seconds at most.

        Args:
            agent_id: At most 255 bytes of UTF-8; it is the routing key as it is.
            on_lease: Gets False when the id is no longer surely ours (connection lost, lease
                deleted or taken), and True when it is again. In between, no mail is delivered and
                acknowledgements are ignored.
            patience: Seconds; by default 3 heartbeats and 5 s.

        Raises:
            AgentIdInUse: it belongs to another member of the space, here or elsewhere, who is left untouched.
            BrokerRefused: the server does not let us declare the queues.
            BrokerUnreachable: the connection was lost and did not come back in time.
        """
        _check_routing_key(agent_id)
        if patience is None:
            patience = 3 * self._options.heartbeat + 5
        claimed: Future[None] = Future()

        def claim() -> None:
            if claimed.done():
                return  # nobody waits for it any more
            if self._closed:  # meanwhile
                claimed.set_exception(SpaceClosed("the link to the AMQP server is closed"))
                return
            before = self._members.by_id.get(agent_id)
            if before is None:
                member = Member(self._members, agent_id, claimed, patience, on_lease)
                self._members.by_id[agent_id] = member
                member.set_up()
            elif before.is_left_alone:
                before.make_way(claim)
            else:
                error = AgentIdInUse(f"agent id {agent_id!r} is in use in this space")
                claimed.set_exception(error)

        def give_up() -> None:
            member = self._members.by_id.get(agent_id)
            if member is not None and member.is_claimed_by(claimed):
                member.give_up()
            elif not claimed.done():
                claimed.cancel()

        self._submit(claim)
        try:
            self._result(claimed, patience + _ANSWER_TIME)
        except BaseException:  # also of a signal: nobody waits for the id any more
            self._commands.append(give_up)
            self._wake()
            raise

    def consume(
        self, agent_id: str, on_delivery: Callable[[Delivery], None], *, prefetch: int = 1
    ) -> None:
        """Have the mail of a claimed id delivered from now on; returns at once.

        At most `prefetch` deliveries from the mailbox are unacknowledged at a time; what is
        published to `Topology.express_key` comes at once, whatever is unacknowledged. After a
        reconnect or when the server gave up the consumer, those come again, flagged as redelivered,
        and mail goes on.
        """
        self._submit(
            lambda: self._with_member(agent_id, lambda m: m.consume(on_delivery, prefetch))
        )

    def acknowledge(self, delivery: Delivery) -> None:
        """Take a delivery out of its mailbox. From any thread; returns at once; ignored if it came
        before a reconnect, or was acknowledged already.
        """
        self._acknowledged.append(delivery)
        self._wake()

    def catch_up(self) -> None:
        """Return when `on_lease` has been told of what happened while this process stood still: at once if it
        did not. Waits for 3 heartbeats at most; not on the I/O thread.
        """
        heartbeat = self._options.heartbeat
        if time.monotonic() - self._current_at > heartbeat and not self.on_own_thread:
            certain = Latch()
            self._commands.append(partial(self._when_certain, certain.open))
            self._wake()
            certain.wait(3 * heartbeat)

    def set_aside(self, delivery: Delivery) -> None:
        """`acknowledge`, but a replicated mailbox moves it to the dead letters of the space."""
        self._commands.append(partial(self._members.set_aside, delivery))
        self._wake()

    def release(
        self,
        agent_id: str,
        *,
        delete_mailbox: bool,
        on_undelivered: Callable[[int], None] = lambda _count: None,
        waits: bool = True,
    ) -> None:
        """Give an id back after all acknowledgements made so far; its mailbox and mail stay for a
        successor or go.

        If they go, nobody finds the mailbox any more, so that what is sent to it is UNROUTABLE; what
        it holds is delivered first.

        It returns after 10 s at most, and after 3 s in which nothing is heard of the server. The rest is
        done when there is a connection, unless the link is closed or the id claimed before: then the mailbox
        is the successor's, or expires. What has begun by then, a new claim waits for, and `close` for a
        while.

        Args:
            agent_id: One that was claimed; of another, nothing happens.
            delete_mailbox: Whether the mailbox goes.
            on_undelivered: Gets the number of messages that went with the mailbox and could not be
                delivered. Called on the I/O thread, if there are any.
            waits: Whether it returns at once, and `close` alone waits.
        """
        releasing = _Release()

        def release() -> None:
            if (member := self._members.by_id.get(agent_id)) is None:
                releasing.done.open()
            else:
                releasing.member = member
                member.release(
                    delete_mailbox=delete_mailbox,
                    on_undelivered=on_undelivered,
                    done=releasing.done.open,
                )

        def leave_alone() -> None:
            if not releasing.done.is_open():  # else the id may be a successor's by now
                self._with_member(agent_id, Member.leave_alone)

        self._submit(release)
        if not (waits and self._are_done([releasing], time.monotonic() + _FAREWELL_TIME)):
            with self._releasing:
                self._releases = [one for one in self._releases if not one.done.is_open()]
                self._releases.append(releasing)
            self._submit(leave_alone)

    def publish(
        self, routing_key: str, body: bytes, properties: Properties, *, timeout: float | None
    ) -> Publication:
        """Hand a message over, to be written in order; wait up to `timeout` seconds for room.

        From any thread; on the I/O thread only with a timeout of None: there is always room for what
        is sent there, which is no more than what was received and is not acknowledged. Persistent,
        mandatory and confirmed: what became of it says `Publication.wait` or `when_settled`. Give
        each message a `message_id` of its own.

        Raises:
            NotAccepted: too many earlier messages are still unconfirmed.
            SpaceClosed: the link is closed.
            ValueError: the routing key has more than 255 bytes, or the properties cannot be written.
        """
        _check_routing_key(routing_key)
        self._check_process()
        publication = self._publisher.outbox.put(
            routing_key, body, properties.encoded(), properties.message_id, timeout
        )
        self._wake()
        return publication

    def renew(self) -> None:
        """Publish over a new connection soon; what is unconfirmed by then is written again."""
        self._submit(self._publisher.renew)

    def close(self, timeout: float) -> list[Publication]:
        """End the releases that have begun and send what is left, for up to `timeout` seconds in all, then
        end the connections and with them all leases.

        Takes at most about 2 s more, even if the server hangs. May be called again, from any thread
        but the I/O thread.

        Returns:
            The messages that were given up, NOT_SENT or UNKNOWN.
        """
        if self.on_own_thread:
            raise RuntimeError("a link cannot be closed from its own callbacks")
        if os.getpid() != self._process:
            return []  # a forked child: the sockets are the parent's
        with self._lifecycle:
            if self._closed:
                return []
            deadline = time.monotonic() + timeout
            self._end_releases(deadline)
            self._publisher.outbox.wait_empty(max(0.0, deadline - time.monotonic()))
            left = self._publisher.outbox.close()
            self._closed = True
            grace = min(_CLOSE_GRACE, max(0.2, deadline - time.monotonic()))
            self._commands.append(partial(self._shut_down, grace))
            self._wake()
            self._thread.join(grace + _ANSWER_TIME)
            return left

    def stay_with_parent(self) -> None:
        """Called in a forked child: let go of the sockets, and say nothing. Otherwise the server would see
        them end when the child does, and our ids would be free no sooner.
        """
        self._publisher.connection.let_go()
        self._members.connection.let_go()

    def _shut_down(self, grace: float) -> None:
        open_ends = {"publishing", "consuming"}

        def stopped(end: str) -> None:
            open_ends.discard(end)
            if not open_ends:
                self._loop.stop()

        self._members.stop()
        self._members.connection.stop(grace, partial(stopped, "consuming"))
        self._publisher.connection.stop(grace, partial(stopped, "publishing"))

    def _run(self) -> None:
        """The I/O thread."""
        while True:
            try:
                self._loop.start()
                break
            except Exception:  # noqa: BLE001  # this thread must outlive any fault of a callback
                if self._closed:
                    _log.exception("unexpected error on the I/O thread while closing")
                    break
                _log.exception("unexpected error on the I/O thread; connecting again")
                self._revive()
        self._loop.close()

    def _revive(self) -> None:
        """Begin both connections anew, as pika may have lost track of either, and of its timers."""
        for connection in (self._publisher.connection, self._members.connection):
            try:
                connection.revive()
            except Exception:  # noqa: BLE001  # of who is told that it is lost
                _log.exception("unexpected error while connecting again")
        time.sleep(_REVIVAL_PAUSE)

    def _turn(self) -> None:
        """Do all that was asked for since the last turn, on whatever thread. Acknowledgements before
        commands: see `release`.
        """
        self._woken = False
        self._watch_time()
        while self._acknowledged or self._commands:
            if self._acknowledged:
                deliveries = []
                while self._acknowledged:
                    deliveries.append(self._acknowledged.popleft())
                self._members.acknowledge(deliveries)
            if self._commands:
                self._commands.popleft()()
        self._publisher.drain()

    def _watch_time(self) -> None:
        """The loop turns at least twice a heartbeat. If it did not, this process stood still, and the server may
        have given its ids to others: then nothing is certain before it has answered, or the connection is
        found to be lost.
        """
        now = time.monotonic()
        if self._in_doubt:
            return
        if now - self._current_at <= self._options.heartbeat:
            self._current_at = now
        else:
            self._in_doubt = True
            self._members.ask(self._certain)

    def _certain(self) -> None:
        self._current_at, self._in_doubt = time.monotonic(), False
        doubters, self._doubters = self._doubters, []
        for tell in doubters:
            tell()

    def _when_certain(self, tell: Callable[[], None]) -> None:
        if self._in_doubt:
            self._doubters.append(tell)
        else:
            tell()

    def _wake(self) -> None:
        # Cleared before the deques are read: nothing that was appended is missed.
        if not self._woken and not self.on_own_thread:
            self._woken = True
            self._loop.wake()

    def _submit(self, command: Callable[[], None]) -> None:
        self._check_process()
        if not self._closed:
            self._commands.append(command)
            self._wake()
        if self._closed:  # before, or so soon after that perhaps nobody takes commands any more
            raise SpaceClosed("the link to the AMQP server is closed")

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise SpaceClosed("the link belongs to the process that was forked; open another here")

    def _with_member(self, agent_id: str, act: Callable[[Member], None]) -> None:
        if (member := self._members.by_id.get(agent_id)) is not None:
            act(member)

    def _changed(self) -> None:
        """Something about the connections changed; decides whether `connect` has succeeded or
        failed.
        """
        if self._connected.done():
            return
        publishing, consuming = self._publisher.connection, self._members.connection
        if refusal := publishing.refused or consuming.refused or self._publisher.refused:
            self._connected.set_exception(BrokerRefused(f"AMQP: {refusal}"))
        elif self._publisher.ready and consuming.is_open:
            self._connected.set_result(None)

    def _result(self, future: Future[_Value], timeout: float) -> _Value:
        try:
            return _value_of(future, timeout)
        except TimeoutError:
            raise BrokerUnreachable("the AMQP server does not answer") from None

    def _are_done(self, releases: list[_Release], limit: float) -> bool:
        """Wait for these, until that time of `time.monotonic` at most, and not for long if nothing is heard
        of the server. Returns whether they are done.
        """
        while left := [one for one in releases if not one.done.is_open()]:
            steps = sum(one.steps for one in releases)
            patience = 0.05 if self._silent else _COMMAND_TIME
            remaining = limit - time.monotonic()
            if remaining <= 0:
                return False
            if left[0].done.wait(min(patience, remaining)) or steps != sum(
                one.steps for one in releases
            ):
                self._silent = False
            elif patience <= remaining:
                if not self._silent:
                    _log.warning("the AMQP server does not answer; going on without")
                self._silent = True  # whoever has many ids to release shall not wait for each
                return False
        return True

    def _end_releases(self, limit: float) -> None:
        """Give the ids back that are being given back, until then at the latest."""
        with self._releasing:
            releases = self._releases
        if self._are_done(releases, limit - _HURRY_TIME):
            return
        self._submit(self._members.hurry)
        if not self._silent:
            self._are_done(releases, limit)


def _value_of(future: Future[_Value], timeout: float) -> _Value:
    """As `future.result`, which must not be interrupted: it may leave the future locked."""
    done = Latch()
    future.add_done_callback(lambda _: done.open())
    with interruptible():
        done.wait(timeout)
    return future.result(0)


def _check_routing_key(text: str) -> None:
    if not 1 <= len(text.encode()) <= _ROUTING_KEY_BYTES:
        raise ValueError(
            f"an agent id must have 1 to {_ROUTING_KEY_BYTES} bytes to be routed by AMQP"
        )

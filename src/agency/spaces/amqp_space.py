"""AMQPSpace: agents in this process, in one space with those of other applications on other hosts.

The transport is an AMQP 0-9-1 server, RabbitMQ. Here stands what the messages mean to it: which way
each kind of message goes, when one is acknowledged, what becomes of those that the server does not
take. Above: `agency.space`. Below: `amqp_link` moves bytes and keeps the connections, `amqp_wire`
is the format; `docs/wire-format.md` tells it to other programs. The AMQP client library is imported
when the first space is made, not before.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from agency import lifetime
from agency.agent import Agent, handling
from agency.deadletters import DeadLetter, Reason
from agency.envelope import Envelope, Kind, answer
from agency.errors import (
    Failure,
    InvalidAgentId,
    InvalidMessage,
    MailboxFull,
    NotAccepted,
    OutcomeUnknown,
    SpaceClosed,
)
from agency.guest import Guest
from agency.resident import Resident
from agency.schema import BROADCAST, Message, encode
from agency.space import Space
from agency.spaces import amqp_wire
from agency.spaces.amqp_inbox import Inbox, Place, Taken
from agency.spaces.amqp_options import AMQPOptions
from agency.spaces.amqp_outbox import Outcome, Publication
from agency.spaces.amqp_properties import Delivery
from agency.spaces.amqp_topology import Topology, account_of
from agency.turn import describe
from agency.watching import Down, Watching

__all__ = ["AMQPOptions", "AMQPSpace"]

logger = logging.getLogger("agency.amqp")

SEND_TIMEOUT: Final = 30.0
"""Seconds for which `send` waits until the server has the message, through reconnects."""

_FLUSH_TIME: Final = 5.0  # seconds that the last messages are given when the space is destroyed
_PREFETCH: Final = 256  # messages of one mailbox that are here at a time, begun or not
_ELECTION_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds for which a replicated mailbox is given time to have a leader again."""
_MOST_DELIVERIES: Final = 5
"""How often a replicated mailbox gives out a message that its receivers die of."""
_PASSED_ON: Final = "x-death"  # the header by which the server marks what a queue gave to another
_EXPRESS: Final = {Kind.ANSWER, Kind.PART, Kind.CANCEL}


class AMQPSpace(Space):
    """A space across applications and hosts, on an AMQP server.

    Every application makes an `AMQPSpace` on the same server with the same `exchange`; their agents
    see each other, in any start order. An id is unique among all of them.

    When `send` returns, the server has the message on disk in the receiver's mailbox. Within an
    action it returns earlier, and it is the action's own message that waits: it is acknowledged when
    the server has all that the action sent, so if this process dies before, the action's message
    comes again. A message stays in its mailbox until the receiver has handled it, and outlives the
    receiver's process by 10 minutes; `remove` and `destroy` delete it. Order is kept per sender and
    receiver. A lost connection is made again by itself; `send` waits meanwhile, up to 30 s.

    Args:
        amqp_options: Where the server is. By default what the environment says: `AMQPOptions.from_environment`.
        exchange: The name of the space; spaces of different names on one server know nothing of each other.
        replicated: For a cluster: mailboxes of agents of this process are on most of its nodes (quorum
            queues), so that mail is taken and kept while one of them is down. Whoever has an id in turn
            should say the same: mail that waits in a mailbox of the other kind is not read.
        verified_senders: Take only messages of which the server has checked who sent them. The account `alice`
            speaks for the ids `alice` and `alice/...`, and for no other. All applications of the space, and the
            server's permissions, must be set up for it: see the guide to spaces. All must say the same of
            `replicated` then.
        grace: Seconds that actions in progress are given to end when their agent is removed.
        audit: A file for the audit log of the agents in this process; see `Space`.

    Raises:
        BrokerRefused: the server will not have us (account, virtual host, permission, certificate). At once.
        BrokerUnreachable: no server answered within `amqp_options.connect_timeout`.
        MissingExtra: the AMQP client is not installed.
        ValueError: an `AMQP_...` variable or the name cannot be read, or the account can speak for nobody.
    """

    def __init__(
        self,
        amqp_options: AMQPOptions | None = None,
        *,
        exchange: str = "agency",
        replicated: bool = False,
        verified_senders: bool = False,
        grace: float = 10.0,
        audit: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(grace=grace, audit=audit)
        try:
            options = amqp_options or AMQPOptions.from_environment()
            self._account = options.username if verified_senders else None
            self._topology = Topology(exchange, self._account, replicated)
            from agency.spaces.amqp_link import Link

            with lifetime.undisturbed():
                self._link = Link.connect(options, self._topology)
        except BaseException:
            if self.audit is not None:
                self.audit.close()
            lifetime.destroyed(self)
            raise
        self._inboxes: dict[str, Inbox] = {}
        self._is_shut_down = False
        self._untold: list[tuple[list[Watching], Down]] = []  # while the space is being destroyed
        self._taken: dict[Place, Taken] = {}
        self._suspects: set[str | None] = set()  # accounts that have sent in others' names

    def route(self, envelope: Envelope) -> None:
        """See `Space.route`.

        A plain message is waited for until the server has it, unless the message that is being
        handled can wait in its place. Of one that belongs to a request the caller hears in another
        way, so it is only handed over.

        Raises:
            NotAccepted: the server could not take the message in time; `MailboxFull`: the receiver's mailbox did not.
            OutcomeUnknown: the message was written, and the link broke for longer than 30 s.
        """
        body = encode(envelope.message)
        properties = amqp_wire.to_properties(envelope, self._reply_to(envelope), self._account)
        may_wait = not self._link.on_own_thread
        publish = partial(self._link.publish, self._routing_key(envelope), body, properties)
        now = time.monotonic()
        deadline = now + SEND_TIMEOUT
        if envelope.deadline is not None and envelope.deadline < deadline:
            deadline = envelope.deadline
        publication = publish(timeout=deadline - now if may_wait else None)
        cause = self._answered(envelope) or self._being_handled()
        if cause is not None and cause.wait_for(publication):
            may_wait = False
        if envelope.kind is Kind.TELL and envelope.correlation_id is None and may_wait:
            publication.wait(deadline - time.monotonic())
            if self._topology.replicated and envelope.message["to"] != BROADCAST:
                publication = self._once_there_is_a_leader(publication, publish, deadline)
            self._sent(envelope, publication)
        else:
            publication.when_settled(lambda settled: self._lost_later(envelope, settled))

    def join(self, agent_id: str | None = None) -> Guest:
        """See `Space.join`. Where senders are verified, a random id is one of this account's."""
        if agent_id is None and self._account is not None:
            agent_id = f"{self._account}/{Guest.random_id()}"
        return super().join(agent_id)

    def drop(self, envelope: Envelope, reason: Reason, detail: str = "") -> None:
        """See `Space.drop`. What went out of our care has not been lost: it comes again, here or
        elsewhere.
        """
        if isinstance(envelope.receipt, Taken) and envelope.receipt.is_void:
            envelope.receipt.settled()
        else:
            super().drop(envelope, reason, detail)

    def _claim(self, agent_id: str) -> None:
        if self._account is not None and account_of(agent_id) != self._account:
            raise InvalidAgentId(
                f"the account {self._account!a} does not speak for {agent_id!a}: where senders are "
                f"verified, its agents are called {self._account!a} or {self._account + '/...'!a}"
            )
        inbox = self._inboxes[agent_id] = Inbox(self._link.catch_up)
        try:
            self._link.claim(agent_id, inbox.lease_changed)
        except BaseException:
            self._inboxes.pop(agent_id, None)
            raise

    def _release(self, agent_id: str) -> None:
        """If the space is being destroyed, it is only begun here: `_shut_down` waits for all together."""
        self._inboxes.pop(agent_id, None)
        try:
            self._link.release(
                agent_id,
                delete_mailbox=True,
                on_undelivered=partial(self._count_lost, agent_id),
                waits=not self._closing,
            )
        except SpaceClosed:
            pass  # its before_remove has destroyed the space
        except Exception:
            logger.exception("the id %r could not be given back in order", agent_id)

    def _connect(self, resident: Resident) -> None:
        inbox = self._inboxes.get(resident.agent.id)
        if inbox is None:
            raise SpaceClosed("the space was destroyed")
        self._link.consume(
            resident.agent.id,
            lambda delivery: self._take(resident, inbox, delivery),
            prefetch=max(_PREFETCH, 2 * resident.agent._agency.concurrency),
        )

    def _disconnect(self, resident: Resident) -> None:
        """Its door is closed: what `_release` still has delivered becomes dead letters, and who waits for
        it is told.
        """

    def _tell(self, watching: list[Watching], down: Down) -> None:
        """If the space is being destroyed, the id is not free before the link is closed."""
        with self._lock:
            if self._closing and not self._is_shut_down:
                self._untold.append((watching, down))
                return
        super()._tell(watching, down)

    def _shut_down(self) -> None:
        for agent_id in list(self._inboxes):  # of who is just being added
            self._release(agent_id)
        left = self._link.close(_FLUSH_TIME)
        with self._lock:
            self._is_shut_down = True
        for watching, down in self._untold:
            super()._tell(watching, down)
        if left:
            keys = sorted({publication.routing_key for publication in left})
            logger.warning("%d messages were not sent, to %s", len(left), ", ".join(keys))

    def stay_with_parent(self) -> None:
        """See `Space.stay_with_parent`."""
        super().stay_with_parent()
        self._link.stay_with_parent()

    def _count_lost(self, agent_id: str, undelivered: int) -> None:
        """So many messages went with the mailbox of an agent that has left, and nobody saw them."""
        for _ in range(undelivered):
            detail = f"it was in the mailbox of {agent_id!a}"
            self._dead_letters.add(DeadLetter(Reason.AGENT_REMOVED, None, detail))

    # Sending

    def _routing_key(self, envelope: Envelope) -> str:
        """The receiver's id; but what belongs to a request in progress must not queue behind other
        mail.
        """
        to = envelope.message["to"]
        if envelope.kind not in _EXPRESS:
            return to if self._account is None else self._topology.key(to)
        if envelope.kind is not Kind.CANCEL and (taken := self._answered(envelope)) is not None:
            return taken.reply_to or self._topology.key(to)
        return self._topology.express_key(to)

    def _answered(self, envelope: Envelope) -> Taken | None:
        """What this envelope answers, if it came from the server and is not settled."""
        if envelope.correlation_id is None:
            return None
        message = envelope.message
        return self._taken.get((envelope.correlation_id, message["to"], message["from"]))

    def _being_handled(self) -> Taken | None:
        """The delivery that the current action handles, if it came through this space."""
        turn = handling.get()
        if turn is None:
            return None
        return self._taken.get((turn.envelope.id, turn.envelope.message["from"], turn.agent.id))

    def _reply_to(self, envelope: Envelope) -> str | None:
        if not envelope.wants_answer:
            return None
        return self._topology.express_key(envelope.message["from"])

    def _once_there_is_a_leader(
        self, publication: Publication, publish: Callable[..., Publication], deadline: float
    ) -> Publication:
        """Publish again while the message is refused, for some seconds: the node that led a replicated
        mailbox may be down, and another does not yet. RabbitMQ then goes on to refuse, on this channel.
        If it is full, that is said as soon as it is known.

        The receiver knows the message again, and the sender waits: so it comes once and in order.
        """
        tried = [publication]
        for pause in _ELECTION_PAUSES:
            if not tried[-1].may_yet_be_taken or time.monotonic() + pause >= deadline:
                break
            self._link.renew()
            time.sleep(pause)
            try:
                tried.append(publish(timeout=deadline - time.monotonic()))
            except NotAccepted:
                break
            tried[-1].wait(deadline - time.monotonic())
        if tried[-1].outcome is Outcome.ACCEPTED:
            return tried[-1]
        return next((one for one in tried if one.outcome is Outcome.UNKNOWN), tried[-1])

    def _sent(self, envelope: Envelope, publication: Publication) -> None:
        """Tell the sender what the server said, by returning or raising."""
        to = envelope.message["to"]
        match publication.outcome:
            case Outcome.UNROUTABLE if to != BROADCAST:
                self.drop(envelope, Reason.NO_SUCH_AGENT)
            case Outcome.REFUSED if publication.detail:
                raise NotAccepted(f"the AMQP server refused the message: {publication.detail}")
            case Outcome.REFUSED if to == BROADCAST:
                self.drop(envelope, Reason.MAILBOX_FULL, "of at least one receiver")
            case Outcome.REFUSED:
                raise MailboxFull(f"the mailbox of {to!a} is full")
            case Outcome.NOT_SENT:
                raise NotAccepted(f"the AMQP server took no message for {SEND_TIMEOUT:g} s")
            case Outcome.UNKNOWN:
                why = publication.detail or f"it was not confirmed within {SEND_TIMEOUT:g} s"
                raise OutcomeUnknown(f"{to!a} may get the message or not: {why}")

    def _lost_later(self, envelope: Envelope, publication: Publication) -> None:
        """A message that nobody waited for may be lost: then whoever waits for its answer is told."""
        match publication.outcome:
            case Outcome.UNROUTABLE if envelope.kind is not Kind.CANCEL:
                self.drop(envelope, Reason.NO_SUCH_AGENT)
            case Outcome.REFUSED:
                text = publication.detail or f"the mailbox of {envelope.message['to']!a} is full"
                self.drop(envelope, Reason.MAILBOX_FULL, text)
                self._tell_sender(envelope, Failure.FAILED, text)
            case Outcome.NOT_SENT | Outcome.UNKNOWN:
                text = publication.detail or "the link to the AMQP server was closed"
                self.drop(envelope, Reason.NOT_SENT, text)
                if publication.outcome is Outcome.UNKNOWN:
                    self._tell_sender(envelope, Failure.OUTCOME_UNKNOWN, text)

    def _tell_sender(self, envelope: Envelope, failure: Failure, text: str) -> None:
        """Of a message that is lost: whoever waits for its answer, or the sender's `error` action."""
        is_answer = envelope.message["action"]["name"] in {"response", "error"}
        if envelope.wants_answer or not (is_answer or envelope.message["to"] == BROADCAST):
            responder = envelope.message["to"]
            self._deliver_here(
                answer(envelope, self._new_id(), responder, error=text, failure=failure)
            )

    # Receiving, on the link's thread

    def _take(self, resident: Resident, inbox: Inbox, delivery: Delivery) -> None:
        """A message that cannot be dealt with is a dead letter: unacknowledged, it would take up room among
        those that the server gives out at a time.
        """
        try:
            self._take_in(resident, inbox, delivery)
        except InvalidMessage as error:
            self._refuse(delivery, str(error))
        except Exception as error:
            logger.exception("a delivery to %r cannot be dealt with", delivery.agent_id)
            self._refuse(delivery, f"it could not be dealt with: {describe(error)}")

    def _refuse(self, delivery: Delivery, why: str) -> None:
        self._dead_letters.add(DeadLetter(Reason.UNDECODABLE, None, why))
        self._link.acknowledge(delivery)

    def _take_in(self, resident: Resident, inbox: Inbox, delivery: Delivery) -> None:
        envelope = amqp_wire.read(delivery, self._new_id)
        if self._account is not None and not self._is_proven(envelope.message, delivery):
            self._link.acknowledge(delivery)
            return
        message, agent = envelope.message, resident.agent
        # Ids can be guessed: nobody takes up another's.
        place = (envelope.id, message["from"], agent.id)
        before = inbox.knows(place)
        if before is not None and before.came_again(delivery):
            return
        own_broadcast = message["to"] == BROADCAST and message["from"] == agent.id
        if own_broadcast and not agent._agency.receive_own_broadcasts:
            self._link.acknowledge(delivery)
            return
        is_first = not delivery.redelivered or (before is not None and before.is_first)
        taken = Taken(
            place, delivery, inbox, self._link.acknowledge, self._forget, is_first=is_first
        )
        self._taken[place] = envelope.receipt = taken
        if amqp_wire.unique_in_the_world(envelope.id):
            inbox.remember(taken)
        is_mail = envelope.kind not in _EXPRESS
        is_at_head = is_mail and inbox.is_new()
        try:
            if is_at_head and _times_given(delivery) >= _MOST_DELIVERIES:
                taken.acknowledge = self._link.set_aside
                self.drop(envelope, Reason.DELIVERY_LIMIT)
            elif is_mail and not is_first and _is_run_at_most_once(envelope, agent):
                self.drop(envelope, Reason.PERHAPS_BEGUN)
            else:
                resident.deliver(envelope)
        except Exception:
            taken.settled()
            raise

    def _forget(self, taken: Taken) -> None:
        if self._taken.get(taken.place) is taken:
            del self._taken[taken.place]

    def _is_proven(self, message: Message, delivery: Delivery) -> bool:
        """Whether the server vouches for the sender. If not, the message is a dead letter, and is not
        answered: whom it names has not sent it.
        """
        properties, sender = delivery.properties, message["from"]
        account = properties.user_id
        if account == account_of(sender) and _PASSED_ON not in properties.headers:
            return True
        detail = f"account {account!a} does not speak for {sender!a}"
        if _PASSED_ON in properties.headers:
            account, detail = None, f"what {sender!a} sent was passed on by somebody"
        if account not in self._suspects:
            self._suspects.add(account)
            logger.warning(
                "messages are refused, of which this is the first one from there: %s", detail
            )
        self._dead_letters.add(DeadLetter(Reason.BAD_SENDER, dict(message), detail))
        return False


def _is_run_at_most_once(envelope: Envelope, agent: Agent) -> bool:
    spec = agent._agency.actions.get(envelope.message["action"]["name"])
    return spec is not None and spec.at_most_once


def _times_given(delivery: Delivery) -> int:
    """How often the message was given out before, by a replicated mailbox; others do not count."""
    count = delivery.properties.headers.get("x-delivery-count")
    return count if delivery.redelivered and isinstance(count, int) else 0

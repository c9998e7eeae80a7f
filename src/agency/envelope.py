"""The envelope: everything that the framework needs besides the message, kept outside of it.

Agents see the seeds' dict exactly; identity, correlation, deadline, call chain and trace travel
around it. A transport carries an envelope as it likes (AMQP: properties and headers,
`docs/wire-format.md`). Above: `agency.turn` decides by it. Below: `agency.schema`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from agency.errors import Failure
from agency.schema import Message, assembled, duplicate

__all__ = [
    "ANSWER",
    "BROADCAST_LIMIT",
    "CANCEL",
    "HOP_LIMIT",
    "LIGHT",
    "MAILBOX_BYTES",
    "MAILBOX_MESSAGES",
    "PART",
    "REQUEST",
    "STREAM",
    "TELL",
    "Envelope",
    "Kind",
    "Receipt",
    "answer",
    "cancel",
    "new_envelope_id",
]

HOP_LIMIT: Final = 10_000
"""How many messages may cause each other in a row before the last is dropped as a loop that nobody
ends.
"""

BROADCAST_LIMIT: Final = 32
"""How many messages to everybody may cause each other in a row: each of them may cause as many as
there are agents.
"""

MAILBOX_MESSAGES: Final = 10_000
"""How many messages may wait for one agent, unless it says otherwise."""

MAILBOX_BYTES: Final = 64 * 1024 * 1024
"""How many bytes they may have together. The last message may pass the line."""

LIGHT: Final = 4096
"""Bytes up to which a message is not weighed: as many as may wait by default have 40 MiB then."""

_MOST_SENDERS: Final = 16


class Kind(StrEnum):
    """What the sender of an envelope waits for, or which wait it serves."""

    TELL = "tell"
    """Nobody waits."""
    REQUEST = "request"
    """The sender waits for one answer."""
    STREAM = "stream"
    """The sender waits for parts, then for the end."""
    PART = "part"
    """One part of a stream."""
    ANSWER = "answer"
    """Ends a request or a stream, well or with a failure."""
    CANCEL = "cancel"
    """The one who asked for a stream no longer wants it."""


TELL, REQUEST, STREAM, PART, ANSWER, CANCEL = Kind
# By names of their own: each message asks for its kind a dozen times, and `Kind.TELL` takes 0.05 µs.


class Receipt:
    """What a transport wants to know of a message it handed over. This one wants to know nothing.

    The runner calls `may_start` right before the agent begins with the message and `settled` when all
    that the message causes here has been done, its answer sent. Both are called at most once, in
    this order, from any thread, and must not block or raise. A message that is dropped unstarted is
    only `settled`.
    """

    __slots__ = ()

    def may_start(self) -> bool:
        """The agent begins with the message, unless this is False: then the message is no longer in
        its care, and it forgets it without a word.
        """
        return True

    def settled(self) -> None:
        """The message needs no one's attention any more."""


@dataclass(slots=True)
class Envelope:
    """A message on its way. Built by the sender's side, read by the receiver's; never shown to
    agents.
    """

    to: str
    sender: str
    """What the message has as `from`."""
    name: str
    """The action's."""
    args: dict[str, Any] | None
    """The action's, if it has any: the receiver's own copy, a broadcast's from when it begins with it."""
    id: str
    """Unique in the world: the sender's incarnation, a dot, and a number that grows by one a
    message.
    """
    kind: Kind = TELL
    correlation_id: str | None = None
    """The `id` of the envelope that this one answers."""
    failure: Failure | None = None
    """Why the action did not return, if this carries an `error`."""
    chain: tuple[str, ...] = ()
    """The ids of the agents that wait for this one to be answered, outermost first."""
    via: tuple[str, ...] = ()
    """The senders of the messages that led to this one, oldest first; the last 16 of them."""
    hops: int = 0
    """How many messages caused each other up to this one."""
    deadline: float | None = None
    """When the sender stops waiting, in seconds of `time.monotonic` of this host."""
    trace: str | None = None
    """A W3C `traceparent`, handed on unchanged from message to message."""
    broadcasts: int = 0
    """How many messages to everybody caused each other up to this one."""
    weight: int = 0
    """About how many bytes the message has, if it is not light. Not sent."""
    redelivered: bool = False
    """The transport may have delivered this message before, here or to a process that died."""
    receipt: Receipt | None = None
    """How to tell the transport what became of the message. Not sent."""
    whole: Message | None = field(default=None, repr=False, compare=False)
    """The message itself, once somebody has asked for it, or if it has more than is in the first four
    fields. `message` makes it.
    """
    _senders: tuple[str, ...] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, message: Message, *others: Any, **more: Any) -> Envelope:
        """The envelope for a message that is there as a whole; all further arguments are those from `id`
        on.
        """
        envelope = cls("", "", "", None, *others, **more)
        envelope.message = message
        return envelope

    @property
    def message(self) -> Message:
        """The message as agents see it, always the same dict; `from` is always there."""
        if self.whole is None:
            self.whole = assembled(self.to, self.sender, self.name, self.args)
        return self.whole

    @message.setter
    def message(self, message: Message) -> None:
        action = message["action"]
        self.to, self.sender = message["to"], message["from"]
        self.name, self.args = action["name"], action.get("args")
        self.whole = message

    @property
    def message_id(self) -> str | None:
        """The `id` that the sender gave the message, if any."""
        return None if self.whole is None else self.whole.get("id")

    @property
    def wants_answer(self) -> bool:
        """Whether somebody waits for an answer."""
        return self.kind is REQUEST or self.kind is STREAM

    @property
    def senders(self) -> tuple[str, ...]:
        """Who led to this message, oldest first, its own sender last."""
        if self._senders is None:  # one tuple for all that is sent because of this message
            before = self.via
            self._senders = (
                (*before[1 - _MOST_SENDERS :], self.sender) if before else (self.sender,)
            )
        return self._senders

    def follow(self, cause: Envelope) -> None:
        """This message is sent because of that one."""
        self.via = cause._senders or cause.senders
        self.hops = cause.hops + 1
        self.broadcasts = cause.broadcasts
        self.trace = cause.trace

    def twin(self) -> Envelope:
        """The same with a message of its own, for another receiver."""
        twin = Envelope(
            self.to,
            self.sender,
            self.name,
            self.args,
            self.id,
            self.kind,
            self.correlation_id,
            self.failure,
            self.chain,
            self.via,
            self.hops,
            self.deadline,
            self.trace,
            self.broadcasts,
            self.weight,
            self.redelivered,
            self.receipt,
        )
        if self.whole is not None:
            twin.message = duplicate(self.whole)
        elif self.args is not None:
            twin.args = duplicate(self.args)
        return twin

    def expired(self) -> bool:
        """Whether the sender has stopped waiting."""
        return self.deadline is not None and time.monotonic() > self.deadline


def new_envelope_id() -> Callable[[], str]:
    """Return a source of envelope ids for one incarnation of one agent: 128 random bits, then a
    running number.
    """
    incarnation = f"{os.urandom(16).hex()}."
    return map(incarnation.__add__, map(str, itertools.count(1))).__next__


def answer(
    envelope: Envelope,
    envelope_id: str,
    sender: str,
    *,
    value: Any = None,
    error: str | None = None,
    failure: Failure | None = None,
    kind: Kind = ANSWER,
) -> Envelope:
    """The envelope that answers another: a `response` with the value, or an `error` if one is
    given.

    The sender of the original may be nobody's waiting call; then its `response` or `error` action
    gets the message.
    """
    args: dict[str, Any] = {"data": value} if error is None else {"error": error}
    args["original_message_id"] = envelope.message_id
    answering = Envelope(
        envelope.sender,
        sender,
        "response" if error is None else "error",
        args,
        envelope_id,
        TELL if envelope.kind is TELL else kind,
        envelope.id,
        failure,
    )
    answering.follow(envelope)
    return answering


def cancel(part: Envelope, envelope_id: str) -> Envelope:
    """The envelope that tells the producer of a stream, in the name of its reader, that nobody wants more
    of it.
    """
    return Envelope(part.sender, part.to, "cancel", {}, envelope_id, CANCEL, part.correlation_id)

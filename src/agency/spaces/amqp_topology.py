"""What a space is called on the AMQP server: the names and arguments of its exchange and queues.

Pure values, written down for other programs in `docs/wire-format.md`. All arguments are explicit
and constant, and the version stands in every name, so a later layout never collides with this one
(an AMQP server refuses to declare a queue again with other arguments). They are accepted by
RabbitMQ 3.10 up to 4.x. Where senders are verified, no exchange is the space's own: mail goes to
mailboxes by their names, so that nobody can have copies of it, and broadcasts through an exchange
that the server has anyway and nobody can delete. Above: `amqp_link`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from agency.schema import BROADCAST

__all__ = [
    "DEAD_LETTERS_ARGUMENTS",
    "DEAD_LETTERS_KEY",
    "LEASE_ARGUMENTS",
    "MAILBOX_ARGUMENTS",
    "Topology",
    "account_of",
]

DEAD_LETTERS_KEY: Final = "amq.dead-letters"
"""The routing key of what replicated mailboxes give up."""

LEASE_ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "classic",
    "x-max-length": 16,
}
"""Of the exclusive queue whose owner *is* the agent. It carries only probes; anyone can publish
into it: bounded.
"""

MAILBOX_ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "classic",
    "x-expires": 10
    * 60
    * 1000,  # milliseconds without a consumer: mail waits this long for a restart
    "x-max-length": 10_000,
    "x-max-length-bytes": 64 * 1024 * 1024,
    "x-overflow": "reject-publish",
}
"""Of the durable queue where mail waits. A full one refuses new mail, which its sender hears of."""

_STILL_FULL: Final = 0.8
_MORE_DELIVERIES_THAN_EVER: Final = 10_000

DEAD_LETTERS_ARGUMENTS: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-message-ttl": 7 * 24 * 60 * 60 * 1000,  # milliseconds
    "x-max-length": 10_000,
    "x-max-length-bytes": 64 * 1024 * 1024,
    "x-overflow": "drop-head",
}
"""Of the durable queue where an operator finds what replicated mailboxes gave up."""

_VERSION: Final = "v1"
_NAME_BYTES: Final = 255  # AMQP 0-9-1 section 4.2.5.3: a short string
_SPACE_BYTES: Final = 100
_ACCOUNT_BYTES: Final = 100  # percent-encoded; so the account is in every name, however long the id
_SEPARATOR: Final = "/"


def account_of(agent_id: str) -> str:
    """The one account that speaks for this id where senders are verified: `alice` for `alice` and for
    `alice/anything`.
    """
    return agent_id.partition(_SEPARATOR)[0]


@dataclass(frozen=True)
class Topology:
    """The names that belong to one space.

    Raises:
        ValueError: the space's name cannot be part of an AMQP name.
    """

    space: str
    """The `exchange=` of `AMQPSpace`: several spaces share a server under different names."""
    account: str | None = None
    """Whom this process speaks for; None if senders are not verified."""
    replicated: bool = False
    """Whether mailboxes are on most nodes of the cluster. They have names of their own, leases do not: an
    id is unique among both kinds.
    """

    def __post_init__(self) -> None:
        if not self.space or len(self.space.encode()) > _SPACE_BYTES:
            raise ValueError(f"exchange: the name must have 1 to {_SPACE_BYTES} bytes")
        if self.space.startswith("amq.") or not self.space.isprintable():
            raise ValueError('exchange: the name must be printable and not begin with "amq."')
        if self.account is not None and (
            _SEPARATOR in self.account or len(_encoded(self.account)) > _ACCOUNT_BYTES
        ):
            raise ValueError(
                f"username: {self.account!a} cannot speak for agents: it has a {_SEPARATOR!a} or, "
                f"percent-encoded, more than {_ACCOUNT_BYTES} bytes"
            )

    @property
    def exchange(self) -> str:
        """The durable direct exchange that queues are bound to. All messages of the space go through
        it; where senders are verified, broadcasts only.
        """
        return self._prefix if self.account is None else "amq.direct"

    @property
    def mail_exchange(self) -> str:
        """The exchange for messages to one agent. The default exchange, where senders are verified:
        nobody can bind anything to it.
        """
        return self._prefix if self.account is None else ""

    @property
    def broadcast_key(self) -> str:
        """The routing key that reaches every mailbox. Exchanges are direct: no key is ever a pattern."""
        return BROADCAST if self.account is None else f"{self._prefix}.*"

    def key(self, agent_id: str) -> str:
        """The routing key that reaches the agent's mailbox; for `*`, everybody's."""
        if self.account is None:
            return agent_id
        return self.broadcast_key if agent_id == BROADCAST else self.mailbox(agent_id)

    def mailboxes_of(self, key: str) -> tuple[str, ...]:
        """What the mailbox that the routing key reaches may be called, if it is one agent's: the kind is
        its agent's own affair. The most probable first.
        """
        if key == self.broadcast_key or key.startswith("amq."):
            return ()
        if self.account is not None:
            return (key,)
        other = replace(self, replicated=not self.replicated)
        return self.mailbox(key), other.mailbox(key)

    def is_full(self, mailbox: str, count: int) -> bool:
        """Whether a mailbox that refused a message, and has so many, is surely full. Of a replicated one
        it may be that nobody leads it; when it has been full, it refuses until it has a fifth less.
        """
        most: int = MAILBOX_ARGUMENTS["x-max-length"]
        is_replicated = mailbox.startswith(f"{self._prefix}.quorum-")
        return not is_replicated or count >= most * _STILL_FULL

    def bindings(self, agent_id: str) -> list[tuple[str, str]]:
        """Which of the agent's queues are bound, and with which keys."""
        mailbox = self.mailbox(agent_id)
        if self.account is not None:
            return [(mailbox, self.broadcast_key)]
        return [
            (self.express(agent_id), self.express_key(agent_id)),
            (mailbox, self.broadcast_key),
            (mailbox, agent_id),
        ]

    def permissions(self, account: str) -> tuple[str, str, str]:
        """What an account may configure, write and read where senders are verified: three regular
        expressions for `rabbitmqctl set_permissions`, in this order.

        With these it can use its own agents' queues, send to all others, and nothing else.
        """
        own = rf"{re.escape(self._prefix)}\.[^.]+\.{re.escape(_encoded(account))}(%2F.*)?"
        return f"^{own}$", rf"^({own}|amq\.default|amq\.direct)$", rf"^({own}|amq\.direct)$"

    def lease(self, agent_id: str) -> str:
        """The queue that only one connection can own: its owner is the agent."""
        return self._queue("lease", agent_id)

    def mailbox(self, agent_id: str) -> str:
        """The queue where the agent's mail waits."""
        return self._queue(self._kind + "mailbox", agent_id)

    def express(self, agent_id: str) -> str:
        """The queue for what must reach the agent while its mailbox is held up: see `express_key`."""
        return self._queue(self._kind + "express", agent_id)

    @property
    def mailbox_arguments(self) -> dict[str, Any]:
        """Of both."""
        if not self.replicated:
            return MAILBOX_ARGUMENTS
        arguments = MAILBOX_ARGUMENTS | {
            "x-queue-type": "quorum",
            # Each lost link counts as one for all mail that was in somebody's care, so the receiver
            # decides. With no limit at all, some servers change the order of mail.
            "x-delivery-limit": _MORE_DELIVERIES_THAN_EVER,
        }
        if self.dead_letters is not None:
            arguments["x-dead-letter-exchange"] = self.exchange
            arguments["x-dead-letter-routing-key"] = DEAD_LETTERS_KEY
        return arguments

    @property
    def dead_letters(self) -> str | None:
        """The queue for what replicated mailboxes give up: for an operator, nobody here reads it. None
        where senders are verified, because no account may write to what all share.
        """
        return f"{self._prefix}.dead-letters" if self.replicated and self.account is None else None

    def express_key(self, agent_id: str) -> str:
        """The routing key of that queue. It begins with `amq.`, which no agent's id does; where
        senders are verified, it is the queue's name.
        """
        return (
            _shortened("amq.express.", agent_id) if self.account is None else self.express(agent_id)
        )

    @property
    def _prefix(self) -> str:
        return f"{self.space}.{_VERSION}"

    @property
    def _kind(self) -> str:
        return "quorum-" if self.replicated else ""

    def _queue(self, purpose: str, agent_id: str) -> str:
        # The encoded id has no dot, so the name reads unambiguously from the right.
        return _shortened(f"{self._prefix}.{purpose}.", agent_id)


def _encoded(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


@lru_cache(maxsize=1024)
def _shortened(prefix: str, agent_id: str) -> str:
    """The prefix and the percent-encoded id, in 255 bytes; a digest stands for what does not fit."""
    encoded = _encoded(agent_id)
    room = _NAME_BYTES - len(prefix.encode())
    if len(encoded) > room:
        digest = hashlib.sha256(agent_id.encode()).hexdigest()[:32]
        encoded = f"{encoded[: room - len(digest) - 1]}~{digest}"
    return prefix + encoded

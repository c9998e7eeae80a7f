"""What a space is called on the AMQP server: the names and arguments of its exchange and queues.

Pure values, written down for other programs in `docs/wire-format.md`. All arguments are explicit
and constant, and the version stands in every name, so a later layout never collides with this one
(an AMQP server refuses to declare a queue again with other arguments). They are accepted by
RabbitMQ 3.10 up to 4.x. Above: `amqp_link`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

__all__ = ["BROADCAST_KEY", "LEASE_ARGUMENTS", "MAILBOX_ARGUMENTS", "Topology"]

BROADCAST_KEY: Final = "*"
"""Every mailbox is bound with its agent's id and with this. The exchange is direct: neither is ever
a pattern.
"""

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

_VERSION: Final = "v1"
_NAME_BYTES: Final = 255  # AMQP 0-9-1 section 4.2.5.3: a short string
_SPACE_BYTES: Final = 100


@dataclass(frozen=True)
class Topology:
    """The names that belong to one space.

    Raises:
        ValueError: the space's name cannot be part of an AMQP name.
    """

    space: str
    """The `exchange=` of `AMQPSpace`: several spaces share a server under different names."""

    def __post_init__(self) -> None:
        if not self.space or len(self.space.encode()) > _SPACE_BYTES:
            raise ValueError(f"exchange: the name must have 1 to {_SPACE_BYTES} bytes")
        if self.space.startswith("amq.") or not self.space.isprintable():
            raise ValueError('exchange: the name must be printable and not begin with "amq."')

    @property
    def exchange(self) -> str:
        """The durable direct exchange through which all messages of the space go."""
        return f"{self.space}.{_VERSION}"

    def lease(self, agent_id: str) -> str:
        """The queue that only one connection can own: its owner is the agent."""
        return self._queue("lease", agent_id)

    def mailbox(self, agent_id: str) -> str:
        """The queue where the agent's mail waits."""
        return self._queue("mailbox", agent_id)

    def express(self, agent_id: str) -> str:
        """The queue for what must reach the agent while its mailbox is held up: see `express_key`."""
        return self._queue("express", agent_id)

    def express_key(self, agent_id: str) -> str:
        """The routing key of that queue. It begins with `amq.`, which no agent's id does."""
        return _shortened("amq.express.", agent_id)

    def _queue(self, purpose: str, agent_id: str) -> str:
        # The encoded id has no dot, so the name reads unambiguously from the right.
        return _shortened(f"{self.space}.{_VERSION}.{purpose}.", agent_id)


def _shortened(prefix: str, agent_id: str) -> str:
    """The prefix and the percent-encoded id, in 255 bytes; a digest stands for what does not fit."""
    encoded = quote(agent_id, safe="").replace(".", "%2E").replace("~", "%7E")
    room = _NAME_BYTES - len(prefix.encode())
    if len(encoded) > room:
        digest = hashlib.sha256(agent_id.encode()).hexdigest()[:32]
        encoded = f"{encoded[: room - len(digest) - 1]}~{digest}"
    return prefix + encoded

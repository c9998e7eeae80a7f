"""The AMQP properties of a message, free of the client library's types, and a delivery that carries
them.

Above: whoever publishes and receives through `amqp_link`. Below: pika, whose objects are converted
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

__all__ = ["Delivery", "Properties"]

_PERSISTENT: Final = 2
_NO_HEADERS: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """What travels beside the body; AMQP 0-9-1 section 4.2.6.1. Texts are at most 255 bytes of
    UTF-8.
    """

    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    type: str | None = None
    content_type: str | None = None
    timestamp: int | None = None
    """Seconds since 1970."""
    expiration: str | None = None
    """Milliseconds, as digits; in a mailbox for longer, the server drops the message."""
    user_id: str | None = None
    """The server checks that it is the name of the connection's user."""
    headers: Mapping[str, Any] = field(default_factory=lambda: _NO_HEADERS)
    """Texts, integers, booleans, None, lists and dicts of those; the client library cannot write
    floats.
    """

    def for_wire(self) -> Any:
        """As the client library wants it; persistent."""
        from pika import BasicProperties  # this module must load without the extra `amqp`

        return BasicProperties(
            message_id=self.message_id,
            correlation_id=self.correlation_id,
            reply_to=self.reply_to,
            type=self.type,
            content_type=self.content_type,
            timestamp=self.timestamp,
            expiration=self.expiration,
            user_id=self.user_id,
            headers=dict(self.headers) if self.headers else None,
            delivery_mode=_PERSISTENT,
        )

    @classmethod
    def from_wire(cls, properties: Any) -> Properties:
        """Of a message that came from anybody: what is missing or not text is None.

        What is in the headers is not checked.
        """
        return cls(
            message_id=_text(properties.message_id),
            correlation_id=_text(properties.correlation_id),
            reply_to=_text(properties.reply_to),
            type=_text(properties.type),
            content_type=_text(properties.content_type),
            timestamp=properties.timestamp,
            expiration=_text(properties.expiration),
            user_id=_text(properties.user_id),
            headers=properties.headers or _NO_HEADERS,
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None  # what is not UTF-8 comes as bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message taken from a mailbox. It stays there until it is acknowledged."""

    agent_id: str
    """Whose mailbox it was in."""
    routing_key: str
    """What it was sent to: that id, or `*`."""
    body: bytes
    properties: Properties
    redelivered: bool
    """It may have been delivered before, to this process or to another that had the id."""
    generation: int
    """Which of the mailbox's channels it came through; acknowledgements for an earlier one are
    ignored.
    """
    tag: int

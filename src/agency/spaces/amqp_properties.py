"""The AMQP properties of a message, as they travel and as they are read, and a delivery that
carries them.

Every message has them, and pika takes five times as long: so they are written and read by hand,
except for what is in the headers of strangers. AMQP 0-9-1 sections 4.2.5 and 4.2.6.1. Above:
whoever publishes and receives through `amqp_link`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

__all__ = ["Delivery", "Headers", "Properties"]

_NO_HEADERS: Final[Mapping[str, Any]] = MappingProxyType({})


class Headers(dict[str, Any]):
    """Headers that many messages have: written once, and not to be changed."""

    @cached_property
    def written(self) -> bytes:
        """As they travel. Raises what `Properties.encoded` raises."""
        return _table(self)


_OCTETS_2: Final = struct.Struct(">H")
_OCTETS_4: Final = struct.Struct(">L")
_OCTETS_8: Final = struct.Struct(">Q")
_SIGNED_8: Final = struct.Struct(">q")

# Which properties there are; they follow in this order.
_CONTENT_TYPE: Final = 1 << 15
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_CORRELATION_ID: Final = 1 << 10
_REPLY_TO: Final = 1 << 9
_EXPIRATION: Final = 1 << 8
_MESSAGE_ID: Final = 1 << 7
_TIMESTAMP: Final = 1 << 6
_TYPE: Final = 1 << 5
_USER_ID: Final = 1 << 4
_MORE_FLAGS: Final = 1

_PERSISTENT: Final = b"\x02"
_KEPT_TABLE: Final = 512  # bytes; tables up to this size are read once and remembered


class Properties(NamedTuple):
    """What travels beside the body. Texts are at most 255 bytes of UTF-8."""

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
    headers: Mapping[str, Any] = _NO_HEADERS
    """Texts, integers of 64 bits, booleans, None, lists, tuples and dicts of those."""

    def encoded(self) -> bytes:
        """As they travel; persistent.

        Raises:
            ValueError: a text is too long, or a header is of another type.
        """
        flags = _DELIVERY_MODE
        pieces = []
        if self.content_type is not None:
            flags |= _CONTENT_TYPE
            pieces.append(_repeated_text(self.content_type))
        if self.headers:
            flags |= _HEADERS
            headers = self.headers
            pieces.append(headers.written if type(headers) is Headers else _table(headers))
        pieces.append(_PERSISTENT)
        if self.correlation_id is not None:
            flags |= _CORRELATION_ID
            pieces.append(_short_text(self.correlation_id))
        if self.reply_to is not None:
            flags |= _REPLY_TO
            pieces.append(_repeated_text(self.reply_to))
        if self.expiration is not None:
            flags |= _EXPIRATION
            pieces.append(_short_text(self.expiration))
        if self.message_id is not None:
            flags |= _MESSAGE_ID
            pieces.append(_short_text(self.message_id))
        if self.timestamp is not None:
            flags |= _TIMESTAMP
            pieces.append(_OCTETS_8.pack(self.timestamp))
        if self.type is not None:
            flags |= _TYPE
            pieces.append(_repeated_text(self.type))
        if self.user_id is not None:
            flags |= _USER_ID
            pieces.append(_repeated_text(self.user_id))
        return _OCTETS_2.pack(flags) + b"".join(pieces)

    @classmethod
    def decoded(cls, data: bytes) -> Properties:
        """Of a message that came from anybody: what is missing or not text is None; all of them
        are, if they cannot be read.

        What is in the headers is not checked. They are shared: not to be changed.
        """
        (flags,) = _OCTETS_2.unpack_from(data)
        at = _OCTETS_2.size
        found: list[Any] = [*cls(), None]
        try:
            for place, read in _layout(flags):
                found[place], at = read(data, at)
        except Exception:  # noqa: BLE001  # pika's many words for "cannot be decoded"
            return cls()
        return cls(*found[:-1]) if at <= len(data) else cls()


class Delivery(NamedTuple):
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


# Writing


def _short_text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > 255:
        raise ValueError(f"{text[:40]!a}… has {len(raw)} bytes; AMQP carries at most 255 there")
    return bytes((len(raw),)) + raw


_repeated_text = lru_cache(maxsize=1024)(_short_text)


def _long(kind: bytes, raw: bytes) -> bytes:
    return kind + _OCTETS_4.pack(len(raw)) + raw


def _table(values: Mapping[str, Any]) -> bytes:
    return _long(b"", b"".join(_short_text(key) + _field(value) for key, value in values.items()))


def _field(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        return _long(b"S", value.encode())
    if kind is int and -(2**63) <= value < 2**63:
        return b"l" + _SIGNED_8.pack(value)
    if kind is list or kind is tuple:
        return _long(b"A", b"".join(map(_field, value)))
    if kind is bool:
        return b"t\x01" if value else b"t\x00"
    if kind is dict:
        return b"F" + _table(value)
    if value is None:
        return b"V"
    raise ValueError(f"{value!a} cannot be a header")


# Reading: from an offset, to a value and the offset behind it


def _read_text(data: bytes, at: int) -> tuple[str | None, int]:
    start, end = at + 1, at + 1 + data[at]
    try:
        return data[start:end].decode(), end
    except UnicodeDecodeError:
        return None, end


def _read_octet(data: bytes, at: int) -> tuple[int, int]:
    return data[at], at + 1


def _read_timestamp(data: bytes, at: int) -> tuple[int, int]:
    return _OCTETS_8.unpack_from(data, at)[0], at + 8


def _read_table(data: bytes, at: int) -> tuple[Mapping[str, Any], int]:
    end = at + 4 + _OCTETS_4.unpack_from(data, at)[0]
    table = data[at:end]
    return (_known_table if len(table) <= _KEPT_TABLE else _decoded_table)(table), end


def _decoded_table(table: bytes) -> Mapping[str, Any]:
    from pika.data import decode_table  # this module must load without the extra `amqp`

    return decode_table(table, 0)[0] or _NO_HEADERS


_known_table = lru_cache(maxsize=1024)(_decoded_table)
"""Senders say the same in the headers of all that one action sends."""

_Read = Callable[[bytes, int], tuple[Any, int]]

_ALL: Final[tuple[tuple[str, _Read], ...]] = (
    ("content_type", _read_text),
    ("", _read_text),  # content encoding
    ("headers", _read_table),
    ("", _read_octet),  # delivery mode
    ("", _read_octet),  # priority
    ("correlation_id", _read_text),
    ("reply_to", _read_text),
    ("expiration", _read_text),
    ("message_id", _read_text),
    ("timestamp", _read_timestamp),
    ("type", _read_text),
    ("user_id", _read_text),
    ("", _read_text),  # application
    ("", _read_text),  # cluster
)
"""Every property that there is, in order, under the name that it has here, if any."""


@lru_cache
def _layout(flags: int) -> tuple[tuple[int, _Read], ...]:
    """The properties that follow these flags: their places among ours, one behind for what is none of
    them.
    """
    if flags & _MORE_FLAGS:
        raise ValueError("AMQP 0-9-1 has no such properties")
    ours = Properties._fields
    return tuple(
        (ours.index(name) if name else len(ours), read)
        for place, (name, read) in enumerate(_ALL)
        if flags & 1 << (15 - place)
    )

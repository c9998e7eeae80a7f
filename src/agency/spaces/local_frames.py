"""Frames: what travels on the sockets of a LocalSpace.

    length (4 bytes, of all that follows) | kind (1) | size of to (1) | to | size of from (1) | from | payload

The hub reads the ids and forwards the rest unread. A MESSAGE's payload is one JSON array, the
parts of the message and of its envelope. Long texts among the arguments stand behind it as they are:

    0 (1) | size of the array (4) | size of sizes (4) | the array | [[name, size], ...] | texts

A pickled class is carried on its one way from the application to a worker. Pure values; `local_link`
and `local_hub` move them.

A process whose memory was overwritten may write anything: whoever reads here gets a `ValueError`
for what is no frame, never another exception, and never waits for more than `LARGEST` bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache, partial
from socket import SO_SNDBUF, SOL_SOCKET, socket, socketpair
from typing import Any, Final

import pydantic_core

from agency.envelope import TELL, Envelope, Kind
from agency.errors import Failure
from agency.schema import MAX_MESSAGE_BYTES

__all__ = [
    "KIND",
    "LARGE",
    "LARGEST",
    "MESSAGES",
    "ROOM",
    "Frame",
    "FrameReader",
    "connection",
    "frame",
    "frames_in",
    "large_frame",
    "message_frame",
    "numbers_in",
    "place_of_large",
    "read_envelope",
    "read_message",
    "settled_frame",
    "split",
    "take_frame",
    "taken_up_to",
]

_LENGTH: Final = struct.Struct("!I")
KIND: Final = 4
"""Where in a frame its kind stands."""
_SEND_BUFFER: Final = 4 * 1024 * 1024
_POSITION: Final = struct.Struct("!Q")
_PLACE: Final = struct.Struct("!QQ")
_LAYOUT: Final = struct.Struct("!BII")
LARGE: Final = 64 * 1024
"""Bytes up to which a frame travels as it is. A larger one is put on the shelf, if there is room."""
LARGEST: Final = 8 * MAX_MESSAGE_BYTES
"""Bytes in a frame from a worker. Only the application sends larger ones: pickled arguments."""

_LONG: Final = 16 * 1024
"""Characters up to which a text is written as JSON. To look for what is written in another way there takes
0.27 ms of 1 MB, to copy it a tenth.
"""
_BESIDE: Final = 0
"""What a payload begins with that has long texts behind the JSON, which begins with `[`."""

_from_json = partial(pydantic_core.from_json, cache_strings="keys")
"""Ids, which come once, and what people write are not cached: the reading is no slower (by 0 to 2% faster),
and none of it is kept.
"""

_FIRST_BUFFER: Final = 4 * 1024  # most agents never need more, and there are two for each
_BUFFER: Final = 64 * 1024  # a larger one is mapped anew by the allocator for every read


class Frame(IntEnum):
    """What a frame is for."""

    MESSAGE = 1
    """An envelope, any way. `to` is the member it is for, or `*`."""
    DEAD_LETTER = 2
    """An envelope that was lost, to the application. `to` is the reason."""
    CONNECT = 3
    """From the application: an agent lives there. `to` is its id."""
    DISCONNECT = 4
    """From the application: it no longer does."""
    ADD = 5
    """From the application to a worker: build an agent. `to` is its id, `from` its place: the
    worker's number and the slot, which no other agent of the space ever has. The agent is known by
    its place in the following four, because its id may be another's by then.
    """
    ADDED = 6
    """From a worker: it is there. `from` is its place."""
    FAILED = 7
    """From a worker: it could not be built or set up, and has seen to none of its mail. `from` is its
    place, the payload says why.
    """
    REMOVE = 8
    """From the application to a worker: let an agent leave, or do not build it any more. `from` is
    its place. With a payload, it is waited for no more: its id may be another's from now on.
    """
    REMOVED = 9
    """From a worker: it has left. `from` is its place, `to` how many messages for it have arrived.
    """
    STOP = 10
    """From the application to a worker: let all agents leave and end. `to` is the worker's number, the
    payload the seconds that their actions in progress are given.
    """
    WORKER_GONE = 11
    """From the hub: a worker's process has ended. `to` is its number. If there is a payload, it has
    not ended, but writes what is no frame, and the payload says in which way.
    """
    TAKE = 12
    """From any process to the hub: read its outbox up to here. The payload is the position."""
    REPLY = 13
    """As MESSAGE, but lost if the mailbox is full: what answers somebody who does not wait."""
    ROOM = 14
    """From any process to the hub: has the mailbox of `to` room for one more? And the answer, at once
    or after FULL: it has, or the agent is gone.
    """
    FULL = 15
    """From the hub: it has not. ROOM will follow."""
    SETTLED = 16
    """From the hub: which messages has the agent whose place is `from` settled? And the answer: the
    application tells how many. A worker tells, unasked, the numbers that its progress does not show;
    asked, it has told all.
    """
    KEEP = 17
    """From the application: the agent is to come again if its process dies. Keep what it has not
    begun for the next ADD. `to` is its id.
    """
    KEEP_NO_MORE = 18
    """From the application: it will not come again. `to` is its id. Back from the hub, unchanged, when
    all that was kept for it is lost.
    """
    HALT = 19
    """From the application to all: begin with nothing more. From a worker: it begins with nothing
    more; `to` is its number when the hub tells so.
    """
    LARGE = 20
    """Any way: stands for a frame that lies on the shelf. The payload is where, and its size."""


MESSAGES: Final = frozenset({Frame.MESSAGE, Frame.REPLY})
"""The frames that go into a mailbox."""
ROOM: Final = frozenset({Frame.ROOM, Frame.FULL})
"""What the hub says of a mailbox."""


def connection() -> tuple[socket, socket]:
    """Two connected sockets for frames, with room for a large one if the system allows it: then it
    is written at once, and not in five parts with somebody to be woken for each.
    """
    ends = socketpair()
    for end in ends:
        end.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER)
    return ends


def frame(kind: Frame, to: bytes = b"", sender: bytes = b"", payload: bytes = b"") -> bytes:
    """One frame, ready to be written."""
    return _framed(b"%c%c%b%c%b" % (kind, len(to), to, len(sender), sender), payload)


def _framed(head: bytes, payload: bytes) -> bytes:
    return _LENGTH.pack(len(head) + len(payload)) + head + payload


@lru_cache(maxsize=1024)  # 1 µs, of 3 for the whole frame of a message
def _message_head(kind: Frame, to: str, sender: str) -> bytes:
    return frame(kind, to.encode(), sender.encode())[_LENGTH.size :]


def split(data: bytes) -> tuple[int, bytes, bytes, int]:
    """The kind, `to`, `from` and the position of the payload of one whole frame.

    Raises:
        ValueError: it is no frame.
    """
    try:
        after_to = 6 + data[5]
        payload = after_to + 1 + data[after_to]
    except IndexError:
        raise ValueError("a frame without ids") from None
    if payload > len(data):
        raise ValueError("a frame whose ids are cut off")
    return data[KIND], data[6:after_to], data[after_to + 1 : payload], payload


def take_frame(position: int) -> bytes:
    """Tells the hub to read the outbox up to a position."""
    return _TAKE + _POSITION.pack(position)


def taken_up_to(data: bytes) -> int:
    """The position in a frame made by `take_frame`. Raises ValueError if it is none."""
    if len(data) != len(_TAKE) + _POSITION.size:
        raise ValueError("a frame without its position")
    position: int = _POSITION.unpack_from(data, len(_TAKE))[0]
    return position


def large_frame(begin: int, size: int) -> bytes:
    """Stands for a frame of that size that lies on the shelf."""
    return frame(Frame.LARGE, payload=_PLACE.pack(begin, size))


def place_of_large(data: bytes) -> tuple[int, int]:
    """Where the frame lies that one made by `large_frame` stands for, and its size. Raises ValueError if
    it is none.
    """
    if len(data) != len(_LARGE) + _PLACE.size:
        raise ValueError("a large frame without its place")
    begin, size = _PLACE.unpack_from(data, len(_LARGE))
    return begin, size


def settled_frame(place: bytes, numbers: Iterable[int]) -> bytes:
    """Tells the hub which messages are settled."""
    return frame(Frame.SETTLED, b"", place, b"".join(map(_POSITION.pack, numbers)))


def numbers_in(data: bytes, payload: int) -> list[int]:
    """The numbers in a frame made by `settled_frame`. Raises ValueError if they are none."""
    if (len(data) - payload) % _POSITION.size:
        raise ValueError("a number that is cut off")
    return [number for (number,) in _POSITION.iter_unpack(data[payload:])]


def message_frame(envelope: Envelope, kind: Frame | None = None, to: str | None = None) -> bytes:
    """The frame that carries an envelope to the receiver of its message, unless `kind` and `to` say
    otherwise.
    """
    if kind is None:
        is_reply = envelope.correlation_id is not None and envelope.kind is TELL
        kind = Frame.REPLY if is_reply else _MESSAGE
    head = _message_head(kind, to or envelope.to, envelope.sender)
    args, whole = envelope.args, envelope.whole
    texts: dict[str, bytes] = {}
    if args and (envelope.weight or envelope.correlation_id is not None):  # answers are not weighed
        args, texts = _lifted(args)
    payload = pydantic_core.to_json(
        (
            envelope.to,
            envelope.sender,
            envelope.name,
            args,
            envelope.id,
            envelope.kind._value_,  # a plain text: an enum costs pydantic 2 µs
            envelope.correlation_id,
            envelope.failure,
            envelope.chain,
            envelope.via,
            envelope.hops,
            envelope.deadline,
            envelope.trace,
            envelope.broadcasts,
            whole and {name: value for name, value in whole.items() if name in _OTHERS},
        )
    )
    return _framed_beside(head, payload, texts) if texts else _framed(head, payload)


def _lifted(args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The arguments without the long texts among them, and these, by their names."""
    texts = {
        name: value.encode()
        for name, value in args.items()
        if type(value) is str and len(value) > _LONG
    }
    return ({**args, **dict.fromkeys(texts)} if texts else args), texts


def _framed_beside(head: bytes, json: bytes, texts: dict[str, bytes]) -> bytes:
    sizes = pydantic_core.to_json([(name, len(text)) for name, text in texts.items()])
    payload = (_LAYOUT.pack(_BESIDE, len(json), len(sizes)), json, sizes, *texts.values())
    return b"".join((_LENGTH.pack(len(head) + sum(map(len, payload))), head, *payload))


def _read_beside(data: bytes, payload: int) -> list[Any]:
    _, length, length_of_sizes = _LAYOUT.unpack_from(data, payload)
    begin = payload + _LAYOUT.size
    after_json = begin + length
    fields: list[Any] = _from_json(data[begin:after_json])
    args = fields[_ARGS]
    begin = after_json + length_of_sizes
    with memoryview(data) as view:
        for name, size in _from_json(data[after_json:begin]):
            args[name] = str(view[begin : begin + size], "utf-8")
            begin += size
    return fields


def read_envelope(data: bytes, payload: int) -> Envelope:
    """The envelope in a frame made by `message_frame`.

    The message is not validated again: the sender's process has frozen it, and only processes of
    the same application have this socket.

    Raises:
        ValueError: there is none in it.
    """
    try:
        fields: list[Any] = (
            _from_json(data[payload:]) if data[payload] != _BESIDE else _read_beside(data, payload)
        )
        (
            to,
            sender,
            name,
            args,
            envelope_id,
            kind,
            correlation_id,
            failure,
            chain,
            via,
            hops,
            deadline,
            trace,
            broadcasts,
            others,
        ) = fields
        if failure is not None:
            failure = Failure.read(failure)
        envelope = Envelope(
            to,
            sender,
            name,
            args,
            envelope_id,
            _KINDS[kind],
            correlation_id,
            failure,
            tuple(chain),
            tuple(via),
            hops,
            deadline,
            trace,
            broadcasts,
        )
        if others:
            envelope.message.update(others)
        return envelope
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"a frame without an envelope: {error}") from None


def read_message(data: bytes, sender: bytes, payload: int) -> Envelope:
    """The envelope in a MESSAGE or a REPLY, from the sender in the frame's head: the hub has seen to it
    that this one is an agent of the process that wrote the frame.

    Raises:
        ValueError: there is none in it, or it speaks for another.
    """
    envelope = read_envelope(data, payload)
    if str(envelope.sender).encode() != sender:
        raise ValueError(f"a message in the name of {envelope.sender!a}, from another")
    return envelope


_TAKE: Final = frame(Frame.TAKE, payload=bytes(_POSITION.size))[: -_POSITION.size]
_LARGE: Final = frame(Frame.LARGE)
_ARGS: Final = 3
"""Where in the array the arguments stand."""
_OTHERS: Final = frozenset({"id", "meta"})
"""What a message may have besides."""
_KINDS: Final = {str(kind): kind for kind in Kind}
_MESSAGE: Final = Frame.MESSAGE
_KINDS_OF_FRAME: Final = frozenset(Frame)


def frames_in(data: bytes) -> Iterator[bytes]:
    """The frames that the data, some whole ones, consists of. Raises ValueError for the rest that is
    none.
    """
    start, end = 0, len(data)
    while start < end:
        if end - start < _LENGTH.size:
            raise ValueError("a frame without its length")
        stop = start + _LENGTH.size + _LENGTH.unpack_from(data, start)[0]
        if stop > end:
            raise ValueError("a frame that is cut off")
        yield data[start:stop]
        start = stop


class FrameReader:
    """Reads frames from one socket. One that the end of the stream cuts off is never seen.

    Args:
        largest: bytes in a frame that will be read; None to read any.
    """

    __slots__ = ("_buffer", "_end", "_largest", "_start")

    def __init__(self, largest: int | None = None) -> None:
        self._largest = largest
        self._buffer = bytearray(_FIRST_BUFFER)
        self._start = 0
        self._end = 0

    def fill(self, source: socket) -> bool:
        """Read once. Returns False at the end of the stream. Blocks if the socket does.

        Raises:
            BlockingIOError: the socket does not block and there is nothing.
        """
        if self._end == len(self._buffer):
            self._make_room()
        with memoryview(self._buffer) as view:
            try:
                count = source.recv_into(view[self._end :])
            except ConnectionError:
                return False
        self._end += count
        return count > 0

    def frames(self) -> Iterator[bytes]:
        """The whole frames read so far, each once.

        Raises:
            ValueError: what has come of the next one shows that it is none, or is too large.
        """
        buffer = self._buffer
        view = memoryview(buffer)  # a slice of the buffer itself would be a copy more
        while self._end - self._start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, self._start)
            stop = self._start + _LENGTH.size + length
            if stop > self._end:
                self._check_beginning(length)
                return
            data = bytes(view[self._start : stop])
            self._start = stop
            yield data
        if self._start == self._end:
            self._start = self._end = 0
            if len(buffer) > _BUFFER:
                self._buffer = bytearray(_BUFFER)

    def _check_beginning(self, length: int) -> None:
        if self._largest is not None and length > self._largest:
            raise ValueError(f"a frame of {length} bytes")
        kind = self._start + KIND
        if kind < self._end and self._buffer[kind] not in _KINDS_OF_FRAME:
            raise ValueError(f"a frame of kind {self._buffer[kind]}")

    def _make_room(self) -> None:
        """Move what is left to the front; if that is a frame larger than the buffer, get a buffer
        that holds it.
        """
        left = self._buffer[self._start : self._end]
        size = _BUFFER
        if len(left) >= _LENGTH.size:
            size = max(size, _LENGTH.size + _LENGTH.unpack_from(left)[0])
        fresh = bytearray(max(size, len(left) + 1))
        fresh[: len(left)] = left
        self._buffer, self._start, self._end = fresh, 0, len(left)

"""A link: one process's end of its connection to the hub.

What is sent is put into memory that the hub shares (`local_memory`), where it is safe, and the hub is
told by the socket: at once if somebody waits, otherwise together with what follows. What arrives comes
by the socket. A large frame lies in that memory on either way, and a small one in its place says where.
Used by the application (`local_space`) and by workers (`local_worker`); the hub has its own way, which
never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from mmap import mmap
from typing import Final

from agency import lifetime
from agency.agent import handling
from agency.envelope import Envelope
from agency.errors import MailboxFull, NotAccepted
from agency.schema import BROADCAST
from agency.spaces.local_frames import (
    KIND,
    LARGE,
    Frame,
    FrameReader,
    frame,
    large_frame,
    message_frame,
    place_of_large,
    take_frame,
)
from agency.spaces.local_memory import FROM_HUB, FULL, TO_HUB, Outbox, Shelf
from agency.spaces.local_relay import Relay
from agency.threads import take_from

__all__ = ["Link"]

logger = logging.getLogger(__name__)

_PAUSE: Final = 0.001
"""Seconds between two tellings of the hub of which the second can wait. To tell it for each message
cost 11 µs of CPU of 23, in the processes of sender, hub and receiver together.
"""

_SHORT_PAUSE: Final = 0.0003
"""The same if somebody waits. With the long one, a hundred requests at once and their answers travelled
all together, and the two sides worked in turn: 37,000 a second, not 60,000.
"""

_LARGE: Final = int(Frame.LARGE)

_ANSWER_TIME: Final = 5.0
"""Seconds that the hub is given to say whether a mailbox has room, which takes it some µs."""

_END_TIME: Final = 5.0
"""Seconds that the thread that reads is given to see that it shall not, which takes it some µs: it may
not be there, if the system starts no more threads.
"""


class Link:
    """A connection to the hub. All methods may be called from any thread.

    Args:
        end: this process's end of the socket; the link owns it.
        memory: shared with the hub.
        relay: the threads, one of which will read.
        on_frame: called for each frame, in order, on the thread that reads. Must not wait for
            another frame.
        on_end: called once when nothing more will be read, on the same thread: the hub is gone, or what
            came could not be taken in, because there is no memory for it. Not after `stop_reading`.
        patience: seconds that the current thread may wait for room for an envelope.
    """

    def __init__(
        self,
        end: socket.socket,
        memory: mmap,
        relay: Relay,
        on_frame: Callable[[bytes], None],
        on_end: Callable[[], None],
        *,
        patience: Callable[[Envelope], float],
    ) -> None:
        self._socket = end
        self._relay = relay
        self._on_frame = on_frame
        self._on_end = on_end
        self._incoming = FrameReader()
        self._outbox = Outbox(memory)
        self._shelf = Shelf(memory, TO_HUB)
        self._shelf_from_hub = Shelf(memory, FROM_HUB)
        self.is_awaited = self._outbox.is_awaited
        """Tells whether the hub waits for messages to be settled here. Then `flush` tells it also if
        nothing was sent.
        """
        self._writing = threading.Lock()  # guards what goes to the hub, and what follows
        self._told = 0
        """Up to where the hub was told to read."""
        self._told_at = 0.0
        self._is_flush_due = False
        """Whether a thread is on its way to flush."""
        self._requesting: set[asyncio.AbstractEventLoop] = set()
        self._patience = patience
        self._rooms: dict[str, list[queue.SimpleQueue[bool]]] = {}
        """Who waits for room in an agent's mailbox."""
        self._rooms_lock = threading.Lock()
        self._closed = False
        self._is_reading = True
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to read."""
        self._relay.run(lambda: self._relay.read(self._socket, self._read))

    # To the hub. When one of these returns, what was sent survives this process.

    def send(self, data: bytes) -> None:
        """Hand a frame to the hub.

        Waits while the socket is full, which the hub empties without waiting for anybody.

        Raises:
            NotAccepted: the hub is gone.
        """
        with self._writing:
            self._put(data)
            self._tell()

    def send_later(self, data: bytes) -> None:
        """As `send`, but the caller sees to it that `flush` or `flush_soon` is called in a moment."""
        with self._writing:
            self._put(data)

    def post(self, envelope: Envelope) -> None:
        """Send an envelope. The hub is told at once if the sender is going to wait for the answer,
        or speaks outside of an action; otherwise within milliseconds, together with what else the
        action sends. If the receiver's mailbox is full, waits for room.

        Raises what `send` raises, and:
            MailboxFull: there was no room in time.
        """
        if self._outbox.words[FULL] and envelope.correlation_id is None:
            self._wait_if_full(envelope, envelope.message["to"])
        if self._is_urgent(envelope):
            self.send(message_frame(envelope))
        else:
            self.send_later(message_frame(envelope))
            self.flush_soon(_SHORT_PAUSE if envelope.wants_answer else _PAUSE)

    def flush(self) -> None:
        """Tell the hub of what it was not told of yet. If it is gone, who reads will notice."""
        if self._outbox.written != self._told or self._outbox.is_awaited():
            with self._writing, contextlib.suppress(NotAccepted):
                if not self._closed:
                    self._tell()

    def flush_soon(self, pause: float = _SHORT_PAUSE) -> None:
        """`flush`, now or within milliseconds, even if this thread goes on computing. Now, if the last
        time was `pause` seconds ago.
        """
        if self._outbox.written == self._told and not self.is_awaited():
            return
        if time.monotonic() - self._told_at > pause:
            self.flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._relay.run(self._flush_when_due)

    def hear_of_room(self, agent_id: str, *, has_room: bool) -> None:
        """What the hub says of a mailbox that somebody here wants to send to."""
        with self._rooms_lock:
            for waiting in self._rooms.get(agent_id, ()):
                waiting.put(has_room)

    def _wait_if_full(self, envelope: Envelope, to: str) -> None:
        if to == BROADCAST or not self._outbox.may_be_full(to):
            return
        if self._relay.is_reading():
            raise MailboxFull(f"the mailbox of {to!a} is full")
        limit = time.monotonic() + self._patience(envelope)
        answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        with self._rooms_lock:
            self._rooms.setdefault(to, []).append(answers)
        try:
            self.send(frame(Frame.ROOM, to.encode()))
            self._relay.fill_seat()
            has_room = take_from(answers, _ANSWER_TIME)  # the hub waits for nobody
            while not has_room:
                with lifetime.interruptible():
                    has_room = take_from(answers, max(0.0, limit - time.monotonic()))
        except queue.Empty:
            raise MailboxFull(f"the mailbox of {to!a} is full") from None
        finally:
            with self._rooms_lock:
                self._rooms[to].remove(answers)
                if not self._rooms[to]:
                    del self._rooms[to]

    def _flush_when_due(self) -> None:
        self._is_flush_due = False
        self.flush()

    def _is_urgent(self, envelope: Envelope) -> bool:
        if envelope.wants_answer:
            return not self._is_second_request()
        return handling.get() is None

    def _is_second_request(self) -> bool:
        """Whether this thread runs an event loop whose tasks may be about to make more requests: one
        of them has made one in this round of the loop.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if loop in self._requesting:
            return True
        self._requesting.add(loop)
        loop.call_soon(self._requesting.discard, loop)
        return False

    def _put(self, data: bytes) -> None:
        if self._closed:
            raise NotAccepted("the space's exchange of messages has ended")
        if len(data) > LARGE:
            begin = self._shelf.put(data)
            if begin is not None:
                data = large_frame(begin, len(data))
        if not self._outbox.put(data):
            self._tell()
            self._write(data)

    def _tell(self) -> None:
        self._told = self._outbox.written
        self._told_at = time.monotonic()
        self._write(take_frame(self._told))

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise NotAccepted(
                f"the space's exchange of messages has ended: {error.strerror}"
            ) from None

    # From the hub

    def stop_reading(self) -> None:
        """Take nothing more in; wait for the thread that reads, for a while, unless this is it. Idempotent."""
        self._is_reading = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
        if not self._relay.is_reading():
            self._ended.wait(_END_TIME)

    def close(self) -> None:
        """`stop_reading`, and send nothing more either. Idempotent."""
        self.stop_reading()
        with self._writing:
            self._closed = True
            self._socket.close()
            self._outbox.close()
            self._shelf.close()
            self._shelf_from_hub.close()

    def stay_with_parent(self) -> None:
        """Called in a forked child: nothing that is sent there may get to the hub."""
        self._writing = threading.Lock()  # another thread may have held it
        self._closed = True
        self._socket.close()

    def _read(self) -> bool:
        try:
            if self._is_reading and self._incoming.fill(self._socket):
                for data in self._incoming.frames():
                    if data[KIND] != _LARGE:
                        self._on_frame(data)
                    elif not self._closed:  # by what came before
                        self._on_frame(self._shelf_from_hub.take(*place_of_large(data)))
                return True
        except BaseException:  # noqa: BLE001  # whatever it is, who went on would be deaf in silence
            try:
                if self._is_reading:
                    logger.exception(
                        "nothing more can be read from the space's exchange of messages"
                    )
            finally:
                self._end()
            return False
        self._end()
        return False

    def _end(self) -> None:
        self._ended.set()
        if self._is_reading:
            self._on_end()

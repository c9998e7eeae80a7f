"""The memory that a process of a LocalSpace shares with the hub.

    from the start      the outbox: some words, then a ring of bytes
    from `_BOARD`       the board: a byte for each mailbox that is full, by `place_on_board`
    from `_PROGRESS`    a worker's progress: two words for each agent that it ever had
    from `_SHELVES`     a shelf for large frames to the hub, and one for those from it

All are written at the price of a store, and the hub reads them also after the death of the process.
Each word has one writer. Aligned words of the machine's own size are written in one piece.
"""

from __future__ import annotations

import os
from functools import lru_cache
from mmap import mmap
from typing import Final
from zlib import crc32

__all__ = [
    "FROM_HUB",
    "FULL",
    "SETTLED",
    "SLOTS",
    "STARTED",
    "TO_HUB",
    "WORDS_PER_SLOT",
    "Board",
    "Inlet",
    "Outbox",
    "Shelf",
    "new_memory",
    "place_on_board",
    "progress_in",
]

SLOTS: Final = 65536
"""Agents that one worker can ever have had. Their memory is taken only as they come."""

WORDS_PER_SLOT: Final = 2
STARTED: Final = 0
"""Word of an agent's slot: the number of the last message that it started."""
SETTLED: Final = 1
"""Word of an agent's slot: every message up to this number is settled."""

_WRITTEN: Final = 0
"""Word of the outbox: up to where the process has written, in bytes from the beginning of time."""
_TAKEN: Final = 1
"""Word of the outbox: up to where the hub has read."""
_AWAITED: Final = 2
"""Word of the outbox: whether somebody waits for room in a mailbox of this process."""
FULL: Final = 3
"""Word of the outbox: how many mailboxes are full, anywhere."""
_TAKEN_FROM_SHELF: Final = 4
"""Word for each shelf: how many frames the end that takes has ever taken."""
_RING: Final = 64
_RING_SIZE: Final = 256 * 1024
_BOARD: Final = 384 * 1024
_BOARD_SIZE: Final = 4096
_PROGRESS: Final = 512 * 1024
_PROGRESS_SIZE: Final = 8 * WORDS_PER_SLOT * SLOTS
_SHELVES: Final = _PROGRESS + _PROGRESS_SIZE
_SHELF_SIZE: Final = 4 * 1024 * 1024
_SIZE: Final = _SHELVES + 2 * _SHELF_SIZE

TO_HUB: Final = 0
FROM_HUB: Final = 1


def new_memory() -> int:
    """Memory to be shared, all zero, as an open file. It is taken from the machine as it is used."""
    memory = os.memfd_create("agency") if hasattr(os, "memfd_create") else _unnamed_file()
    os.ftruncate(memory, _SIZE)
    return memory


@lru_cache(maxsize=1024)
def place_on_board(agent_id: str) -> int:
    """Where on the board it stands if the agent's mailbox is full. Several agents may share a place."""
    return crc32(agent_id.encode()) % _BOARD_SIZE


def progress_in(memory: mmap) -> memoryview:
    """The words in which a worker notes how far its agents have come."""
    return _view(memory, _PROGRESS, _PROGRESS_SIZE).cast("Q")


class Outbox:
    """The end at which a process puts in what it sends. What is in survives the process.

    Not thread-safe.
    """

    __slots__ = ("_board", "_ring", "words", "written")

    def __init__(self, memory: mmap) -> None:
        self._board = _view(memory, _BOARD, _BOARD_SIZE)
        self.words = _view(memory, 0, _RING).cast("Q")
        """To be read, by the names above."""
        self._ring = _view(memory, _RING, _RING_SIZE)
        self.written = 0
        """How many bytes were ever put in."""

    def put(self, data: bytes) -> bool:
        """Put one frame in, whole or not at all. False if there is no room for it."""
        written = self.written + len(data)
        if written - self.words[_TAKEN] > _RING_SIZE:
            return False
        begin = self.written % _RING_SIZE
        end = begin + len(data)
        if end <= _RING_SIZE:
            self._ring[begin:end] = data
        else:
            cut = _RING_SIZE - begin
            self._ring[begin:] = data[:cut]
            self._ring[: end - _RING_SIZE] = data[cut:]
        self.written = self.words[_WRITTEN] = written
        return True

    def is_awaited(self) -> bool:
        """Whether the hub wants to be told of every message that is settled here."""
        return self.words[_AWAITED] != 0

    def may_be_full(self, agent_id: str) -> bool:
        """If any mailbox is full, whether this agent's is, as far as can be seen from here: it may have
        room again, and the hub knows.
        """
        return self._board[place_on_board(agent_id)] != 0

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        words, self.words = self.words, memoryview(bytes(_RING)).cast("Q")
        words.release()
        self._board.release()
        self._ring.release()


class Inlet:
    """The hub's end of another process's outbox."""

    __slots__ = ("_ring", "_taken", "_words")

    def __init__(self, memory: mmap) -> None:
        self._words = _view(memory, 0, _RING).cast("Q")
        self._ring = _view(memory, _RING, _RING_SIZE)
        self._taken = 0

    def take(self, up_to: int) -> bytes:
        """The frames up to there that were not taken yet.

        Raises:
            ValueError: there cannot be that many in the ring.
        """
        if up_to == self._taken:
            return b""
        if not 0 < up_to - self._taken <= _RING_SIZE:
            raise ValueError(f"{up_to - self._taken} bytes in the ring")
        begin, end = self._taken % _RING_SIZE, up_to % _RING_SIZE
        ring = self._ring
        data = b"".join([ring[begin:end]] if begin < end else [ring[begin:], ring[:end]])
        self._taken = self._words[_TAKEN] = up_to
        return data

    def take_all(self) -> bytes:
        """All frames that are in: for the end, when the process can put in no more. Raises what
        `take` raises.
        """
        return self.take(self._words[_WRITTEN])


class Shelf:
    """One end of the shelf on which large frames lie from when one side puts them there until the other
    takes them, in the same order. What lies there survives the process.

    When all were taken, the next one goes to the front again: so no more memory is ever used than what
    was under way at once. Not thread-safe.

    Args:
        memory: shared between the two ends.
        way: `TO_HUB` or `FROM_HUB`.
    """

    __slots__ = ("_end", "_frames", "_shelf", "_taken")

    def __init__(self, memory: mmap, way: int) -> None:
        self._shelf = _view(memory, _SHELVES + way * _SHELF_SIZE, _SHELF_SIZE)
        self._taken = _view(memory, 8 * (_TAKEN_FROM_SHELF + way), 8).cast("Q")
        self._frames = 0
        """How many were ever put or taken at this end."""
        self._end = 0
        """Behind the last one that was put."""

    def put(self, data: bytes) -> int | None:
        """Put one frame there. Returns where it lies, or None if there is no room for it.

        Raises:
            ValueError: the other end has taken more than there were.
        """
        taken = self._taken[0]
        if taken == self._frames:
            self._end = 0
        elif taken > self._frames:
            raise ValueError(f"{taken} large frames taken of {self._frames}")
        begin, end = self._end, self._end + len(data)
        if end > _SHELF_SIZE:
            return None
        self._shelf[begin:end] = data
        self._end = end
        self._frames += 1
        return begin

    def take(self, begin: int, size: int) -> bytes:
        """Take the next one, which lies there.

        Raises:
            ValueError: there cannot be one.
        """
        if begin + size > _SHELF_SIZE:
            raise ValueError(f"{size} bytes at {begin} of a shelf")
        data = bytes(self._shelf[begin : begin + size])
        self._frames += 1
        self._taken[0] = self._frames
        return data

    def close(self) -> None:
        """Let go of the memory, and take and put nothing more. Idempotent."""
        self._shelf.release()
        self._taken.release()


class Board:
    """The hub's end of what it shows a process: which mailboxes are full, and whether it waits."""

    __slots__ = ("_board", "_words")

    def __init__(self, memory: mmap) -> None:
        self._words = _view(memory, 0, _RING).cast("Q")
        self._board = _view(memory, _BOARD, _BOARD_SIZE)

    def show(self, place: int, is_full: bool, how_many: int) -> None:
        """A mailbox at this place is full, or none is any more; so many are, anywhere."""
        self._board[place] = is_full
        self._words[FULL] = how_many

    def wait(self, is_awaited: bool) -> None:
        """The process is to tell of every message that is settled, or no more."""
        self._words[_AWAITED] = is_awaited


def _view(memory: mmap, begin: int, size: int) -> memoryview:
    with memoryview(memory) as whole:
        return whole[begin : begin + size]


def _unnamed_file() -> int:
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())

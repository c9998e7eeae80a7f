"""The mailbox: the messages that wait for one agent, how many may, and who waits until there is room.

What becomes of a message that is too many is not for the mailbox to decide: `agency.resident` asks
it, and lets the sender wait, or refuses. Its runner (`agency.runners`) takes messages out.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import deque
from typing import Any, Final

from agency import lifetime
from agency.envelope import MAILBOX_BYTES
from agency.threads import take_from

__all__ = ["Mailbox"]

_LOCK: Final = threading.Lock()
"""Guards what is written in mailboxes, but for the messages. One for all: it is held for moments, and
rarely.
"""

if hasattr(os, "register_at_fork"):  # or a child might have it locked for ever
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )


class Mailbox(deque[Any]):
    """What waits, in order of arrival. All methods may be called from any thread.

    To put something in is possible at any time. It is full when `len(mailbox) >= mailbox.most`.
    """

    __slots__ = ("_aside", "_bound", "_bytes", "_most_bytes", "_waiting", "is_watched", "most")

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.most = bound
        """How many messages may wait at present: none, while those that do have too many bytes."""
        self.is_watched = False
        """Whether `taken` is to be called for each message that is taken out."""
        self._bound = bound
        self._aside = 0
        self._most_bytes = MAILBOX_BYTES
        self._bytes = 0
        self._waiting: list[queue.SimpleQueue[None]] = []

    def has_room(self) -> bool:
        """Whether one more may wait."""
        return len(self) < self.most

    def weigh(self, weight: int) -> None:
        """So many bytes are put in."""
        if weight:
            with _LOCK:
                self._bytes += weight
                self._adjust()

    def taken(self, weight: int) -> None:
        """A message of so many bytes was taken out."""
        with _LOCK:
            self._bytes -= weight
            self._adjust()
        self.hand_on()

    def put_aside(self, weight: int) -> None:
        """A message that was taken out waits for something else, and needs its room until then."""
        with _LOCK:
            self._aside += 1
            self._bytes += weight
            self._adjust()

    def put_among(self) -> None:
        """What was put aside is among the others again, as heavy as it was."""
        with _LOCK:
            self._aside -= 1
            self._adjust()
        self.hand_on()

    def hand_on(self) -> None:
        """Let one go on that waits, if there is room."""
        with _LOCK:
            if self._waiting and self.has_room():
                self._waiting.pop(0).put(None)
                self._adjust()

    def open_wide(self) -> None:
        """Nothing is refused any more: the agent leaves, and what comes is lost in another way."""
        with _LOCK:
            self._bound = self._most_bytes = sys.maxsize
            self._adjust()
            while self._waiting:
                self._waiting.pop(0).put(None)

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until one more may wait, `timeout` seconds at most. Returns whether it may. Whoever is
        let in calls `hand_on` when it has put its message in.
        """
        limit = time.monotonic() + timeout
        token: queue.SimpleQueue[None] = queue.SimpleQueue()
        with _LOCK:
            self._waiting.append(token)
            self._adjust()
        try:
            while not self.has_room():
                with lifetime.interruptible():
                    take_from(token, max(0.0, limit - time.monotonic()))
                if not self.has_room():  # somebody was faster
                    with _LOCK:
                        self._waiting.insert(0, token)
                        self._adjust()
        except queue.Empty:
            pass
        finally:
            self._wait_no_more(token)
        return self.has_room()

    def _wait_no_more(self, token: queue.SimpleQueue[None]) -> None:
        with _LOCK:
            try:
                self._waiting.remove(token)
            except ValueError:  # it was told to go on, and perhaps cannot
                pass
            self._adjust()
        self.hand_on()

    def _adjust(self) -> None:
        self.most = self._bound - self._aside if self._bytes < self._most_bytes else 0
        self.is_watched = bool(self._bytes or self._waiting)

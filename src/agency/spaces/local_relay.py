"""A relay: the threads of one process of a LocalSpace, of which one at a time reads from the hub.

To wake a thread takes 5 µs, and 25 if its processor sleeps. Between a message and its action, and
between an answer and the one who waits for it, none is woken up: 100 µs for a request, not 130. Above:
`local_link`, whose socket is read, and the spaces. Below: `agency.threads`.
"""

from __future__ import annotations

import contextvars
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from agency.calls import ThreadCall
from agency.threads import Crew

__all__ = ["Relay"]

_VACANCY: Final = 0.002
"""Seconds after which the guard takes a seat that nobody wants, or up to twice as many. It looks so often: with
1 ms, a tenth fewer messages a second got through.
"""

_ROUNDS: Final = 10
"""After so many times `_VACANCY` in which nobody has left the seat, the guard leaves."""

_LONGEST_POLL: Final = 86_400.0
"""Seconds; the system takes no more than 24 days."""


class Relay(Crew):
    """A crew of which one thread at a time has the seat: it reads.

    The first job that arises from what it has read it does itself. If the last one was brief, it expects
    this one to be, and leaves the seat empty until it is back; otherwise another thread reads on. If it has
    read an answer, it leaves the seat to the thread that waited for it, which is likely to ask again and
    then reads for itself (`read_for`). Should they do something else, a guard takes the seat within four
    milliseconds.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._read_once: Callable[[], bool]
        self._readable = select.poll()
        self._bell: tuple[int, int] | None = None
        """A pipe that ends a visitor's waiting. Made when somebody visits for the first time, and kept as
        long as the process lives.
        """
        self._seat = threading.Lock()
        self._reader = 0
        """The thread that reads, while it does."""
        self._taker = 0
        """The same, if it may take a job."""
        self._arisen: Callable[[], None] | None = None  # used by who has the seat
        self._times_left = 0  # likewise
        self._guarded = threading.Lock()  # held by the guard
        self._off_duty: set[str] = set()
        """The names of threads that have no job but to read, or to wait until they shall."""
        self._waiters: set[ThreadCall] = set()
        """Those for which a thread of this crew waits."""
        self._has_visitor = False
        self._is_brief = False
        """Whether the last job took no longer than the seat may be empty."""

    def read(self, source: socket.socket, read_once: Callable[[], bool]) -> None:
        """To be run as a job: call `read_once`, which waits for what comes from the source, until it
        returns False.
        """
        self._read_once = read_once
        self._readable.register(source, select.POLLIN)
        self._sit()

    def read_for(self, call: ThreadCall, limit: float) -> None:
        """Wait for an answer, until that time of `time.monotonic` at most, and read meanwhile if nobody
        else does.
        """
        self._waiters.add(call)
        try:
            while not call.has_arrived() and (left := limit - time.monotonic()) > 0:
                if self._seat.acquire(blocking=False):
                    self._visit(call, limit)
                else:
                    call.sleep(left)
        finally:
            self._waiters.discard(call)
            if self._needs_guard():  # the seat was left to this call, or by it
                super().run(self._stand_by)

    def nudge(self) -> None:
        """Some call may have ended without anything being read."""
        if self._has_visitor and self._bell is not None:
            os.write(self._bell[1], b".")

    def fill_seat(self) -> None:
        """Somebody is going to wait for something that must be read, and does not read it himself."""
        if not self._seat.locked():
            super().run(self._sit)

    def run(self, job: Callable[[], None]) -> None:
        if self._taker == threading.get_ident() and self._arisen is None:
            self._arisen = job
        else:
            super().run(job)

    def join(self, timeout: float) -> list[str]:
        """As `Crew.join`. To read, or to guard the seat, is no job."""
        return [name for name in super().join(timeout) if name not in self._off_duty]

    def is_reading(self) -> bool:
        """Whether this is the thread that reads."""
        return self._reader == threading.get_ident()

    def _sit(self) -> None:
        """Read, until there is a job to do, or somebody else reads, or there is nothing more to read."""
        me, name = threading.get_ident(), threading.current_thread().name
        self._off_duty.add(name)
        try:
            while self._seat.acquire(blocking=False):
                job, has_answered = None, False
                while job is None and not has_answered:
                    if not self._read(taker=me):
                        return  # with the seat: there is nothing to read for others either
                    job, self._arisen = self._arisen, None
                    has_answered = any(call.has_arrived() for call in list(self._waiters))
                self._leave()
                if job is not None:
                    self._do_oneself(job, name)
                elif self._needs_guard():
                    self._guard()
        finally:
            self._off_duty.discard(name)

    def _do_oneself(self, job: Callable[[], None], name: str) -> None:
        """Do a job that has arisen, having left the seat."""
        if not self._is_brief:
            super().run(self._sit)
        elif self._needs_guard():
            super().run(self._stand_by)
        begin = time.monotonic()
        self._off_duty.discard(name)
        job()
        self._off_duty.add(name)
        self._is_brief = time.monotonic() - begin < _VACANCY

    def _visit(self, call: ThreadCall, limit: float) -> None:
        """With the seat: read until the call has its answer, or the time is over. Jobs that arise are
        for others.
        """
        if self._bell is None:
            self._bell = os.pipe()
            self._readable.register(self._bell[0], select.POLLIN)
        self._has_visitor = True
        while not call.has_arrived() and (left := limit - time.monotonic()) > 0:
            events = self._readable.poll(math.ceil(min(left, _LONGEST_POLL) * 1000))
            if any(end == self._bell[0] for end, _ in events):
                os.read(self._bell[0], 512)
            # What is read has nothing to do with the action that waits.
            elif events and not contextvars.Context().run(self._read):
                return  # with the seat
        self._has_visitor = False
        self._leave()

    def _read(self, taker: int = 0) -> bool:
        self._reader, self._taker = threading.get_ident(), taker
        try:
            return self._read_once()
        finally:
            self._reader = self._taker = 0

    def _leave(self) -> None:
        self._times_left += 1
        self._seat.release()

    def _needs_guard(self) -> bool:
        """If the seat is empty, leave it to one who waits for an answer. Otherwise the caller becomes its
        guard, or sees to it that another does, unless there is one.
        """
        if self._seat.locked():
            return False
        for call in list(self._waiters):
            if not call.has_arrived():
                call.nudge()
                return False
        return self._guarded.acquire(blocking=False)

    def _guard(self) -> None:
        """Wait until the seat stays empty, or is taken by somebody who stays."""
        rounds = 0
        while rounds < _ROUNDS:
            times = self._times_left
            time.sleep(_VACANCY)
            if times != self._times_left:
                rounds = 0
            elif self._seat.locked():
                rounds += 1
            else:
                break
        self._guarded.release()

    def _stand_by(self) -> None:
        name = threading.current_thread().name
        self._off_duty.add(name)
        self._guard()
        self._sit()  # also if the seat was left in this moment, and not for another guard

"""Threads on demand: work gets a thread of its own at once, and an idle thread waits a while for
more. And a latch, for those who wait for an end.

No upper bound, because a job may block for as long as it likes and must never delay another; no
polling, and no thread at all where there is nothing to do. Used by `agency.runners`; one crew
belongs to one space.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from agency import lifetime

__all__ = ["GLANCE", "Crew", "Latch", "take_from"]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

KEEP_IDLE: Final = 5.0
"""Seconds that a thread without work waits for more before it ends."""

GLANCE: Final = 0.5
"""Seconds after which a wait of the main thread that may be long is begun anew. A signal that comes in
the moment before a lock is waited for is acted upon only when that wait ends."""


class _Worker:
    __slots__ = ("job", "wake")

    def __init__(self, job: Callable[[], None] | None) -> None:
        self.job = job
        """What it does, or is to do next."""
        self.wake = threading.Lock()
        self.wake.acquire()


class Crew:
    """An elastic set of daemon threads. All methods are thread-safe and none waits for a job,
    except `join`. If the system starts no more threads, jobs wait for those that there are.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count(1)
        self._idle: list[_Worker] = []
        self._threads: dict[threading.Thread, _Worker] = {}
        self._waiting: deque[Callable[[], None]] = deque()  # jobs that got no thread
        self._closed = False
        self._is_parents = False

    def run(self, job: Callable[[], None]) -> None:
        """Run the job on a thread: the one that became idle last, or a new one. What the job raises
        is logged.
        """
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(job)
            thread = threading.Thread(
                target=self._work,
                args=(worker,),
                name=f"{self._name}-{next(self._numbers)}",
                daemon=True,
            )
            self._threads[thread] = worker
            try:
                thread.start()
            except RuntimeError as error:
                self._threads.pop(thread, None)
                self._postpone(job, error)
        else:
            worker.job = job
            worker.wake.release()

    def _postpone(self, job: Callable[[], None], error: RuntimeError) -> None:
        if not self._waiting:
            logger.warning("%s: %s; jobs wait for one to be free", self._name, error)
        self._waiting.append(job)
        try:
            worker = self._idle.pop()  # since `run` looked
        except IndexError:
            return
        worker.job = self._do_what_waits
        worker.wake.release()

    def close(self) -> None:
        """Let idle threads end now and busy ones after their job. Jobs may still be given; they run
        as before.
        """
        self._closed = True
        while self._idle:
            try:
                worker = self._idle.pop()
            except IndexError:
                return
            worker.wake.release()

    def join(self, timeout: float) -> list[str]:
        """After `close`: wait for the threads to end, `timeout` seconds in all; returns the names
        of those that still have a job. One without a job may only wait for a processor.
        """
        limit = time.monotonic() + timeout
        this = threading.current_thread()
        waited_for = [
            (thread, worker)
            for thread, worker in list(self._threads.items())
            if thread is not this and thread.ident
        ]
        for thread, _ in waited_for:
            thread.join(max(0.0, limit - time.monotonic()))
        return [
            thread.name
            for thread, worker in waited_for
            if thread.is_alive() and worker.job is not None
        ]

    def stay_with_parent(self) -> None:
        """Called in a forked child, where none of the threads is, except perhaps the one that forked:
        if that comes back from its job, the child ends.
        """
        self._is_parents = True
        self._idle.clear()
        self._threads.clear()

    def _work(self, worker: _Worker) -> None:
        try:
            while worker.job is not None:
                self._do(worker.job)
                if self._is_parents:
                    lifetime.end_forked_child()
                worker.job = None
                self._do_what_waits()
                self._idle.append(worker)
                if self._waiting:  # since the line before the last
                    try:
                        self._idle.remove(worker)
                    except ValueError:
                        pass  # somebody has just taken this thread
                    else:
                        worker.job = self._do_what_waits
                        continue
                if self._closed:
                    self.close()  # it may have run just before this thread was there to be found
                if not worker.wake.acquire(timeout=KEEP_IDLE):
                    try:
                        self._idle.remove(worker)
                    except ValueError:
                        worker.wake.acquire()  # somebody has just taken this thread: its job is on the way
        finally:
            self._threads.pop(threading.current_thread(), None)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException:
            logger.exception("a job of %s raised; the thread goes on", self._name)

    def _do_what_waits(self) -> None:
        while self._waiting:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            self._do(job)


class Latch:
    """Opens once, for all who wait. Unlike with `threading.Event`, who waits may be interrupted by a
    signal handler that raises at any moment, and the latch can still be opened.
    """

    def __init__(self) -> None:
        self._is_open = False
        self._token: queue.SimpleQueue[None] = queue.SimpleQueue()  # each who waits hands it on

    def open(self) -> None:
        """Let everyone through, now and later. Never blocks."""
        self._is_open = True
        self._token.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open. Returns False if that took longer than `timeout` seconds."""
        if not self.is_open():
            try:
                take_from(self._token, timeout)
            except queue.Empty:
                return False
            finally:
                if self.is_open():
                    self._token.put(None)
        return True

    def is_open(self) -> bool:
        return self._is_open


def take_from(source: queue.SimpleQueue[Item], timeout: float | None) -> Item:
    """As `source.get(timeout=timeout)`, for the main thread: it does not overlook a signal."""
    limit = None if timeout is None else time.monotonic() + timeout
    while True:
        left = GLANCE if limit is None else min(GLANCE, limit - time.monotonic())
        try:
            return source.get(timeout=max(0.0, left))
        except queue.Empty:
            if limit is not None and time.monotonic() >= limit:
                raise

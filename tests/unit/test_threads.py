"""Threads on demand, also where there are no more; and the latch, whatever interrupts those who wait."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from agency.threads import Latch
from tests.programs import Program


class Interruption(Exception):
    pass


@pytest.fixture
def signal_that_raises() -> Iterator[signal.Signals]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interruption

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_jobs_wait_for_a_thread_where_the_system_starts_no_more() -> None:
    with Program(Path(__file__).parent / "programs" / "has_few_threads.py") as program:
        program.wait_for("40 jobs done, on fewer threads")
        program.wait_for("40 agents answer")
        program.wait_for("destroyed")
        assert program.end() == 0


def test_a_closed_latch_is_waited_for_no_longer_than_asked() -> None:
    assert not Latch().wait(0.01)


def test_an_open_latch_lets_everyone_through() -> None:
    latch = Latch()
    waiting = [threading.Thread(target=latch.wait) for _ in range(5)]
    for thread in waiting:
        thread.start()
    latch.open()
    for thread in waiting:
        thread.join()
    assert latch.wait(0)


def test_who_is_interrupted_at_any_moment_of_waiting_does_not_keep_a_latch_closed(
    signal_that_raises: signal.Signals,
) -> None:
    main = threading.main_thread().ident or 0
    begun: queue.SimpleQueue[None] = queue.SimpleQueue()

    def interrupt() -> None:
        begun.get()
        signal.pthread_kill(main, signal_that_raises)

    for _ in range(2000):
        latch = Latch()
        other = threading.Thread(target=interrupt)
        other.start()
        with contextlib.suppress(Interruption):
            begun.put(None)
            # Short, because a signal that comes just before a wait is acted upon after it only.
            latch.wait(0.001)
            other.join()
        other.join()
        opener = threading.Thread(target=latch.open)
        opener.start()
        opener.join()
        assert latch.wait(0)

"""Of a space's threads, those that an ending space waits for are told from those that have nothing to do."""

from __future__ import annotations

import queue
import socket
import threading

import pytest

from agency import threads
from agency.spaces.local_relay import Relay
from tests.programs import PATIENCE


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.setattr(threads, "KEEP_IDLE", 10 * PATIENCE)
    return Relay("relay")


def test_a_thread_with_a_job_is_named_and_an_idle_one_is_not(relay: Relay) -> None:
    idle, busy, over = (queue.SimpleQueue[threading.Thread](), threading.Event(), threading.Event())

    def job() -> None:
        busy.set()
        over.wait()

    relay.run(lambda: idle.put(threading.current_thread()))
    thread = idle.get(timeout=PATIENCE)
    while relay.join(0):
        pass
    assert thread.is_alive()
    relay.run(job)
    busy.wait(PATIENCE)
    assert len(relay.join(0)) == 1
    over.set()
    relay.close()
    assert relay.join(PATIENCE) == []
    assert not thread.is_alive()


def test_the_thread_that_reads_is_not_named_unless_it_does_a_job_that_it_has_read(
    relay: Relay,
) -> None:
    reading, arrived = threading.Event(), threading.Event()
    busy, over = threading.Event(), threading.Event()
    to_read = iter([True, False])

    def job() -> None:
        busy.set()
        over.wait()

    def read_once() -> bool:
        if next(to_read):
            reading.set()
            arrived.wait()
            relay.run(job)
            return True
        return False

    source, _ = socket.socketpair()
    relay.run(lambda: relay.read(source, read_once))
    reading.wait(PATIENCE)
    assert relay.join(0) == []
    arrived.set()
    busy.wait(PATIENCE)
    while len(relay.join(0)) > 1:  # another has read on
        pass
    assert len(relay.join(0)) == 1
    over.set()
    relay.close()
    assert relay.join(PATIENCE) == []

"""Which thread of a process reads: somebody always does, or will in a moment, and none is woken for it in vain."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest

from agency import threads
from agency.calls import ThreadCall
from agency.envelope import Envelope
from agency.errors import OutcomeUnknown, RequestTimeout
from agency.spaces.local_relay import Relay
from tests.programs import PATIENCE

AN_ANSWER = Envelope("a", "b", "response", {"data": None}, "1")


class Mail:
    """What a relay reads: each byte is a letter, for which something is done on the thread that read it."""

    def __init__(self, relay: Relay) -> None:
        self.read_by: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._relay = relay
        self._source, self._sender = socket.socketpair()
        self._effects: dict[bytes, Callable[[], None]] = {}

    def start(self) -> None:
        self._relay.run(lambda: self._relay.read(self._source, self._read_once))

    def send(self, letter: bytes, effect: Callable[[], None]) -> None:
        self._effects[letter] = effect
        self._sender.send(letter)

    def reader(self) -> str:
        """The name of the thread that has read the next letter."""
        return self.read_by.get(timeout=PATIENCE)

    def end(self) -> None:
        self._sender.close()
        self._relay.close()
        while self._relay.join(PATIENCE):
            pass
        self._source.close()

    def _read_once(self) -> bool:
        letter = self._source.recv(1)
        if letter:
            self.read_by.put(threading.current_thread().name)
            self._effects[letter]()
        return bool(letter)


@pytest.fixture
def mail(relay: Relay) -> Iterator[Mail]:
    mail = Mail(relay)
    mail.start()
    yield mail
    mail.end()


def nothing() -> None:
    """What most letters cause."""


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

    source, other = socket.socketpair()
    with source, other:
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


def test_another_thread_reads_on_while_a_job_goes_on(relay: Relay, mail: Mail) -> None:
    begun, over = queue.SimpleQueue[str](), threading.Event()

    def job() -> None:
        begun.put(threading.current_thread().name)
        over.wait()

    for letter in (b"a", b"b", b"c"):  # whether the job before was brief or not
        mail.send(letter, lambda: relay.run(job))
        reader = mail.reader()
        assert begun.get(timeout=PATIENCE) == reader
        mail.send(b"-", nothing)
        assert mail.reader() != reader
        over.set()
        while relay.join(0):
            pass
        over.clear()
        mail.send(b".", lambda: relay.run(nothing))
        mail.reader()


def test_who_has_done_a_brief_job_reads_on(relay: Relay, mail: Mail) -> None:
    for _ in range(200):
        mail.send(b"a", lambda: relay.run(nothing))
        first = mail.reader()
        mail.send(b"b", nothing)
        if mail.reader() == first:
            break
    else:
        pytest.fail("another thread was woken each time")


def test_who_waits_for_an_answer_reads_it_if_the_last_answer_was_its_own(
    relay: Relay, mail: Mail
) -> None:
    readers, names = set[str](), queue.SimpleQueue[str]()

    def ask() -> None:
        for call in [ThreadCall("b", None) for _ in range(500)]:
            mail.send(b"a", partial(call.put, AN_ANSWER))
            call.take(PATIENCE, relay)
            readers.add(mail.reader())
        names.put(threading.current_thread().name)

    relay.run(ask)
    assert names.get(timeout=PATIENCE) in readers
    mail.send(b"-", nothing)  # and when it has gone, there is somebody else
    mail.reader()


@pytest.mark.parametrize("timeout", [1e8, None])
def test_who_reads_for_an_answer_may_wait_for_years(
    relay: Relay, mail: Mail, timeout: float | None
) -> None:
    over = queue.SimpleQueue[str]()

    def ask() -> None:
        for call in [ThreadCall("b", None) for _ in range(20)]:
            mail.send(b"a", partial(call.put, AN_ANSWER))
            over.put(call.take(timeout, relay).name)

    relay.run(ask)
    assert [over.get(timeout=PATIENCE) for _ in range(20)] == ["response"] * 20


def test_all_who_wait_get_their_answers_whoever_reads_them(relay: Relay, mail: Mail) -> None:
    calls = {bytes([65 + number]): ThreadCall("b", None) for number in range(8)}
    answered = queue.SimpleQueue[bytes]()

    def ask(letter: bytes, times: int) -> None:
        for _ in range(times):
            mail.send(letter, partial(calls[letter].put, AN_ANSWER))
            calls[letter].take(PATIENCE, relay)
        answered.put(letter)

    for letter in calls:
        relay.run(partial(ask, letter, 100))
    assert {answered.get(timeout=PATIENCE) for _ in calls} == set(calls)


def test_who_reads_for_an_answer_hears_that_there_will_be_none(relay: Relay, mail: Mail) -> None:
    heard = queue.SimpleQueue[BaseException]()
    call = ThreadCall("b", None)

    def ask() -> None:
        first = ThreadCall("b", None)
        mail.send(b"a", partial(first.put, AN_ANSWER))
        first.take(PATIENCE, relay)  # from now on it reads for itself
        try:
            call.take(None, relay)
        except OutcomeUnknown as error:
            heard.put(error)

    relay.run(ask)
    mail.reader()
    call.put(OutcomeUnknown("the agent has left"))
    relay.nudge()
    assert str(heard.get(timeout=PATIENCE)) == "the agent has left"


def test_who_reads_for_an_answer_that_does_not_come_in_time_is_followed_by_another(
    relay: Relay, mail: Mail
) -> None:
    over = queue.SimpleQueue[str]()

    def ask() -> None:
        first = ThreadCall("b", None)
        mail.send(b"a", partial(first.put, AN_ANSWER))
        first.take(PATIENCE, relay)
        with suppress(RequestTimeout):
            ThreadCall("b", None).take(0.01, relay)
        over.put(threading.current_thread().name)

    relay.run(ask)
    mail.reader()
    asking = over.get(timeout=PATIENCE)
    mail.send(b"-", nothing)
    assert mail.reader() != asking

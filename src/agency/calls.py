"""Open calls: who waits for which answer.

One place knows correlation. The door of an agent's mailbox (`agency.resident`) offers each arriving
answer here first, so an action that waits for an answer is not blocked by its own serial agent.
Threads wait on a lock, tasks on a future; answers come from any thread.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Container
from typing import Any, Final, Protocol

from agency.envelope import PART, Envelope
from agency.errors import Failure, RequestError, RequestTimeout
from agency.lifetime import is_main_thread
from agency.schema import BROADCAST

__all__ = ["AsyncCall", "OpenCalls", "Reader", "ThreadCall"]

_NOTHING: Final = object()


class Reader(Protocol):
    """Where answers are read by those who wait for them."""

    def read_for(self, call: ThreadCall, limit: float) -> None:
        """Wait for the call's next answer, until that time of `time.monotonic` at most."""

    def fill_seat(self) -> None:
        """A task is going to wait for an answer: let another thread read."""

    def nudge(self) -> None:
        """Calls were ended without an answer."""


class ThreadCall:
    """A call that a thread waits for. Holds arrived answers until they are taken."""

    __slots__ = ("_arrived", "_wake", "message_id", "responder")

    def __init__(self, responder: str, message_id: str | None) -> None:
        self.responder = responder
        """The only agent whose answers count."""
        self.message_id = message_id
        """The `id` that the asking message carries, if any."""
        self._arrived: deque[Envelope | RequestError] = deque()
        self._wake = threading.Lock()
        self._wake.acquire()

    def put(self, arrived: Envelope | RequestError) -> None:
        """Hand over an answer, a part, or an error. Never blocks."""
        self._arrived.append(arrived)
        self.nudge()

    def nudge(self) -> None:
        """Let who waits have a look."""
        # One waiter, one who releases: the lock is only ever released when it is held.
        if self._wake.locked():
            try:
                self._wake.release()
            except RuntimeError:  # another answer released it between the two lines
                pass

    def has_arrived(self) -> bool:
        """Whether there is an answer to take."""
        return bool(self._arrived)

    def sleep(self, timeout: float) -> bool:
        """Wait for a nudge. False if none came within so many seconds."""
        return self._wake.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))

    def take(
        self, timeout: float | None, reader: Reader | None = None, limit: float | None = None
    ) -> Envelope:
        """Wait for the next answer. If there is a reader, the thread reads for itself; not the main
        thread, whom a signal may interrupt in the midst of it.

        The timeout begins now, unless it has begun before: then `limit` says when it ends, in seconds
        of `time.monotonic`.

        Raises:
            RequestTimeout: nothing arrived within `timeout` seconds.
            RequestError: the error that was put.
        """
        if limit is None:
            limit = math.inf if timeout is None else time.monotonic() + timeout
        if reader is not None and not self._arrived and not is_main_thread():
            reader.read_for(self, limit)
        while not self._arrived:
            if not self.sleep(max(0.0, limit - time.monotonic())) and not self._arrived:
                raise RequestTimeout(f'no answer from "{self.responder}" within {timeout} seconds')
        return _opened(self._arrived.popleft())


class AsyncCall:
    """A call that a task waits for. `put` may come from any thread; the rest belongs to the task's
    event loop.
    """

    __slots__ = ("_arrived", "_bell", "_waiter", "message_id", "responder")

    def __init__(self, responder: str, message_id: str | None, bell: Bell) -> None:
        self.responder = responder
        self.message_id = message_id
        self._bell = bell
        self._arrived: deque[Envelope | RequestError] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, arrived: Envelope | RequestError) -> None:
        """Hand over an answer, a part, or an error. Never blocks."""
        self._arrived.append(arrived)
        self._bell.ring(self)

    async def take(self, timeout: float | None, limit: float | None = None) -> Envelope:
        """Wait for the next answer. Means and raises what `ThreadCall.take` does."""
        if not self._arrived:
            self._waiter = self._bell.loop.create_future()
            if timeout is not None:
                left = timeout if limit is None else limit - time.monotonic()
                self._bell.limit(self, left)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timeout is not None:
                    self._bell.unlimit(self)
        if not self._arrived:
            raise RequestTimeout(f'no answer from "{self.responder}" within {timeout} seconds')
        return _opened(self._arrived.popleft())

    def wake(self) -> None:
        """Let the task go on, if it waits and something has arrived."""
        if self._arrived:
            self.give_up()

    def give_up(self) -> None:
        """Let the task go on, if it waits, whatever has arrived."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Bell:
    """Wakes the tasks of one event loop that wait for answers: all together, once in a pass of the
    loop, and by one timer for all their time limits.

    A wake-up from another thread takes 4 µs and a timer 2; a task waits for one of many answers.
    """

    __slots__ = ("_has_rung", "_limits", "_timer", "_woken", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._woken: deque[AsyncCall] = deque()
        self._has_rung = False
        self._limits: dict[AsyncCall, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def ring(self, call: AsyncCall) -> None:
        """Something has arrived for this call. May be called from any thread; never blocks."""
        self._woken.append(call)
        if not self._has_rung:
            self._has_rung = True
            try:
                self.loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                pass  # the loop was closed, and the waiting task with it

    def limit(self, call: AsyncCall, timeout: float) -> None:
        """Wake the call's task in so many seconds too."""
        end = self._limits[call] = self.loop.time() + timeout
        if self._timer is None or end < self._timer.when():
            self._set_timer(end)

    def unlimit(self, call: AsyncCall) -> None:
        """The call's task waits no more."""
        self._limits.pop(call, None)

    def _wake(self) -> None:
        self._has_rung = False  # first: what is added from now on rings anew, or is taken up below
        while self._woken:
            self._woken.popleft().wake()

    def _end_time(self, due: float) -> None:
        """Wake those whose time is over. Most calls never see this: their answer was faster."""
        self._timer = None
        for call, end in self._limits.items():
            if end <= due:
                call.give_up()
        later = [end for end in self._limits.values() if end > due]
        if later:
            self._set_timer(min(later))

    def _set_timer(self, end: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(end, self._end_time, end)


Call = ThreadCall | AsyncCall


class OpenCalls(dict[str, Call]):
    """The open calls of one agent, by the id of the envelope that asked."""

    __slots__ = ("_bell", "_closed")

    def __init__(self) -> None:
        self._bell: Bell | None = None
        self._closed: RequestError | None = None

    def bell(self, loop: asyncio.AbstractEventLoop) -> Bell:
        """What wakes the tasks of the running event loop."""
        if self._bell is None or self._bell.loop is not loop:
            self._bell = Bell(loop)
        return self._bell

    def open(self, envelope_id: str, call: Call) -> None:
        """Expect an answer. To be done before the question is sent."""
        self[envelope_id] = call
        if self._closed is not None:
            call.put(self._closed)

    def close(self, envelope_id: str) -> None:
        """Expect no more answers; one that still comes is late."""
        self.pop(envelope_id, None)

    def offer(self, envelope: Envelope) -> bool:
        """Give an arriving envelope to the call it answers; False if none is open that it may
        answer.

        An answer counts only if it comes from the agent that was asked. A member that knows only
        the seeds' messages cannot set a correlation id; its `response` or `error` is matched by
        `original_message_id`.
        """
        asked = envelope.correlation_id
        call = self._asked_under(envelope) if asked is None else self.get(asked)
        if call is None or call.responder != envelope.sender:
            return False
        call.put(envelope.twin() if envelope.to == BROADCAST else envelope)
        return True

    def fail(self, error: RequestError, others: Container[str]) -> None:
        """End the open calls with this error, but for those to these agents."""
        for call in list(self.values()):
            if call.responder not in others:
                call.put(error)

    def close_all(self, error: RequestError) -> None:
        """End every open call, and every later one, with this error."""
        self._closed = error
        for call in list(self.values()):
            call.put(error)

    def _asked_under(self, envelope: Envelope) -> Call | None:
        if envelope.name not in {"response", "error"}:
            return None
        original = (envelope.args or {}).get("original_message_id")
        if original is None:
            return None
        sender = envelope.sender
        candidates = (call for call in list(self.values()) if call.responder == sender)
        return next((call for call in candidates if call.message_id == original), None)


def _opened(arrived: Envelope | RequestError) -> Envelope:
    """The envelope, if it brings a value; raises the failure that it brings otherwise."""
    if isinstance(arrived, RequestError):
        raise arrived
    if arrived.name == "error":
        text = str((arrived.args or {}).get("error", ""))
        raise Failure.read(arrived.failure).exception(text)
    return arrived


def ends(envelope: Envelope) -> bool:
    """Whether no further answers follow this one."""
    return envelope.kind is not PART


def value_of(envelope: Envelope) -> Any:
    """The value that a `response` brings."""
    return (envelope.args or {}).get("data")

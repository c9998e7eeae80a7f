"""The outbox: what was handed over to be published, until the AMQP server has said what became of
it.

Bookkeeping only, no sockets: which messages wait to be written, which were written and await a
confirm, and how many there may be. Every method may be called from any thread. Above:
`amqp_publisher` writes what `take` gives it and reports what the server says. Below: nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import takewhile
from typing import Final

from agency.errors import NotAccepted, SpaceClosed

__all__ = ["Outbox", "Outcome", "Publication"]

_MOST_MESSAGES: Final = 512
_MOST_BYTES: Final = 16 * 1024 * 1024


class Outcome(Enum):
    """What became of a publication."""

    ACCEPTED = "accepted"
    """It is in every mailbox it was routed to, on disk."""
    UNROUTABLE = "unroutable"
    """No mailbox has this routing key."""
    REFUSED = "refused"
    """The server said no. A broadcast may have reached some mailboxes; anything else reached none.
    """
    NOT_SENT = "not sent"
    """It was given up before it was written: the server never saw it."""
    UNKNOWN = "unknown"
    """It was given up after it was written: the server may have it. It is not sent again."""


class Publication:
    """One message on its way to the server."""

    __slots__ = (
        "_callbacks",
        "_event",
        "_outbox",
        "body",
        "detail",
        "is_full",
        "message_id",
        "outcome",
        "properties",
        "returned",
        "rewritten",
        "routing_key",
        "size",
        "written",
    )

    def __init__(
        self,
        outbox: Outbox,
        routing_key: str,
        body: bytes,
        properties: bytes,
        message_id: str | None,
    ) -> None:
        self._outbox = outbox
        self._event: threading.Event | None = None
        self._callbacks: list[Callable[[Publication], None]] = []
        self.routing_key = routing_key
        self.body = body
        self.properties = properties
        self.message_id = message_id
        self.size = len(body)
        self.outcome: Outcome | None = None
        self.detail = ""
        """What the server said when it refused; or why it may have it all the same."""
        self.is_full = False
        """It was refused because its mailbox is full, and for no other reason that may pass sooner."""
        self.written = False
        """It has been written to some connection at least once."""
        self.rewritten = False
        """It has been written again, because nobody knows what became of the first writing."""
        self.returned = False

    @property
    def may_yet_be_taken(self) -> bool:
        """Whether the server refused it, perhaps because nobody leads its mailbox for now."""
        if self.outcome is Outcome.REFUSED:
            return not self.detail and not self.is_full
        return self.outcome is Outcome.UNKNOWN and bool(self.detail)

    def wait(self, timeout: float) -> Outcome:
        """Wait for the outcome, at most `timeout` seconds; then give the message up for good.

        Never on the I/O thread. A message given up ends as NOT_SENT or UNKNOWN.
        """
        with self._outbox.lock:
            if self.outcome is not None:
                return self.outcome
            if self._event is None:
                self._event = threading.Event()
        if not self._event.wait(timeout):
            self._outbox.give_up(self)
        return self._known()

    def _known(self) -> Outcome:
        if self.outcome is None:
            raise AssertionError("a publication was settled without an outcome")
        return self.outcome

    def when_settled(self, callback: Callable[[Publication], None]) -> None:
        """Call `callback` once with this publication when the outcome is known, on whichever thread
        learns it.

        At once if it is known already. The callback must not block or raise.
        """
        with self._outbox.lock:
            if self.outcome is None:
                self._callbacks.append(callback)
                return
        callback(self)


class Outbox:
    """Publications in order, bounded in number and bytes, with the confirms they wait for.

    Args:
        on_refusal: Called with a message that the server refused. Whoever is called says later, by
            `refused`, what that means.
    """

    def __init__(self, on_refusal: Callable[[Publication], None] | None = None) -> None:
        self._on_refusal = on_refusal or self.refused
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        # All below is guarded by the lock.
        self._queued: deque[Publication] = deque()
        self._unconfirmed: dict[int, Publication] = {}  # by delivery tag, ascending
        self._tag = 0
        self._messages = 0
        self._bytes = 0
        self._full = False
        self._closed = False
        self._one_by_one = 0  # so many more are written only while no other is unconfirmed

    def __len__(self) -> int:
        return self._messages

    @property
    def oldest(self) -> int | None:
        """The delivery tag that has waited longest for its confirm."""
        with self.lock:
            return next(iter(self._unconfirmed), None)

    def put(
        self,
        routing_key: str,
        body: bytes,
        properties: bytes,
        message_id: str | None,
        timeout: float | None,
    ) -> Publication:
        """Append a message; wait up to `timeout` seconds for room. With None it needs no room: the thread
        that makes room cannot wait for it.

        Raises:
            NotAccepted: there was no room in time.
            SpaceClosed: the outbox is closed.
        """
        publication = Publication(self, routing_key, body, properties, message_id)
        with self.lock:
            if (
                self._full
                and timeout is not None
                and not self._wait(lambda: self._closed or not self._full, timeout)
            ):
                raise NotAccepted(
                    f"the AMQP server has not confirmed {self._messages} earlier messages:"
                    " it is blocked, unreachable or slow"
                )
            if self._closed:
                raise SpaceClosed("the link to the AMQP server is closed")
            self._queued.append(publication)
            self._messages += 1
            self._bytes += publication.size
            self._full = self._messages >= _MOST_MESSAGES or self._bytes >= _MOST_BYTES
        return publication

    def take(self, most_properties: int) -> list[Publication]:
        """All that is to be written now, in order. They count as written with the next delivery
        tags of the channel.

        What has more bytes of properties than that is refused: the server would close the connection.
        """
        taken: list[Publication] = []
        calls: _Calls = []
        with self.lock:
            while self._queued and not (self._one_by_one and self._unconfirmed):
                publication = self._queued.popleft()
                if publication.outcome is not None:  # given up meanwhile
                    continue
                if len(publication.properties) > most_properties:
                    detail = (
                        f"its properties are longer than the {most_properties} bytes of a frame"
                    )
                    calls += self._settle(publication, Outcome.REFUSED, detail)
                    self._release(publication)
                    continue
                self._tag += 1
                self._unconfirmed[self._tag] = publication
                publication.rewritten = publication.written
                publication.written = True
                publication.returned = False
                taken.append(publication)
        _call(calls)
        return taken

    def returned(self, message_id: str | None) -> None:
        """The server found no mailbox for the message of this id; its confirm follows."""
        with self.lock:
            for publication in self._unconfirmed.values():
                if publication.message_id == message_id and not publication.returned:
                    publication.returned = True
                    return

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """The server accepted or refused the message of this delivery tag, or all up to it."""
        calls: _Calls = []
        refused: list[Publication] = []
        with self.lock:
            if multiple:
                tags = list(takewhile(tag.__ge__, self._unconfirmed))
            else:
                tags = [tag] if tag in self._unconfirmed else []
            for one in tags:
                publication = self._unconfirmed.pop(one)
                detail = ""
                if accepted and not publication.returned:
                    outcome = Outcome.ACCEPTED
                elif publication.rewritten:
                    outcome = Outcome.UNKNOWN
                    detail = "the link broke before it was confirmed, and it was not taken again"
                elif accepted:
                    outcome = Outcome.UNROUTABLE
                elif publication.outcome is None:
                    refused.append(publication)
                    continue
                else:  # given up meanwhile: nobody wants to know
                    outcome = publication.outcome
                calls += self._settle(publication, outcome, detail)
                self._release(publication)
            self._one_by_one = max(0, self._one_by_one - len(tags))
        _call(calls)
        for publication in refused:
            self._on_refusal(publication)

    def refused(
        self,
        publication: Publication,
        doubt: str = "",
        is_full: bool = True,  # a callback's arguments
    ) -> None:
        """The server has no room for the message; or, with a `doubt`, may have it all the same."""
        with self.lock:
            if publication.outcome is not None:  # given up meanwhile, and released then
                return
            outcome = Outcome.UNKNOWN if doubt else Outcome.REFUSED
            publication.is_full = is_full and not doubt
            calls = self._settle(publication, outcome, doubt)
            self._release(publication)
        _call(calls)

    def channel_lost(self, refusal: str | None) -> None:
        """The channel is gone: all unconfirmed messages are to be written again, first and in
        order.

        With a `refusal` the server closed the channel because of one of them. They are then written
        one at a time, and the one at which it happens again is refused for that reason.
        """
        calls: _Calls = []
        with self.lock:
            again = list(self._unconfirmed.values())
            if refusal and len(again) == 1 and again[0].outcome is None:
                calls += self._settle(again[0], Outcome.REFUSED, refusal)
            elif refusal:
                self._one_by_one = len(again)
            for publication in again:
                if publication.outcome is not None:
                    self._release(publication)
            self._queued.extendleft(one for one in reversed(again) if one.outcome is None)
            self._unconfirmed.clear()
            self._tag = 0
        _call(calls)

    def give_up(self, publication: Publication) -> None:
        """End the message as NOT_SENT or UNKNOWN, unless its outcome is known already."""
        with self.lock:
            if publication.outcome is not None:
                return
            written = publication.written
            calls = self._settle(publication, Outcome.UNKNOWN if written else Outcome.NOT_SENT)
            if publication not in self._unconfirmed.values():
                self._release(publication)  # else it takes up room until the server has had its say
        _call(calls)

    def wait_empty(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until every message has its outcome."""
        with self.lock:
            return self._wait(lambda: self._messages == 0, timeout)

    def close(self) -> list[Publication]:
        """Take no more messages and give up those that are left; return them, in order."""
        with self.lock:
            self._closed = True
            left = [one for one in self._unconfirmed.values() if one.outcome is None]
            left += [one for one in self._queued if one.outcome is None]
            self._changed.notify_all()
        for publication in left:
            self.give_up(publication)
        return left

    def _settle(self, publication: Publication, outcome: Outcome, detail: str = "") -> _Calls:
        """Set the outcome unless there is one; return whom to tell once the lock is free."""
        if publication.outcome is not None:
            return []
        publication.outcome = outcome
        publication.detail = detail
        if publication._event is not None:
            publication._event.set()
        return [(callback, publication) for callback in publication._callbacks]

    def _release(self, publication: Publication) -> None:
        self._messages -= 1
        self._bytes -= publication.size
        # Waiting publishers are let in when half is free: waking one for each message costs more than sending it.
        if self._full and self._messages <= _MOST_MESSAGES // 2 and self._bytes <= _MOST_BYTES // 2:
            self._full = False
            self._changed.notify_all()
        elif not self._messages:
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if (remaining := deadline - time.monotonic()) <= 0:
                return False
            self._changed.wait(remaining)
        return True


_Calls = list[tuple[Callable[[Publication], None], Publication]]


def _call(calls: _Calls) -> None:
    for callback, publication in calls:
        callback(publication)

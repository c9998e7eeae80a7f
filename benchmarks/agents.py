"""The agents that are measured. Importable, so that LocalSpace can build them in other processes."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from agency import ACCESS_REQUESTED, Agent, action
from benchmarks.common import Figures, p50_and_p99, rate

PATIENCE = 200.0
"""Seconds that a request of a benchmark may take."""


class Echo(Agent):
    """Answers with what it is told."""

    @action
    def echo(self, content: str) -> str:
        return content


class Guarded(Agent):
    """Echo, but on request; it permits everything."""

    @action(access_policy=ACCESS_REQUESTED)
    def echo(self, content: str) -> str:
        return content

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        return True


class Sink(Agent):
    """Counts what it is told."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self.count = 0
        self.passed = 0.0

    @action
    def take(self, content: str) -> None:
        self.count += 1

    @action
    def seen(self) -> dict[str, float]:
        """How many so far, when that was, and when the last gate was passed. Asked by the sender, it
        is handled after all it sent.
        """
        count, self.count = self.count, 0
        return {"count": count, "at": time.perf_counter(), "passed": self.passed}

    @action
    def wait_for(self, gate: str) -> None:
        """Hold everything up until the gate opens."""
        self.request({"to": gate, "action": {"name": "pass"}}, timeout=PATIENCE)
        self.passed = time.perf_counter()


class Shelf(Sink):
    """Has room for a hundred thousand messages and those that ask about them. On AMQP the server keeps
    the mail, and bounds it.
    """

    def __init__(self, id: str) -> None:
        super().__init__(id, mailbox=100_010)


class Gate(Agent):
    """Keeps those who want to pass waiting until it is opened."""

    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=2)
        self.is_open = threading.Event()

    @action(name="pass")
    def let_pass(self) -> None:
        if not self.is_open.wait(PATIENCE):
            raise TimeoutError("nobody opened the gate")
        self.is_open.clear()

    @action
    def open(self) -> None:
        self.is_open.set()


class Driver(Agent):
    """Does the sending, and measures it, inside its actions."""

    def __init__(self, id: str) -> None:
        super().__init__(id, receive_own_broadcasts=False)

    @action
    def round_trips(self, to: str, count: int, content: str) -> Figures:
        """One request at a time."""
        message = _message(to, "echo", content)
        for _ in range(count // 10):
            self.request(message)
        seconds = []
        clock = time.perf_counter
        for _ in range(count):
            begin = clock()
            self.request(message)
            seconds.append(clock() - begin)
        return p50_and_p99(seconds)

    @action
    def flood(self, to: list[str], count: int, content: str) -> Figures:
        """As many sends as it can to each; the rate is counted at the receivers."""
        messages = [_message(receiver, "take", content) for receiver in to]
        return self._sent(messages, to, count)

    @action
    def broadcast(self, receivers: list[str], count: int, content: str) -> Figures:
        """As many broadcasts as it can; every delivery counts."""
        return self._sent([_message("*", "take", content)], receivers, count)

    @action
    def pile_up(self, to: str, gate: str, depth: int, content: str) -> Figures:
        """Send to somebody who is held up, then let it catch up: microseconds a message of each."""
        self.send({"to": to, "action": {"name": "wait_for", "args": {"gate": gate}}})
        message = _message(to, "take", content)
        begin = time.perf_counter()
        for _ in range(depth):
            self.send(message)
        sent = time.perf_counter()
        self.request({"to": gate, "action": {"name": "open"}}, timeout=PATIENCE)
        seen = self._seen(to, depth)
        return {
            "send": round((sent - begin) / depth * 1e6, 2),
            "handle": round((seen["at"] - seen["passed"]) / depth * 1e6, 2),
        }

    def _sent(self, messages: list[dict[str, Any]], receivers: list[str], count: int) -> Figures:
        self._send_all(messages, receivers, count // 10)  # to warm up
        begin = time.perf_counter()
        end = self._send_all(messages, receivers, count)
        return rate(count * len(receivers), begin, end)

    def _send_all(self, messages: list[dict[str, Any]], receivers: list[str], count: int) -> float:
        """Returns when the last one was handled."""
        for _ in range(count):
            for message in messages:
                self.send(message)
        return max(self._seen(receiver, count)["at"] for receiver in receivers)

    def _seen(self, receiver: str, count: int) -> dict[str, float]:
        asked = {"to": receiver, "action": {"name": "seen"}}
        seen: dict[str, float] = self.request(asked, timeout=PATIENCE)
        assert seen["count"] == count, f"{seen['count']} of {count} messages arrived"
        return seen


class AsyncDriver(Agent):
    """Has many requests outstanding at once."""

    @action
    async def outstanding(self, to: str, count: int, window: int, content: str) -> Figures:
        message = _message(to, "echo", content)

        async def ask(times: int) -> None:
            for _ in range(times):
                await self.arequest(message, timeout=PATIENCE)

        each = max(1, count // window)
        await asyncio.gather(*(ask(each // 10) for _ in range(window)))  # to warm up
        begin = time.perf_counter()
        await asyncio.gather(*(ask(each) for _ in range(window)))
        return rate(each * window, begin, time.perf_counter())


class Replier(Agent):
    """Has many messages unanswered at once: each `response` makes it send the next."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.left = 0
        self.done = 0
        self.message: dict[str, Any] = {}
        self.all_done = threading.Event()

    @action
    def start(self, to: str, count: int, window: int, content: str) -> None:
        self.message = _message(to, "echo", content)
        self.left, self.done = count - window, count
        for _ in range(window):
            self.send(self.message)

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        self.done -= 1
        if self.left:
            self.left -= 1
            self.send(self.message)
        elif not self.done:
            self.all_done.set()


def _message(to: str, name: str, content: str) -> dict[str, Any]:
    return {"to": to, "action": {"name": name, "args": {"content": content}}}

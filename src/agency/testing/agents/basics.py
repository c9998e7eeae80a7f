"""Whom the tests themselves talk to, and what the other agents have in common."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from typing import Any, Final, NamedTuple

from agency.actions import action
from agency.agent import Agent

__all__ = ["LIMIT", "Calculator", "Gate", "Note", "Speaker", "Witness", "message_to"]

LIMIT: Final = 20.0
"""Seconds that a test waits for something that is to happen at once. Only a broken promise uses them up."""


class Note(NamedTuple):
    """What an agent reported to the witness."""

    by: str
    event: Any


class Witness(Agent):
    """Keeps what agents report, each reporter's notes in order. Lives in the process of the test."""

    def __init__(self, id: str = "witness") -> None:
        super().__init__(id, receive_own_broadcasts=False)
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()

    @action
    def note(self, event: Any) -> None:
        """Keep the event."""
        message = self._current_message
        if message is not None:
            self._notes.put(Note(message["from"], event))

    def next(self) -> Note:
        """Wait for the next note."""
        return self._notes.get(timeout=LIMIT)

    def event(self) -> Any:
        """Wait for the next note and return what it says."""
        return self.next().event

    def events(self, count: int) -> list[Any]:
        """Wait for that many notes and return what they say."""
        return [self.event() for _ in range(count)]


class Gate(Agent):
    """Agents wait here until the test lets them through. Lives in the process of the test."""

    def __init__(self, id: str = "gate") -> None:
        super().__init__(id, concurrency=64)
        self._doors: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._arrivals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._all_open = False

    @action
    def wait(self, door: str) -> str:
        """Return the name of the door once it is open."""
        with self._lock:
            event = self._doors[door]
            if self._all_open:
                event.set()
        self._arrivals.put(door)
        event.wait()
        return door

    def arrival(self) -> str:
        """Wait until an agent stands at a door, and return which."""
        return self._arrivals.get(timeout=LIMIT)

    def open(self, door: str) -> None:
        """Let everybody through this door, now and later."""
        with self._lock:
            self._doors[door].set()

    def open_all(self) -> None:
        """Let everybody through every door, now and later."""
        with self._lock:
            self._all_open = True
            for event in self._doors.values():
                event.set()


class Speaker(Agent):
    """What the other agents here have in common: they report to the witness and can wait at the gate."""

    def __init__(self, id: str, *, witness: str = "witness", **options: Any) -> None:
        super().__init__(id, **options)
        self._witness = witness

    def report(self, event: Any) -> None:
        """Tell the witness."""
        self.send({"to": self._witness, "action": {"name": "note", "args": {"event": event}}})

    def wait_at(self, door: str) -> str:
        """Block until the test opens the door."""
        passed = self.request(message_to("gate", "wait", door=door), timeout=2 * LIMIT)
        return str(passed)


class Calculator(Agent):
    """Sums, and a few other values to return."""

    def __init__(self, id: str, start: int = 0, step: int = 1, *, name: str = "") -> None:
        super().__init__(id)
        self._count = start
        self._step = step
        self._name = name

    @action
    def add(self, a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a (int): The first number
            b (int): The second number

        Returns:
            int: Their sum
        """
        return a + b

    @action
    def divide(self, a: float, b: float = 2.0) -> float:
        """Divide two numbers."""
        return a / b

    @action
    def count(self) -> int:
        """Count the calls."""
        self._count += self._step
        return self._count

    @action
    def named(self) -> str:
        """Tell the name that the constructor got."""
        return self._name

    @action()
    def same(self, value: Any) -> Any:
        """Return the value."""
        return value

    @action
    def size(self, value: Any) -> int:
        """Tell how long a text, list or object is."""
        return len(value)

    @action
    def whole(self, **_anything: Any) -> Any:
        """Return the message that is being handled."""
        return self._current_message

    @action
    def given(self, **anything: Any) -> Any:
        """Return the arguments."""
        return anything

    @action
    def nothing(self) -> None:
        """Return nothing."""

    def secret(self) -> str:
        """Not an action."""
        return "secret"


def message_to(agent_id: str, name: str, /, **args: Any) -> dict[str, Any]:
    """The message that invokes an action."""
    return {"to": agent_id, "action": {"name": name, "args": args}}

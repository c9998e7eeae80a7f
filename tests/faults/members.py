"""Agents that the tests of faults add, here or in processes of their own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from agency import (
    ACCESS_DENIED,
    ACCESS_REQUESTED,
    Agent,
    Supervision,
    action,
    current_redelivered,
)
from tests.faults.ledger import Ledger

__all__ = ["Awaiting", "Busy", "Courier", "Gated", "Guarded", "Lasting", "Odd", "Once", "Recorder"]


class Recorder(Agent):
    """Writes into the ledger what it begins with, and then it may be killed. One of several with the same
    id writes its own name beside it.
    """

    def __init__(self, id: str, ledger: str | Path, name: str = "", **options: Any) -> None:
        super().__init__(id, **options)
        self._ledger = Ledger(ledger)
        self._name = name

    @action
    def process(self) -> int:
        """The process that it lives in."""
        return os.getpid()

    @action
    def note(self, number: int) -> None:
        """Begin with a message of that number."""
        self._ledger.begun(self._current_message["from"], self.id, number, by=self._name)

    @action
    def note_and_die(self, number: int) -> None:
        """Begin, and be killed before the end."""
        self.note(number)
        os.abort()

    def before_remove(self) -> None:
        self._ledger.close()


class Gated(Recorder):
    """Begins with a message, and stays at it until its gate is open: all others wait meanwhile."""

    def __init__(self, id: str, ledger: str | Path, gate: threading.Event) -> None:
        super().__init__(id, ledger)
        self._gate = gate

    @action
    def note(self, number: int) -> None:
        super().note(number)
        self._gate.wait()


class Once(Recorder):
    """Begins with no message twice, and with nothing that another process of its id was given. Computes
    for some milliseconds each time, so that this is where it is killed.
    """

    @action(at_most_once=True)
    def note(self, number: int) -> None:
        super().note(number)
        sum(range(300_000))


class Courier(Recorder):
    """Passes on to carl what it begins with."""

    @action
    def note(self, number: int) -> None:
        super().note(number)
        with self._ledger.sending(self.id, "carl", number):
            self.send({"to": "carl", "action": {"name": "note", "args": {"number": number}}})


class Lasting(Recorder):
    """Begins with a message and stays at it: one that lets `again` be run twice, and else none."""

    @action
    def again(self, number: int) -> str:
        self.note(number)
        if not current_redelivered():
            self.leaving.wait()
        return "run again"

    @action(at_most_once=True)
    def plain(self, number: int) -> None:
        self.note(number)
        self.leaving.wait()

    @action(at_most_once=True)
    async def asynchronous(self, number: int) -> None:
        self.note(number)
        await asyncio.Event().wait()

    @action(at_most_once=True)
    def produced(self, number: int) -> Iterator[int]:
        self.note(number)
        yield number
        self.leaving.wait()

    @action(at_most_once=True)
    def quick(self, number: int) -> bool:
        self.note(number)
        return current_redelivered()


class Odd(Agent):
    """Does what no agent should."""

    @action
    def ping(self) -> str:
        return "pong"

    @action
    def raise_error(self, number: int) -> None:
        raise ValueError(f"error {number}")

    @action
    def raise_unprintable(self) -> None:
        raise Unprintable

    @action
    def raise_at_length(self) -> None:
        raise ValueError("x" * 10_000_000)

    @action
    def exhaust_memory(self) -> int:
        """Ask for more memory than a machine can have."""
        return len(bytearray(1 << 62))

    @action
    def never_return(self) -> None:
        threading.Event().wait()

    @action(access_policy=ACCESS_REQUESTED)
    def ask_first(self) -> str:
        return "permitted"


class Unprintable(Exception):
    """An exception that fails when it is shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Busy(Agent):
    """Works for as long as it is told to, and can be asked for what it has done."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self._done: list[int] = []

    @action
    def work(self, number: int) -> None:
        self._done.append(number)

    @action
    def done(self) -> list[int]:
        return self._done


class Guarded(Agent):
    """Acts on request. Each time it does, it notes that as an effect, and whether the audit log had
    the decision by then.
    """

    def __init__(
        self, id: str, audit: str | Path, effects: str | Path, permission_timeout: float = 30.0
    ) -> None:
        super().__init__(id, permission_timeout=permission_timeout)
        self._audit, self._effects = Path(audit), Path(effects)

    @action
    def ping(self) -> str:
        return "pong"

    @action(access_policy=ACCESS_DENIED)
    def forbidden(self) -> None: ...

    @action(access_policy=ACCESS_REQUESTED)
    def act(self, wish: str, number: int = 0, load: str = "") -> None:
        """Have an effect, if it is wished."""
        audit = self._audit.read_text(errors="replace")
        was_recorded = any(f'"number": {number}{end}' in audit for end in ",}")
        with self._effects.open("a") as effects:
            effects.write(f"{number} {was_recorded}\n")

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        match proposed_message["action"]["args"]["wish"]:
            case "granted":
                return True
            case "almost granted":
                return "yes"
            case "not decided":
                return self.leaving.wait()
            case "broken":
                raise RuntimeError("nobody is here")
        return False


class Awaiting(Agent):
    """Has the agent "approver" decide, tells it which process asks, and acts by writing a number.
    Comes again where that can be had.
    """

    supervision: ClassVar[Supervision | None] = Supervision(backoff=0.01)

    def __init__(self, id: str, effects: str | Path) -> None:
        super().__init__(id)
        self._effects = Path(effects)

    @action
    def process(self) -> int:
        return os.getpid()

    @action(access_policy=ACCESS_REQUESTED)
    def act(self, number: int) -> str:
        with self._effects.open("a", encoding="utf-8") as effects:
            effects.write(f"{number}\n")
        return "done"

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        question = {"name": "decide", "args": {"process": os.getpid()}}
        return self.request({"to": "approver", "action": question}, timeout=None)

"""Agents that the workers of these tests import."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from pathlib import Path
from typing import Any

from agency import ACCESS_REQUESTED, Agent, action


class Worker(Agent):
    """Can tell where it is, wait, die, and remember."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self.noted: list[int] = []

    @action
    def process(self) -> int:
        return os.getpid()

    @action
    def note(self, number: int) -> None:
        self.noted.append(number)

    @action
    def tell_noted(self) -> list[int]:
        return self.noted

    @action
    def block(self) -> None:
        """Say that it has begun, then never end."""
        message = self._current_message
        assert message is not None
        self.send({"to": message["from"], "action": {"name": "say", "args": {"content": "begun"}}})
        threading.Event().wait()

    @action
    def die(self, how: str) -> None:
        if how == "exit":
            os._exit(3)
        elif how == "segfault":
            ctypes.string_at(0)
        elif how == "abort":
            os.abort()
        os.kill(os.getpid(), signal.SIGKILL)

    @action
    def say_through(self, agent_id: str) -> Any:
        return self.request({"to": agent_id, "action": {"name": "process"}})

    @action(access_policy=ACCESS_REQUESTED)
    def on_request(self) -> str:
        return "done"


class Concurrent(Worker):
    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=4)


class FailsToBuild(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        raise ValueError("cannot be built")


class DiesWhenBuilt(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        os._exit(5)


class NeverBuilt(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        threading.Event().wait()


class FailsToSetUp(Agent):
    def after_add(self) -> None:
        raise ValueError("cannot be set up")


class AsksWhenAdded(Agent):
    """Speaks to another agent before it has been added completely."""

    def __init__(self, id: str, other: str) -> None:
        super().__init__(id)
        self.other = other
        self.answer: Any = None

    def after_add(self) -> None:
        self.answer = self.request({"to": self.other, "action": {"name": "process"}})

    @action
    def tell_answer(self) -> Any:
        return self.answer


class WritesWhenRemoved(Agent):
    def __init__(self, id: str, path: str) -> None:
        super().__init__(id)
        self.path = path

    def before_remove(self) -> None:
        Path(self.path).write_text("removed", encoding="utf-8")

"""Agents that the workers of these tests import."""

from __future__ import annotations

import asyncio
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

    @action
    def ask_often(self, agent_id: str, times: int) -> int:
        """Make so many requests."""
        return sum(self.say_through(agent_id) > 0 for _ in range(times))

    @action(access_policy=ACCESS_REQUESTED)
    def on_request(self) -> str:
        return "done"


class Concurrent(Worker):
    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=4)


class FailsToBuild(Agent):
    def __init__(self, id: str, text: str = "cannot be built") -> None:
        super().__init__(id)
        raise ValueError(text)


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


class Talker(Agent):
    """Speaks while it works, and goes on working."""

    @action
    def say_and_go_on(self, count: int) -> None:
        """Say so many things at once, then never end."""
        for number in range(count):
            self.send(say(self._asker, str(number)))
        threading.Event().wait()

    @action
    def say_and_die(self, count: int) -> None:
        for number in range(count):
            self.send(say(self._asker, str(number)))
        os.kill(os.getpid(), signal.SIGKILL)

    @action
    def say_long_and_short(self, lengths: list[int]) -> None:
        for number, length in enumerate(lengths):
            self.send(say(self._asker, f"{number} {'x' * length}"))

    @action
    def count_for_ever(self) -> Any:
        """One value, and another, then never end."""
        yield 1
        yield 2
        threading.Event().wait()

    @action
    async def ask_without_await(self, agent_id: str) -> list[int]:
        """Ask in tasks, and at the same time in a way that holds the event loop up."""
        message = {"to": agent_id, "action": {"name": "process"}}
        tasks = [asyncio.create_task(self.arequest(message)) for _ in range(3)]
        await asyncio.sleep(0)
        blocking = [self.request(message), self.request(message)]
        return blocking + [await task for task in tasks]

    @property
    def _asker(self) -> str:
        message = self._current_message
        assert message is not None
        return str(message["from"])


class Carrier(Agent):
    """Says long things, and passes on what it is told."""

    @action
    def say_long(self, to: str, lengths: list[int], end: bool = False) -> None:
        """Say things of these lengths at once. If that is the end, the process is killed next."""
        for number, length in enumerate(lengths):
            self.send(say(to, long(number, length)))
        if end:
            os.kill(os.getpid(), signal.SIGKILL)

    @action
    def pass_on(self, to: str, content: str) -> None:
        self.send(say(to, content))

    @action
    def say_to_all(self, length: int) -> None:
        self.send(say("*", long(0, length)))

    @action
    def say(self, content: str) -> None:
        """Tell the application how much was said to all."""
        self.send(say("me", f"heard {len(content)}"))

    @action
    def be_long(self, length: int) -> str:
        return long(0, length)

    @action
    def ask_for_long(self, agent_id: str, count: int, length: int) -> None:
        """Ask another to be long so many times, one after the other."""
        asked = {"to": agent_id, "action": {"name": "be_long", "args": {"length": length}}}
        for _ in range(count):
            self.request(asked)

    @action
    def process(self) -> int:
        return os.getpid()


def long(number: int, length: int) -> str:
    """A text that is not mistaken for another, whatever part of it is missing or doubled."""
    return f"{number} " + "".join(map(chr, range(97, 123))) * (length // 26)


def say(agent_id: str, content: str) -> dict[str, Any]:
    return {"to": agent_id, "action": {"name": "say", "args": {"content": content}}}


class AtDoor(Agent):
    """Waits at doors, pipes that a test opens, wherever it is told to."""

    def __init__(self, id: str, *, enter: Path | None = None, leave: Path | None = None) -> None:
        super().__init__(id)
        self._leave = leave
        if enter is not None:
            wait_at(enter)

    def before_remove(self) -> None:
        if self._leave is not None:
            wait_at(self._leave)

    @action
    def meet(self, door: str) -> str:
        wait_at(Path(door))
        return "met"

    @action
    def ping(self) -> str:
        return "pong"


class Tracing(AtDoor):
    """Leaves a trace when it is added."""

    def __init__(self, id: str, trace: Path, **doors: Path | None) -> None:
        super().__init__(id, **doors)
        self._trace = trace

    def after_add(self) -> None:
        with self._trace.open("a", encoding="utf-8") as trace:
            trace.write("added\n")


class FailsAtDoor(AtDoor):
    def __init__(self, id: str, **doors: Path | None) -> None:
        super().__init__(id, **doors)
        raise ValueError("cannot be built")


def wait_at(door: Path) -> None:
    """Until the test has opened and closed it."""
    door.read_bytes()


class Surrounded(Agent):
    @action
    def setting(self, name: str) -> str | None:
        return os.environ.get(name)

    @action
    def folder(self) -> str:
        return str(Path.cwd())

"""Agents with something to do when they come, or leave."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agency.actions import action
from agency.agent import Agent
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Speaker, message_to

__all__ = [
    "AsyncEarlyLeaver",
    "AsyncNewcomer",
    "AsyncSelfRemover",
    "EarlyLeaver",
    "Halter",
    "Leaver",
    "Newcomer",
    "Patient",
    "SelfRemover",
    "Visitor",
]


class Visitor(Speaker):
    """Uses its first and its last moments in a space to talk."""

    def __init__(self, id: str, *, failing: str = "", **options: Any) -> None:
        if failing == "__init__":
            raise RuntimeError("the constructor failed")
        super().__init__(id, **options)
        self._failing = failing
        self._sum: Any = None

    def after_add(self) -> None:
        """Ask, and report the answer."""
        if self._failing == "after_add":
            raise RuntimeError("after_add failed")
        self._sum = self.request(message_to("calc", "add", a=1, b=2), timeout=LIMIT)
        self.report(["after_add", self._sum])

    def before_remove(self) -> None:
        """Report."""
        self.report(["before_remove"])
        if self._failing == "before_remove":
            raise RuntimeError("before_remove failed")

    @action
    def sum(self) -> Any:
        """What `after_add` learned."""
        return self._sum


class Leaver(Agent):
    """Leaves a line in a file when it is removed; when a space ends, nobody is left to be told."""

    def __init__(self, id: str, path: str) -> None:
        super().__init__(id)
        self._path = Path(path)

    def before_remove(self) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self.id}\n")


class Newcomer(Speaker):
    """Has somebody ask it before it has set itself up."""

    def after_add(self) -> Any:
        """Ask the agent `host`, which asks back, and report what became of that."""
        answer = self.request(self._question(), timeout=LIMIT)
        self.report(answer)

    def _question(self) -> dict[str, Any]:
        return message_to("host", "ask", message=message_to(self.id, "help"))


class AsyncNewcomer(Newcomer):
    """The same in async code."""

    async def after_add(self) -> None:
        """Ask, and report."""
        self.report(await self.arequest(self._question(), timeout=LIMIT))


class EarlyLeaver(Agent):
    """Removes itself before it has set itself up. Lives in the process of the test."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self._space = space

    def after_add(self) -> Any:
        """Leave."""
        self._space.remove(self)


class AsyncEarlyLeaver(EarlyLeaver):
    """The same in async code."""

    async def after_add(self) -> None:
        """Leave."""
        self._space.remove(self)


class SelfRemover(Speaker):
    """Removes itself in its action. Lives in the process of the test, whose space it has."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self._space = space

    @action
    def leave(self) -> str:
        """Leave, and report that this was possible."""
        self._space.remove(self)
        return "left"

    def before_remove(self) -> Any:
        """Report."""
        self.report("before_remove")


class AsyncSelfRemover(SelfRemover):
    """Does so in async code, as far as possible."""

    @action
    async def leave_at_once(self) -> str:
        """Leave, and report that this was possible."""
        return super().leave()

    async def before_remove(self) -> None:
        """Report."""
        await asyncio.sleep(0)
        self.report("before_remove")


class Halter(Speaker):
    """Pulls the kill switch of its own space in its action. Lives in the process of the test."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self._space = space

    @action
    def pull(self) -> str:
        """Halt the space, and say that this was possible."""
        self._space.halt()
        return "halted"


class Patient(Speaker):
    """Is in the midst of something for as long as the test wants."""

    @action
    def stay(self) -> bool:
        """Report, then wait for being told to leave; returns whether that came."""
        self.report("stays")
        return self.leaving.wait(LIMIT)

    @action
    def speak_late(self, door: str) -> None:
        """Wait at the gate, then report."""
        self.wait_at(door)
        self.report("late")

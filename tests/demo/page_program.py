"""A program for the tests: the demo's page in a space with agents that do what a test wants to see.

    python page_program.py

Host asks the person at the page, and so does Hasty, another Host, that waits for 2 seconds only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agency import Agent, NativeSpace, action
from agents.calculator import Calculator
from agents.host import Host
from agents.speech import Speech
from apps.gradio_app import demo, gradio_user

space = NativeSpace()


class Teller(Agent):
    """Tells bit by bit, the next whenever it is told to go on."""

    def __init__(self, id: str) -> None:
        super().__init__(id, receive_own_broadcasts=False, concurrency=4)
        self._going_on = asyncio.Event()

    @action
    async def go_on(self) -> None:
        self._going_on.set()

    @action
    async def tell(self, parts: list[Any]) -> AsyncIterator[Any]:
        for part in parts:
            yield part
            await self._pause()

    @action
    async def say(self, content: str) -> None:
        speech = Speech(self, self._current_message)
        for word in ["It was **dark**", " and stormy."]:
            speech.add(word)
            await self._pause()
        speech.finish()

    async def _pause(self) -> None:
        await self._going_on.wait()
        self._going_on.clear()


class Door(Agent):
    """Lets agents come and go."""

    @action
    def open(self, ids: list[str]) -> None:
        for agent_id in ids:
            space.add(Calculator(agent_id))

    @action
    def close(self, ids: list[str]) -> None:
        for agent_id in ids:
            space.remove(agent_id)


class Flood(Agent):
    @action
    def say_often(self, times: int) -> str:
        sender = self._current_message["from"]
        for number in range(times):
            content = f"number **{number}**"
            self.send({"to": sender, "action": {"name": "say", "args": {"content": content}}})
        return "that was all"


class Giver(Agent):
    @action
    def give(self, value: Any) -> Any:
        return value


class Delegate(Agent):
    """Has Host do what it was asked to do, as a model would."""

    @action
    def run(self, command: str) -> str:
        return str(self.proxy("Host").shell_command(command=command))


for agent in [
    Host("Host", approver="User"),
    Host("Hasty", approver="User", permission_timeout=2),
    Calculator("Calculator"),
    Teller("Teller"),
    Door("Door"),
    Flood("Flood"),
    Giver("Giver"),
    Delegate("Delegate"),
    gradio_user,
]:
    space.add(agent)

demo.launch()

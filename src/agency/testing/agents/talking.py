"""Agents that say what the test tells them to say, ask each other, and answer."""

from __future__ import annotations

import asyncio
from typing import Any

from agency.actions import action
from agency.agent import Agent, current_message, current_redelivered, current_senders
from agency.errors import RequestError
from agency.testing.agents.basics import LIMIT, Speaker, message_to
from agency.testing.bad_messages import verdicts

__all__ = [
    "AsyncTalker",
    "Crier",
    "Echoing",
    "Gateway",
    "Heap",
    "Talker",
    "TouchyTalker",
    "Vandal",
    "Worker",
]


class Talker(Speaker):
    """Says what the test tells it to say, and reports every `say`, `response` and `error` that reaches it."""

    @action
    def say(self, content: Any = None) -> None:
        """Report it."""
        self.report(self._current_message)

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Report it."""
        self.report(self._current_message)

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Report it."""
        self.report(self._current_message)

    @action
    def tell(self, message: dict[str, Any]) -> None:
        """Send the message."""
        self.send(message)

    @action
    def ask(self, message: dict[str, Any], timeout: float = LIMIT) -> Any:
        """Request the message and return its value, or the name and the text of the error."""
        try:
            return self.request(message, timeout=timeout)
        except RequestError as error:
            return [type(error).__name__, str(error)]

    @action
    def pass_on(self, message: dict[str, Any]) -> Any:
        """Request the message and return its value; its errors are this action's."""
        return self.request(message, timeout=LIMIT)

    @action
    def verdicts(self) -> dict[str, str]:
        """Try to send every bad message; return what became of each."""
        return verdicts(self)

    @action
    def reply(self) -> None:
        """Answer the sender with a `say`, as in a conversation."""
        message = self._current_message or {}
        self.send(message_to(message["from"], "say", content="replied"))


class Crier(Talker):
    """Tells everybody that it has come, and hears that only from others."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, receive_own_broadcasts=False, **options)

    def after_add(self) -> None:
        self.send({"to": "*", "action": {"name": "say", "args": {"content": "I came"}}})


class TouchyTalker(Talker):
    """Cannot bear answers."""

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Report and raise."""
        super().response(data, original_message_id)
        raise RuntimeError("no responses, please")

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Report, return a value, and raise."""
        super().error(error, original_message_id)
        raise RuntimeError("no errors, please")


class AsyncTalker(Speaker):
    """`Talker` for async code."""

    @action
    async def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @action
    async def ask(self, message: dict[str, Any]) -> Any:
        """Await the message's value, or return the name and the text of the error."""
        try:
            return await self.arequest(message, timeout=LIMIT)
        except RequestError as error:
            return [type(error).__name__, str(error)]

    @action
    async def gather(self, message: dict[str, Any]) -> list[str]:
        """Read a stream to its end."""
        return [part async for part in self.astream(message, timeout=LIMIT)]

    @action
    async def meet(self, door: str) -> Any:
        """Wait at the gate without blocking the loop, then return the id of the message being handled."""
        await self.arequest(message_to("gate", "wait", door=door), timeout=2 * LIMIT)
        return (self._current_message or {}).get("id")

    @action
    def block(self, door: str) -> Any:
        """Wait at the gate on a thread, then return the id of the message being handled."""
        self.request(message_to("gate", "wait", door=door), timeout=2 * LIMIT)
        return (self._current_message or {}).get("id")

    @action
    async def everywhere(self) -> list[Any]:
        """The id of the message being handled: here, in a task, and on a thread."""

        async def in_task() -> Any:
            return (self._current_message or {}).get("id")

        def on_thread() -> Any:
            return (current_message() or {}).get("id")

        task = asyncio.create_task(in_task())
        return [await in_task(), await task, await asyncio.to_thread(on_thread)]

    @action
    async def fail(self, text: str) -> None:
        """Raise."""
        raise ValueError(text)

    @action
    async def leave(self) -> None:
        """Raise what would end a program."""
        raise SystemExit("leaving")

    @action
    async def interrupt(self) -> None:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    @action
    async def cancel(self) -> None:
        """Raise what ends a task that was cancelled."""
        raise asyncio.CancelledError("cancelling")

    @action
    async def close(self) -> None:
        """Raise what ends a generator."""
        raise GeneratorExit("closing")

    @action
    async def leave_aside(self) -> str:
        """Have a task of its own raise what would end a program."""

        async def leave() -> None:
            raise SystemExit("leaving")

        aside = asyncio.create_task(leave())
        await asyncio.wait([aside])
        return str(aside.exception())


class Worker(Speaker):
    """Works on what it is given, and says when it begins and ends."""

    @action
    def work(self, number: int) -> None:
        """Report the beginning, let others run, report the end."""
        sender = (self._current_message or {})["from"]
        self.report(["begin", sender, number])
        self.request(message_to(self._witness, "help"), timeout=LIMIT)
        self.report(["end", sender, number])

    @action
    def meet(self, door: str) -> Any:
        """Wait at the gate, then return the id of the message being handled."""
        self.wait_at(door)
        return (self._current_message or {}).get("id")

    @action
    def ask(self, message: dict[str, Any]) -> Any:
        """Request the message and return its value."""
        return self.request(message, timeout=LIMIT)

    @action
    def answer_often(self) -> str:
        """Answer by two messages, and by the value."""
        message = self._current_message or {}
        for which in ("first", "second"):
            answer = {"data": f"{message['id']} {which}", "original_message_id": message["id"]}
            self.send(message_to(message["from"], "response", **answer))
        return f"{message['id']} third"

    @action
    def ping(self) -> str:
        """Show that the agent is free."""
        return "pong"

    @action
    def led_here(self) -> list[str]:
        """Who led to the message being handled."""
        return list(current_senders())

    @action(at_most_once=True)
    def is_redelivered(self) -> bool:
        """Whether the message being handled came before."""
        return current_redelivered()

    @action
    def others(self) -> str | None:
        """The sender of the message, as the module's function tells it."""
        message = current_message()
        return message["from"] if message else None


class Heap(Speaker):
    """Takes what is put on it, one by one, when it has been let through the gate."""

    @action
    def stand_at(self, door: str) -> None:
        """Wait at the gate."""
        self.wait_at(door)

    @action
    def put(self, number: int, load: str = "") -> None:
        """Report the number."""
        self.report(number)


class Echoing(Speaker):
    """Answers each broadcast by another."""

    @action
    def cry(self, number: int) -> None:
        """Report the number, and cry the next."""
        self.report(number)
        self.send(message_to("*", "cry", number=number + 1))


class Gateway(Agent):
    """Asks in another space. Lives in the process of the test, who joins it to that space."""

    def __init__(self, id: str, there: Agent) -> None:
        super().__init__(id)
        self._there = there

    @action
    def pass_on(self, message: dict[str, Any]) -> Any:
        """Request the message there and return its value."""
        return self._there.request(message, timeout=LIMIT)


class Vandal(Speaker):
    """Writes into everything it is given."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self._shelf = {"list": [1, 2]}

    @action
    def deface(self, box: dict[str, Any]) -> None:
        """Report the box as it came, then spoil all that can be reached."""
        self.report(box)
        box["list"].append("defaced")
        message = self._current_message or {}
        message["action"]["args"]["box"]["list"].append("defaced")
        message["to"] = "defaced"

    @action
    def lend(self) -> dict[str, Any]:
        """Return what belongs to the agent."""
        return self._shelf

    @action
    def ask_and_deface(self, lender: str) -> None:
        """Spoil what another agent returned."""
        self.request(message_to(lender, "lend"), timeout=LIMIT)["list"].append("defaced")

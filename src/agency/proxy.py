"""Another agent as an object: the shorter way to write a request.

    calc = agent.proxy("calc")
    calc.add(a=1, b=2)                    # request, waits for the value
    await calc.add.arequest(a=1, b=2)     # the same for async code
    calc.add.send(a=1, b=2)               # send, waits for nothing
    for part in calc.count.stream(to=3): ...

Only builds messages; `agency.agent` sends them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Protocol

__all__ = ["ActionProxy", "Proxy"]


class _Speaker(Protocol):
    def send(self, message: dict[str, Any]) -> None: ...
    def request(self, message: dict[str, Any], timeout: float | None = ...) -> Any: ...
    async def arequest(self, message: dict[str, Any], timeout: float | None = ...) -> Any: ...
    def stream(
        self, message: dict[str, Any], timeout: float | None = ...
    ) -> Generator[Any, None, None]: ...
    def astream(
        self, message: dict[str, Any], timeout: float | None = ...
    ) -> AsyncGenerator[Any, None]: ...


class Proxy:
    """An agent seen from another. Attributes are its actions; `proxy["any name"]` reaches those
    that are no identifiers.
    """

    def __init__(self, speaker: _Speaker, agent_id: str, timeout: float | None) -> None:
        self._speaker = speaker
        self._agent_id = agent_id
        self._timeout = timeout

    def __getattr__(self, action_name: str) -> ActionProxy:
        if action_name.startswith("_"):
            raise AttributeError(action_name)
        return self[action_name]

    def __getitem__(self, action_name: str) -> ActionProxy:
        return ActionProxy(self._speaker, self._agent_id, action_name, self._timeout)

    def __repr__(self) -> str:
        return f"<proxy of {self._agent_id!r}>"


class ActionProxy:
    """One action of one agent, seen from another. Arguments are given by name, as in messages."""

    def __init__(
        self, speaker: _Speaker, agent_id: str, action_name: str, timeout: float | None
    ) -> None:
        self._speaker = speaker
        self._agent_id = agent_id
        self._action_name = action_name
        self._timeout = timeout

    def __call__(self, **args: Any) -> Any:
        """Request: wait for the value. Raises what `Agent.request` raises."""
        return self._speaker.request(self._message(args), timeout=self._timeout)

    async def arequest(self, **args: Any) -> Any:
        """Request from async code. Raises what `Agent.arequest` raises."""
        return await self._speaker.arequest(self._message(args), timeout=self._timeout)

    def send(self, **args: Any) -> None:
        """Send and wait for nothing. Raises what `Agent.send` raises."""
        self._speaker.send(self._message(args))

    def stream(self, **args: Any) -> Generator[Any, None, None]:
        """Yield each value as it is produced. Raises what `Agent.stream` raises."""
        return self._speaker.stream(self._message(args), timeout=self._timeout)

    def astream(self, **args: Any) -> AsyncGenerator[Any, None]:
        """`stream` for async code."""
        return self._speaker.astream(self._message(args), timeout=self._timeout)

    def __repr__(self) -> str:
        return f"<action {self._agent_id}.{self._action_name}>"

    def _message(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"to": self._agent_id, "action": {"name": self._action_name, "args": args}}

"""Agents that report every callback."""

from __future__ import annotations

import asyncio
from typing import Any

from agency.access import ACCESS_DENIED, ACCESS_REQUESTED
from agency.actions import action
from agency.testing.agents.basics import LIMIT, Speaker, message_to

__all__ = ["AsyncWatched", "Watched"]


class Watched(Speaker):
    """Reports every callback, and fails where it is told to."""

    def __init__(self, id: str, *, failing: str = "", **options: Any) -> None:
        super().__init__(id, **options)
        self._failing = failing

    def _pass(self, *event: Any) -> None:
        self.report(list(event))
        if event[0] == self._failing:
            raise RuntimeError(f"{event[0]} failed")

    @action
    def work(self, value: Any = None) -> Any:
        """Return the value."""
        self._pass("action")
        return value

    @action(access_policy=ACCESS_REQUESTED)
    def guarded(self) -> str:
        """Return something, if it is permitted."""
        self._pass("action")
        return "done"

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> None:
        """Never run."""
        self._pass("action")

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Permit."""
        self._pass("request_permission")
        return True

    def before_action(self, message: dict[str, Any]) -> None:
        """Report the message."""
        self._pass("before_action", message)

    def after_action(
        self, message: dict[str, Any], return_value: Any, error: BaseException | None
    ) -> None:
        """Report the message, the value and the error."""
        self._pass("after_action", message, return_value, str(error) if error else None)


class AsyncWatched(Speaker):
    """`Watched` with every callback `async`."""

    async def after_add(self) -> None:
        """Ask, and report the answer."""
        total = await self.arequest(message_to("calc", "add", a=1, b=2), timeout=LIMIT)
        self.report(["after_add", total])

    async def before_remove(self) -> None:
        """Report."""
        self.report(["before_remove"])

    async def before_action(self, message: dict[str, Any]) -> None:
        """Report."""
        await asyncio.sleep(0)
        self.report(["before_action", message["action"]["name"]])

    @action
    def work(self, value: Any = None) -> Any:
        """Return the value."""
        self.report(["action"])
        return value

    async def after_action(
        self, message: dict[str, Any], return_value: Any, error: BaseException | None
    ) -> None:
        """Report."""
        await asyncio.sleep(0)
        self.report(["after_action", return_value])

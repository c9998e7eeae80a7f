"""Agents with actions on request, and in how many ways permission can be asked for."""

from __future__ import annotations

import asyncio
from typing import Any

from agency.access import ACCESS_DENIED, ACCESS_REQUESTED
from agency.actions import action
from agency.agent import Agent
from agency.testing.agents.basics import LIMIT, Speaker, message_to

__all__ = [
    "AskingGuard",
    "AsyncGuard",
    "Console",
    "Guard",
    "HeedlessGuard",
    "LateGuard",
    "RaisingGuard",
    "SlowGuard",
    "TamperingGuard",
]


class HeedlessGuard(Speaker):
    """Has actions that are denied or on request, and no `request_permission`."""

    @action
    def permitted(self) -> str:
        """Anybody may."""
        return "done"

    @action
    def mark(self) -> None:
        """Report that this was called; what was reported before came before."""
        self.report("mark")

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> str:
        """Nobody may."""
        self.report("denied ran")
        return "done"

    @action(access_policy=ACCESS_REQUESTED)
    def requested(self, command: str) -> str:
        """Whoever is permitted may."""
        self.report(["ran", command])
        return f"did {command}"


class Guard(HeedlessGuard):
    """Reports what is proposed, and decides as it was told to."""

    def __init__(self, id: str, *, decision: Any = True, **options: Any) -> None:
        super().__init__(id, **options)
        self._decision = decision

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Report and decide."""
        self.report(["proposed", proposed_message])
        return self._decision


class AsyncGuard(Guard):
    """Decides in async code."""

    async def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Report and decide."""
        await asyncio.sleep(0)
        return super().request_permission(proposed_message)


class SlowGuard(Guard):
    """Decides when the test opens the gate."""

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Wait, then decide."""
        self.wait_at("permission")
        return self._decision


class LateGuard(SlowGuard):
    """Reports besides that it has decided."""

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Wait, report, then decide."""
        decision = super().request_permission(proposed_message)
        self.report("decided")
        return decision


class RaisingGuard(HeedlessGuard):
    """Cannot decide."""

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Raise."""
        raise RuntimeError("nobody to ask")


class AskingGuard(HeedlessGuard):
    """Has another agent decide."""

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Ask the console."""
        return self.request(message_to("console", "decide", about=self.id), timeout=LIMIT)


class Console(Agent):
    """Decides about what other agents propose."""

    @action
    def decide(self, about: str) -> bool:
        """Ask the agent what it can do, then permit."""
        return "permitted" in self.request(message_to(about, "help"), timeout=LIMIT)


class TamperingGuard(HeedlessGuard):
    """Permits something else than what was proposed."""

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Change the proposal, and permit."""
        proposed_message["action"]["args"]["command"] = "worse"
        proposed_message["action"]["name"] = "denied"
        return True

"""Watching: who wants to be told that an agent has gone.

One collection belongs to one space, which says who has gone and why. Above: `agency.space`. Below:
the space's threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from agency.deadletters import Reason
from agency.threads import Crew

__all__ = ["Down", "Watchers", "Watching"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Down:
    """An agent is gone. `reason` is `AGENT_REMOVED`, `AGENT_DIED`, or `NO_SUCH_AGENT` if it was not
    there in the first place.
    """

    agent_id: str
    reason: Reason
    detail: str = ""


Watching = Callable[[Down], object]
"""A callback that wants to be told once."""


class Watchers:
    """Callbacks by the id that they watch. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watching: dict[str, list[Watching]] = {}

    def add(self, agent_id: str, callback: Watching) -> None:
        with self._lock:
            self._watching.setdefault(agent_id, []).append(callback)

    def discard(self, agent_id: str, callback: Watching) -> bool:
        """Forget one; returns whether it was still there to be told."""
        with self._lock:
            watching = self._watching.get(agent_id, [])
            if callback not in watching:
                return False
            watching.remove(callback)
            if not watching:
                del self._watching[agent_id]
            return True

    def take(self, agent_id: str) -> list[Watching]:
        """All who watch the id, who are to be told now and are forgotten. To be called in one with
        taking the agent from where `watch` looks for it, so that nobody is told of another's end.
        """
        with self._lock:
            return self._watching.pop(agent_id, [])

    @staticmethod
    def tell(callbacks: list[Watching], down: Down, crew: Crew) -> None:
        """Call each on a thread of its own; what it raises is logged."""
        for callback in callbacks:
            crew.run(lambda callback=callback: _tell(callback, down))  # type: ignore[misc]


def _tell(callback: Watching, down: Down) -> None:
    try:
        callback(down)
    except Exception:
        logger.exception('who watched "%s" raised', down.agent_id)

"""Supervision: whether an agent whose process has died is started again, how often, and when.

A value module. An agent's class says what it wants,

    class Worker(Agent):
        supervision = Supervision(restart="on_failure")

and a space that builds agents in other processes (`agency.spaces.local_supervisor`) does it.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, get_args

from agency.timeouts import check_seconds

__all__ = ["Deaths", "Restart", "Supervision"]

Restart = Literal["never", "on_failure", "always"]

_LEAST_JITTER: Final = 0.5
"""Part of a pause that is kept, so that agents which died together do not come back together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What is to happen when the process of an agent dies: an attribute of the agent's class.

    The successor has the same id, is built with the same arguments, and gets the mail that was not
    begun, in order. What had been begun is never begun again. Agents in the application's own
    process die with it, so for them this changes nothing.

    Args:
        restart: `"never"`; `"on_failure"`, after a signal or a status other than 0; `"always"`, also
            if the process has ended itself with status 0.
        intensity: so many restarts within `period` are made; the next death is final.
        period: seconds.
        backoff: seconds before the first restart, doubled with each further one within `period`, and
            shortened by chance, by half at most.
        max_backoff: seconds that no pause exceeds.

    Raises:
        ValueError: one of them makes no sense; the text says which.
        TypeError: one is no number.
    """

    restart: Restart = "on_failure"
    intensity: int = 3
    period: float = 60.0
    backoff: float = 0.2
    max_backoff: float = 10.0

    def __post_init__(self) -> None:
        if self.restart not in get_args(Restart):
            choices = ", ".join(map(repr, get_args(Restart)))
            raise ValueError(f"restart is one of {choices}, not {self.restart!r}")
        if isinstance(self.intensity, bool) or not isinstance(self.intensity, int):
            raise TypeError(f"intensity is a whole number, not {self.intensity!r}")
        if self.intensity < 1:
            raise ValueError(
                f'intensity is at least 1, not {self.intensity}; for no restart: restart="never"'
            )
        for name in ("period", "backoff", "max_backoff"):
            check_seconds(name, getattr(self, name))

    def covers(self, status: int | None) -> bool:
        """Whether an agent is to come again whose process ended with this status, as `subprocess`
        says it; None if nobody knows.
        """
        return self.restart == "always" or (self.restart == "on_failure" and status != 0)


class Deaths:
    """The deaths of one agent, and how long to wait after each. Not thread-safe."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._times: deque[float] = deque()

    def pause_after(self, now: float) -> float | None:
        """Count one more death; returns the seconds before the restart, or None if there were too
        many.
        """
        policy, times = self._supervision, self._times
        while times and now - times[0] > policy.period:
            times.popleft()
        times.append(now)
        if len(times) > policy.intensity:
            return None
        longest = min(policy.max_backoff, policy.backoff * 2.0 ** min(len(times) - 1, 64))
        return longest * random.uniform(_LEAST_JITTER, 1.0)  # noqa: S311  # no secret

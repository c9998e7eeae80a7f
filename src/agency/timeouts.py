"""Timeouts: how long is waited for something, checked where they are given.

A value module: everything that takes seconds from a user asks here first, so that what cannot be
waited for is refused before anything was sent, and alike on every space.
"""

from __future__ import annotations

import math
import threading
from typing import Final

__all__ = ["SEND_TIMEOUT", "check_seconds", "check_timeout"]

SEND_TIMEOUT: Final = 5.0
"""Seconds that `send` waits for room in a mailbox, unless the space is told otherwise."""

_LONGEST: Final = min(threading.TIMEOUT_MAX, 1e9)  # more than thirty years


def check_timeout(timeout: float | None) -> float | None:
    """The seconds to wait, or None for as long as it takes, which infinity means too.

    Raises:
        TypeError: not a number.
        ValueError: not a number of seconds (NaN).
    """
    if timeout is None:
        return None
    try:
        if timeout < _LONGEST:
            return timeout
    except TypeError:
        raise TypeError(f"a timeout is a number of seconds or None, not {timeout!r}") from None
    if math.isnan(timeout):
        raise ValueError("a timeout is a number of seconds or None, not NaN")
    return None


def check_seconds(name: str, seconds: float) -> float:
    """Seconds that somebody is given; infinity means as many as can be counted.

    Raises:
        TypeError: not a number.
        ValueError: negative, or NaN.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} is a number of seconds, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"{name} is a number of seconds from 0, not {seconds}")
    return min(seconds, _LONGEST)

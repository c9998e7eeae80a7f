"""The conversation that a page shows: what was said so far, and who follows it.

Agents add to it from any thread; each open tab follows it on the page's event loop and is woken when
there is something new. Above: `apps.gradio_app`. Below: nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from apps.rendering import Shown

__all__ = ["SHOWN_AT_ONCE", "Conversation"]

SHOWN_AT_ONCE: Final = 200
"""The latest messages that a page shows; its browser becomes slow with many more."""

_BREATH: Final = 0.05  # seconds between two updates of one tab, so that a flood becomes few updates


class Conversation:
    """The latest messages, in order. All methods but `follow` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[Shown] = deque(maxlen=SHOWN_AT_ONCE)  # guarded by _lock
        self._followers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}  # guarded by _lock
        self._ended = False  # guarded by _lock

    def add(self, shown: Shown) -> None:
        """Add a message and wake those who follow. Never blocks."""
        with self._lock:
            self._latest.append(shown)
            self._wake()

    def begin(self) -> None:
        """Let tabs follow, also after an `end`."""
        with self._lock:
            self._ended = False

    def end(self) -> None:
        """Let everybody who follows come to an end, now and from now on."""
        with self._lock:
            self._ended = True
            self._wake()

    async def follow(self) -> AsyncIterator[list[Shown]]:
        """Yield the latest messages, at once and again whenever there are new ones, until `end`."""
        news = asyncio.Event()
        news.set()
        with self._lock:
            self._followers[news] = asyncio.get_running_loop()
        try:
            while await news.wait():
                news.clear()
                with self._lock:
                    if self._ended:
                        return
                    latest = list(self._latest)
                yield latest
                await asyncio.sleep(_BREATH)
        finally:
            with self._lock:
                del self._followers[news]

    def _wake(self) -> None:
        for news, loop in self._followers.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

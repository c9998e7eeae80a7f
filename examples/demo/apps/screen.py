"""The screen: what every open tab of a page shows, and how the tabs learn that it has changed.

Agents change it from any thread; each tab follows it on the page's event loop and is woken when
there is something new. Above: `apps.gradio_app`, `apps.user`. Below: nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Final, NamedTuple, TypedDict

__all__ = ["SHOWN_AT_ONCE", "Screen", "Shown", "View"]

SHOWN_AT_ONCE: Final = 200
"""The latest messages that a page shows; its browser becomes slow with many more."""

_BREATH: Final = 0.1  # seconds between two updates of one tab, so that a flood becomes few updates


class Shown(TypedDict):
    """One message of Gradio's chat."""

    role: str
    content: str


class View(NamedTuple):
    """What is on the screen at one moment. Parts that have not changed are the same objects."""

    conversation: tuple[Shown, ...]
    present: str
    question: str


class Screen:
    """Three parts: the latest messages in order, who is present, and what a person is asked.

    All methods but `follow` may be called from any thread, and none of them blocks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._messages: dict[Hashable, Shown | Callable[[], Shown]] = {}  # guarded by _lock
        self._view = View((), "", "")  # guarded by _lock
        self._is_stale = False  # whether the conversation of the view is; guarded by _lock
        self._followers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}  # guarded by _lock
        self._ended = False  # guarded by _lock

    @property
    def is_watched(self) -> bool:
        """Whether a tab is open."""
        return bool(self._followers)

    @property
    def view(self) -> View:
        """What is on the screen now."""
        with self._lock:
            return self._current()

    def add(self, message: Shown | Callable[[], Shown], key: Hashable = None) -> None:
        """Add a message at the end, or put it in the place of an earlier one with the same key.

        Args:
            message: what is shown, or what makes it when it is to be shown.
            key: of a message that may grow.
        """
        with self._lock:
            self._messages[next(self._numbers) if key is None else (key,)] = message
            if len(self._messages) > SHOWN_AT_ONCE:
                del self._messages[next(iter(self._messages))]
            self._is_stale = True
            self._wake()

    def remove(self, key: Hashable) -> None:
        """Take the message with this key away, if it is there."""
        with self._lock:
            if self._messages.pop((key,), None) is not None:
                self._is_stale = True
                self._wake()

    def show_present(self, present: str) -> None:
        """Show who is there."""
        with self._lock:
            if present != self._view.present:
                self._view = self._view._replace(present=present)
                self._wake()

    def show_question(self, question: str) -> None:
        """Show what the person is asked, or nothing."""
        with self._lock:
            self._view = self._view._replace(question=question)
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

    async def follow(self) -> AsyncIterator[View]:
        """Yield what is on the screen, at once and again whenever it has changed, until `end`."""
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
                    view = self._current()
                yield view
                await asyncio.sleep(_BREATH)
        finally:
            with self._lock:
                del self._followers[news]

    def _current(self) -> View:
        if self._is_stale:
            for key, message in self._messages.items():
                if callable(message):
                    self._messages[key] = message()
            messages = [message for message in self._messages.values() if not callable(message)]
            self._view = self._view._replace(conversation=tuple(messages))
            self._is_stale = False
        return self._view

    def _wake(self) -> None:
        for news, loop in self._followers.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

"""Approvals: the questions to the person at the page that await Approve or Deny.

Each question has a number that nobody can guess, and an answer counts only for the question that it
names, once, and not after its time. The page shows one at a time, the one that has waited longest.
Above: `apps.user` asks, `apps.gradio_app` passes on which button was pressed. Below:
`apps.rendering` says how a question looks, `apps.screen` shows it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from apps.rendering import Question, asked
from apps.screen import Screen

__all__ = ["Approvals"]

MOST: Final = 20
"""Questions that may wait at once; whoever asks one more is refused."""


class Approvals:
    """The questions that wait, oldest first. May be used from any thread."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Question, Future[bool]]] = {}  # guarded by _lock

    @property
    def is_asking(self) -> bool:
        """Whether a question waits."""
        return bool(self._waiting)

    @contextmanager
    def question(self, question: Question) -> Iterator[Future[bool]]:
        """Within: the question waits for the person. The future is their answer."""
        nonce = secrets.token_hex(16)
        answer: Future[bool] = Future()
        answer.set_running_or_notify_cancel()  # who waits may give up, and the person still answer
        with self._lock:
            if len(self._waiting) < MOST:
                self._waiting[nonce] = question, answer
            else:
                answer.set_result(False)
            self._show()
        try:
            yield answer
        finally:
            with self._lock:
                self._waiting.pop(nonce, None)
                self._show()

    def answer(self, nonce: str, *, approved: bool) -> Question | None:
        """Answer the question of this number. Returns it, or None if it does not wait any more."""
        with self._lock:
            question, answer = self._waiting.pop(nonce, (None, None))
            self._show()
        if question is None or answer is None or time.monotonic() > question.deadline:
            return None
        answer.set_result(approved)
        return question

    def _show(self) -> None:
        nonce, (question, _) = next(iter(self._waiting.items()), ("", (None, None)))
        shown = "" if question is None else asked(question, nonce, len(self._waiting))
        self._screen.show_question(shown)

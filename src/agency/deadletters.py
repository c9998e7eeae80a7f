"""Dead letters: messages that were accepted and could not be handled, counted by reason and shown
to who asks.

Silence is for the sender; the operator of a space sees every lost message here. One collection
belongs to one space.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["DeadLetter", "DeadLetters", "Reason"]

logger = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why a message was not handled."""

    NO_SUCH_AGENT = "no_such_agent"
    AGENT_REMOVED = "agent_removed"
    AGENT_DIED = "agent_died"
    PERHAPS_BEGUN = "perhaps_begun"
    DELIVERY_LIMIT = "delivery_limit"
    EXPIRED = "expired"
    LATE_ANSWER = "late_answer"
    HOP_LIMIT = "hop_limit"
    UNDECODABLE = "undecodable"
    BAD_SENDER = "bad_sender"
    MAILBOX_FULL = "mailbox_full"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was not handled. `message` is what could be read of it."""

    reason: Reason
    message: dict[str, Any] | None
    detail: str = ""


class DeadLetters:
    """Counts by reason, and those who want to be told. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._listeners: list[Callable[[DeadLetter], None]] = []

    @property
    def counts(self) -> dict[str, int]:
        """How many messages were lost for each reason so far; reasons that never occurred are
        absent.
        """
        with self._lock:
            return dict(self._counts)

    def listen(self, listener: Callable[[DeadLetter], None]) -> None:
        """Call `listener` for each dead letter from now on, on whichever thread finds it; it must
        not block.
        """
        with self._lock:
            self._listeners.append(listener)

    def add(self, letter: DeadLetter) -> None:
        """Count a dead letter and tell the listeners; what one of them raises is logged."""
        with self._lock:
            self._counts[letter.reason.value] += 1
            listeners = tuple(self._listeners)
        to = letter.message.get("to") if letter.message else None
        logger.debug("dead letter to %r: %s %s", to, letter.reason, letter.detail)
        for listener in listeners:
            try:
                listener(letter)
            except (
                BaseException
            ):  # SystemExit too: it may be the thread that all mail comes through
                logger.exception("a listener for dead letters raised")

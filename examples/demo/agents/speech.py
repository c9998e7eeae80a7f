"""Speech: an answer on its way to the one who asked, as `say`.

An agent whose words come one by one may let an answer be seen while it grows. Only who asks for
that gets it, with `meta` in the message that is answered:

    {"meta": {"stream": true}, "to": "Chatty", "action": {"name": "say", "args": {"content": "Hi"}}}

The answer is then said several times, each time with all the words so far, under one id:

    {"meta": {"stream": {"id": "5f0c", "end": false}}, ... "content": "Hello, how"}
    {"meta": {"stream": {"id": "5f0c", "end": true}}, ... "content": "Hello, how are you?"}

so whoever shows it puts each in the place of the one before. Everybody else, other models above
all, is told the whole answer once, in a message without `meta`. Below: nothing but `agency`.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

from agency import Agent

__all__ = ["Speech", "tell"]

_BREATH: Final = 0.1  # seconds between two views of a growing answer, for the sake of who shows it


class Speech:
    """One answer, from its first word to its last.

    Args:
        agent: who speaks.
        message: what is answered.
    """

    def __init__(self, agent: Agent, message: dict[str, Any]) -> None:
        self._agent = agent
        self._listener = message["from"]
        self._id = secrets.token_hex(8) if _wants_to_watch(message) else None
        self._shown_at = -_BREATH
        self.text = ""

    def add(self, words: str) -> None:
        """Go on with these words."""
        self.text += words
        if self._id is None or not self.text.strip():
            return
        now = time.monotonic()
        if now - self._shown_at >= _BREATH:
            self._shown_at = now
            self._say(end=False)

    def finish(self) -> None:
        """Say the whole, if there is anything to say."""
        if self.text.strip():
            self._say(end=True)

    def _say(self, *, end: bool) -> None:
        meta = None if self._id is None else {"stream": {"id": self._id, "end": end}}
        tell(self._agent, self._listener, self.text.strip(), meta)


def tell(agent: Agent, listener: str, content: str, meta: dict[str, Any] | None = None) -> None:
    """Say something to an agent."""
    message: dict[str, Any] = {
        "to": listener,
        "action": {"name": "say", "args": {"content": content}},
    }
    agent.send(message if meta is None else {"meta": meta, **message})


def _wants_to_watch(message: dict[str, Any]) -> bool:
    return message.get("meta", {}).get("stream") is True

"""What a model remembers: one conversation for each agent that speaks with it, bounded.

Used by the agents that answer with a language model, on their event loop only. Below: nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

__all__ = ["Conversation", "Conversations"]

Exchange = TypeVar("Exchange")

_PARTNERS: Final = 100  # conversations that are remembered; the one unused for longest goes first


class Conversation(Generic[Exchange]):
    """The latest exchanges with one partner, oldest first: what was said, and the answer to it."""

    def __init__(self, exchanges: int) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=exchanges)
        self.turn = asyncio.Lock()
        """Held while an answer is made, so that answers come in the order of the questions."""


class Conversations(Generic[Exchange]):
    """The conversations of one agent by partner.

    Args:
        exchanges: how many of them are remembered of each conversation.
    """

    def __init__(self, exchanges: int) -> None:
        self._exchanges = exchanges
        self._by_partner: dict[str, Conversation[Exchange]] = {}

    def of(self, partner: str) -> Conversation[Exchange]:
        """The conversation with this partner, which is from now on the one used last."""
        conversation = self._by_partner.pop(partner, None) or Conversation(self._exchanges)
        self._by_partner[partner] = conversation
        for name in list(self._by_partner)[:-_PARTNERS]:
            if not self._by_partner[name].turn.locked():
                del self._by_partner[name]
        return conversation

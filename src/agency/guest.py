"""A guest: an agent for those who want to take part in a space without writing a class.

    me = space.join()
    me.proxy("calc").add(a=1, b=2)
    me.send({"to": "*", "action": {"name": "say", "args": {"content": "Hello"}}})
    me.receive()          # the next message that somebody sent to me

Made by `Space.join`; an ordinary agent in every other respect.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from typing import Any

from agency.actions import action
from agency.agent import DEFAULT_TIMEOUT, Agent
from agency.threads import take_from
from agency.timeouts import check_timeout

__all__ = ["Guest"]


class Guest(Agent):
    """An agent that keeps what it is told: every `say`, `response` and `error` that reaches it, in
    order, until it is received. There is no bound on how many it keeps.
    """

    def __init__(self, id: str) -> None:  # as in Agent
        super().__init__(id, receive_own_broadcasts=False)
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    @staticmethod
    def random_id() -> str:
        """An id that nobody else has."""
        return f"guest-{os.urandom(6).hex()}"

    @action
    def say(self, content: str) -> None:
        """Say something to this guest.

        Args:
            content: What to say
        """
        self._keep()

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Keep a value that answers one of this guest's messages."""
        self._keep()

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Keep an error that answers one of this guest's messages."""
        self._keep()

    def receive(self, timeout: float | None = DEFAULT_TIMEOUT) -> dict[str, Any]:
        """Wait for the next message that has not been received yet, and return it whole.

        Raises:
            TimeoutError: nothing arrived within `timeout` seconds; None waits for ever.
        """
        try:
            return take_from(self._told, check_timeout(timeout))
        except queue.Empty:
            raise TimeoutError(
                f'nobody told "{self.id}" anything within {timeout} seconds'
            ) from None

    def received(self) -> Iterator[dict[str, Any]]:
        """The messages that have arrived and were not received yet; does not wait for more."""
        while True:
            try:
                yield self._told.get_nowait()
            except queue.Empty:
                return

    def _keep(self) -> None:
        message = self._current_message
        if message is not None:
            self._told.put(message)

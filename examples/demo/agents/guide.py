"""Guide: somebody to talk to who needs neither a key nor a model.

It answers what is said with a few words about the demo, and shows discovery as any agent can do it:
it broadcasts `help` and tells what the others answer. Below: nothing but `agency`.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

from agency import Agent, action, current_message

__all__ = ["Guide"]

_WELCOME: Final = """\
Hello! I am a small program, not a language model. What you type without a slash is said to every \
agent in this space, and I am one of them.

- `/*.help` asks all of us what we can do.
- `/Calculator.add a:1 b:2` invokes one action of one agent. Values are JSON: `"text"`, `3.5`, \
`true`, `["a", "b"]`.
- `/Host.list_files directory_path:"."` needs your approval first: look at the terminal where the \
demo runs, or below if it is to ask you here.

Ask me **who is here**, and I will find out. A press on an action at the side begins its command."""

_ASKING: Final = "I have broadcast `help`, as any agent may. Those who hear it answer me:"

_WHO: Final = frozenset({"agents", "discover", "discovery", "who", "who's"})
_MAX_QUESTIONS: Final = 100  # that answers are still told of


class Guide(Agent):
    """Answers what is said to it. Its answer is the value of `say`, so two guides never chat."""

    def __init__(self, id: str) -> None:
        super().__init__(id, receive_own_broadcasts=False)
        self._numbers = itertools.count(1)
        self._askers: dict[str, str] = {}  # who wanted to know, by the id of the broadcast

    @action
    def say(self, content: str) -> str:
        """Say something to the guide, for example: who is here?

        Args:
            content: What to say

        Returns:
            What the guide says to that
        """
        if _WHO.isdisjoint(content.lower().strip("?!. ").split()):
            return _WELCOME
        message = current_message()
        assert message is not None
        self._discover(message["from"])
        return _ASKING

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Tell the one who wanted to know what an agent answered to `help`."""
        message = current_message()
        asker = self._askers.get(original_message_id or "")
        if message is not None and asker is not None and message["from"] != asker:
            self._say(asker, f"**{message['from']}** can {_names(data)}.")

    def _discover(self, asker: str) -> None:
        question = f"{self.id} {next(self._numbers)}"
        self._askers[question] = asker
        if len(self._askers) > _MAX_QUESTIONS:
            del self._askers[next(iter(self._askers))]
        self.send({"id": question, "to": "*", "action": {"name": "help", "args": {}}})

    def _say(self, to: str, content: str) -> None:
        self.send({"to": to, "action": {"name": "say", "args": {"content": content}}})


def _names(actions: Any) -> str:
    if not isinstance(actions, dict) or not actions:
        return "do nothing that it tells of"
    return ", ".join(f"`{name}`" for name in actions)

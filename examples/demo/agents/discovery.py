"""Discovery: who else is in the space and what they can do, found out with `help`, and kept fresh.

An agent owns a `Discovery`, hands it the answers that reach it, and asks for a `refresh` whenever it
wants to be sure. Newcomers answer the broadcast; who has left is found out by a request, which ends
at once if nobody has the id, so that an agent that is only busy is not forgotten. All of it happens
on the event loop of the owner. Below: nothing but `agency`.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final

from agency import Agent, AgentNotFound, OutcomeUnknown, RequestError

__all__ = ["Discovery"]

_PATIENCE: Final = (
    0.5  # seconds that those who are known have to answer; busy ones keep their entry
)
_QUIET: Final = 0.05  # seconds without an answer, after which no newcomer is waited for

_FORMAT: Final = {"format": "json_schema"}


class Discovery:
    """What the other agents of a space say of themselves.

    Args:
        owner: the agent that asks.
    """

    def __init__(self, owner: Agent) -> None:
        self._owner = owner
        self._numbers = itertools.count(1)
        self._actions: dict[str, dict[str, Any]] = {}  # what each agent's help says
        self._answered: dict[str, int] = {}  # the latest question that each agent has answered
        self._news = asyncio.Event()
        self._refreshing = asyncio.Lock()

    @property
    def actions(self) -> dict[str, dict[str, Any]]:
        """What each agent that is known answered to `help`, in the order of their ids."""
        return dict(sorted(self._actions.items()))

    def ask(self) -> int:
        """Ask everyone. Their answers reach the owner as `response` or `error`."""
        number = next(self._numbers)
        self._owner.send({**self._help("*", _FORMAT), "id": self._name(number)})
        return number

    async def refresh(self) -> None:
        """Find out who is here now. Takes about a second at most, and hardly any if nobody is busy."""
        async with self._refreshing:
            number = self.ask()
            loop = asyncio.get_running_loop()
            end = loop.time() + _PATIENCE
            while (remaining := end - loop.time()) > 0:
                self._news.clear()
                complete = not self._silent(number)
                try:
                    async with asyncio.timeout(min(_QUIET, remaining) if complete else remaining):
                        await self._news.wait()
                except TimeoutError:
                    break
            await asyncio.gather(*(self._ask_one(agent_id) for agent_id in self._silent(number)))

    def is_question(self, name: Any) -> bool:
        """Whether this is the id of a question that was asked here."""
        return isinstance(name, str) and self._number(name) is not None

    def heard(self, agent_id: str, data: Any, question: str | None) -> None:
        """Take in a `response`; one that answers something else is left alone."""
        number = self._number(question)
        if number is not None:
            self._learn(agent_id, data, number)

    async def failed(self, agent_id: str, question: str | None) -> None:
        """Take in an `error`: an agent that knows no other format is asked for its plain `help`."""
        number = self._number(question)
        if number is not None:
            self._answered[agent_id] = number
            await self._ask_one(agent_id, {})

    def forget(self, agent_id: str) -> None:
        """The agent is not there any more."""
        self._actions.pop(agent_id, None)
        self._answered.pop(agent_id, None)

    async def _ask_one(self, agent_id: str, args: dict[str, Any] | None = None) -> None:
        """Ask an agent that did not answer the broadcast whether it is still there."""
        question = self._help(agent_id, _FORMAT if args is None else args)
        try:
            data = await self._owner.arequest(question, timeout=_PATIENCE)
        except (AgentNotFound, OutcomeUnknown):
            self.forget(agent_id)
        except RequestError:
            pass  # busy, or of another opinion about `help`: what is known of it stays
        else:
            self._learn(agent_id, data, self._answered.get(agent_id, 0))

    def _learn(self, agent_id: str, data: Any, number: int) -> None:
        self._answered[agent_id] = number
        if isinstance(data, dict):
            self._actions[agent_id] = data
        self._news.set()

    def _silent(self, number: int) -> list[str]:
        return [name for name in self._actions if self._answered.get(name, 0) < number]

    @staticmethod
    def _help(to: str, args: dict[str, Any]) -> dict[str, Any]:
        return {"to": to, "action": {"name": "help", "args": args}}

    def _name(self, number: int) -> str:
        return f"{self._owner.id} asks {number}"

    def _number(self, question: str | None) -> int | None:
        """Which question of ours this is the name of, if any."""
        prefix = self._name(0).removesuffix("0")
        if question is None or not question.startswith(prefix):
            return None
        digits = question.removeprefix(prefix)
        return int(digits) if digits.isdecimal() else None

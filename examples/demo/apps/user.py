"""The person at the page, as an agent.

What the person types is sent as this agent's messages, and every message that reaches it is shown,
but for the answers to its own questions who is there: these keep the list beside the chat fresh. It
asks when the page is opened, when somebody unknown speaks, and every few seconds while a page is
open; less often if somebody is too busy to answer, so that a mailbox does not fill with questions.
An answer that does not come for a while is missed in the page, until it comes.

Other agents may ask the person for approval, with `approve`. Above: `apps.gradio_app`. Below:
`apps.screen`, `apps.rendering`, `apps.approvals`; `agents.discovery` finds out who is there.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, Literal

from agency import ACCESS_REQUESTED, AgencyError, Agent, action
from agency.schema import BROADCAST, freeze
from agency.slash import parse_command
from agents.discovery import Discovery
from apps.approvals import Approvals
from apps.rendering import Question, decided, present, received, typed, unanswered, wrong
from apps.screen import Screen

__all__ = ["GradioUser"]

_MAX_SENT: Final = 1000  # of the person's messages that are remembered for their answers
_MAX_GROWING: Final = 100  # answers in several parts that are remembered at once
_MAX_PARTS: Final = 500  # of one answer that are shown, the latest
_ANSWER_TIME: Final = 600.0  # seconds; no question waits for longer, whatever the asker says

_WONDER: Final = 2.0  # seconds without an answer, after which the person may wonder
_GLANCE: Final = 0.2  # seconds between two looks whether the program ends
_BEAT: Final = 5.0  # seconds between two questions who is there
_CALM: Final = 1.0  # seconds that are always between them
_SHARE: Final = 20  # times as long as it took to get the answers is waited


class GradioUser(Agent):
    """The person at the page. Shows every message that reaches it."""

    def __init__(self, id: str, screen: Screen) -> None:
        super().__init__(id, receive_own_broadcasts=False, permission_timeout=_ANSWER_TIME)
        self._screen = screen
        self._approvals = Approvals(screen)
        self._numbers = itertools.count(1)
        self._sent: dict[str, dict[str, Any]] = {}  # by id; guarded by _lock
        self._unanswered: set[str] = set()  # ids of those
        self._lock = threading.Lock()
        self._growing: dict[Hashable, deque[Any]] = {}
        self._discovery = Discovery(self)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        screen.show_present(present(id, {}))

    async def after_add(self) -> None:
        """Begin to find out who is there."""
        self._loop = asyncio.get_running_loop()
        self._look = asyncio.Event()
        self._discovery = Discovery(self)
        self._watching = asyncio.create_task(self._watch())

    async def before_remove(self) -> None:
        """Nobody is there any more."""
        if self._watching is not None:
            self._watching.cancel()
        self._screen.show_present(present(self.id, {}))

    # For other agents

    @action
    async def say(self, content: str) -> None:
        """Say something to the person at the page.

        Args:
            content: What to say, as Markdown
        """

    @action(access_policy=ACCESS_REQUESTED)
    async def approve(
        self, proposed_message: dict[str, Any], place: str = "", timeout: float = _ANSWER_TIME
    ) -> bool:
        """Ask the person at the page whether an action of yours may run.

        The message is shown to them whole, with Approve and Deny. It returns true if they approve;
        if they deny or do not answer in time, it is not permitted.

        Args:
            proposed_message: The message that invokes your action
            place: Where it would run
            timeout: Seconds that they have
        """
        return True

    async def help(
        self, action_name: str | None = None, format: Literal["help", "json_schema"] = "help"
    ) -> Any:
        """Describe the actions of this agent, except for `approve`, which would only tempt models.

        Args:
            action_name: Describe only this action
            format: "help", or "json_schema" for what language models and MCP take

        Returns:
            dict: An object with one entry for each action
        """
        described = super().help(action_name, format)
        return {name: entry for name, entry in described.items() if name != "approve"}

    async def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Nothing besides being shown, unless it says who is there."""
        message = self._current_message
        self._discovery.heard(message["from"], data, original_message_id)

    async def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Nothing besides being shown, unless it is about who is there."""
        message = self._current_message
        await self._discovery.failed(message["from"], original_message_id)

    async def before_action(self, message: dict[str, Any]) -> None:
        """Show the message, whatever it invokes, unless it is part of finding out who is there."""
        sender, name = message["from"], message["action"]["name"]
        answered = (message["action"].get("args") or {}).get("original_message_id")
        if self._discovery.is_question(answered) or name in {"approve", "help"}:
            return
        if sender not in self._discovery.actions:
            self._look.set()
        cause = self._cause(sender, answered)
        if cause is not None:
            self._unanswered.discard(cause["id"])
            self._screen.remove(_wondering(cause))
        if name == "response" and cause is not None:
            self._grow(message, cause)
            return
        stream = message.get("meta", {}).get("stream")
        key = (sender, stream.get("id")) if isinstance(stream, dict) else None
        self._screen.add(lambda: received(message, cause), key)

    def _cause(self, sender: str, answered: Any) -> dict[str, Any] | None:
        """The person's message that this sender answers, if it does."""
        with self._lock:
            cause = self._sent.get(answered) if isinstance(answered, str) else None
        return cause if cause is not None and cause["to"] in {sender, BROADCAST} else None

    def _grow(self, message: dict[str, Any], cause: dict[str, Any]) -> None:
        """Show an answer; of a generator action there are several, which become one message."""
        key = (message["from"], cause["id"])
        parts = self._growing.pop(key, None) or deque(maxlen=_MAX_PARTS)
        parts.append(message["action"]["args"].get("data"))
        self._growing[key] = parts
        if len(self._growing) > _MAX_GROWING:
            del self._growing[next(iter(self._growing))]
        self._screen.add(lambda: received(message, cause, list(parts)), key)

    # For the person

    def type(self, text: str) -> bool:
        """Do what the person typed, and show it. Returns False if it was wrong; that is shown, too."""
        text = text.strip()
        if not text:
            return True
        self._screen.add(typed(text))
        try:
            self._send_command(parse_command(text))
        except (AgencyError, ValueError) as error:
            self._screen.add(wrong(error, text))
            return False
        return True

    def press(self, nonce: str, *, approved: bool) -> None:
        """The person has pressed Approve or Deny at the question of this number."""
        question = self._approvals.answer(nonce, approved=approved)
        if question is not None:
            self._screen.add(decided(question, approved=approved))

    def look(self) -> None:
        """Find out now who is there: a page was opened. May be called from any thread."""
        self._soon(lambda _loop: self._look.set())

    def _send_command(self, message: dict[str, Any]) -> None:
        message["id"] = f"{self.id} {next(self._numbers)}"
        if message["action"]["name"] == "say":
            message["meta"] = {"stream": True}  # see agents.speech
        with self._lock:
            self._sent[message["id"]] = message
            if len(self._sent) > _MAX_SENT:
                del self._sent[next(iter(self._sent))]
        if message["to"] in {BROADCAST, self.id}:
            self.send(message)
        else:
            self._unanswered.add(message["id"])
            self.send(message)
            self._wonder_later(message)

    def _wonder_later(self, message: dict[str, Any]) -> None:
        self._soon(lambda loop: loop.call_later(_WONDER, self._wonder, message))

    def _wonder(self, message: dict[str, Any]) -> None:
        """Say that there is no answer yet, if one is to be expected and no question tells why."""
        if message["id"] not in self._unanswered:
            return
        if self._approvals.is_asking:
            self._wonder_later(message)
            return
        self._unanswered.discard(message["id"])
        known = self._discovery.actions
        is_here = message["to"] in known
        if not is_here or _returns(known[message["to"]], message["action"]["name"]):
            self._screen.add(unanswered(message, is_here=is_here), _wondering(message))

    # Inside

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Put the question of `approve` to the person, and wait for a button to be pressed.

        Only a button of the page answers: there is no message that does.
        """
        question = _question(proposed_message)
        if question is None:
            return False
        with self._approvals.question(question) as answer:
            while (left := question.deadline - time.monotonic()) > 0:
                if self.leaving.is_set():
                    return False
                try:
                    return answer.result(min(left, _GLANCE))
                except TimeoutError:
                    continue
        self._screen.add(decided(question, approved=None))
        return False

    def _soon(self, function: Callable[[asyncio.AbstractEventLoop], object]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function, self._loop)
            except RuntimeError:
                pass  # left its space meanwhile

    async def _watch(self) -> None:
        """Keep the list beside the chat fresh."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._discovery.refresh()
            except AgencyError:
                pass  # the link is broken, and the list as it was
            self._screen.show_present(present(self.id, self._discovery.actions))
            took = loop.time() - began
            await asyncio.sleep(_CALM)
            try:
                async with asyncio.timeout(max(_BEAT, took * _SHARE)):
                    await self._look.wait()
            except TimeoutError:
                if not self._screen.is_watched:
                    await self._look.wait()
            self._look.clear()


def _wondering(message: dict[str, Any]) -> Hashable:
    return "no answer yet", message["id"]


def _returns(actions: dict[str, Any], name: str) -> bool:
    """Whether an action is known to return a value always, so that there will be an answer."""
    about = actions.get(name)
    returned = about.get("returns") if isinstance(about, dict) else None
    choices = returned.get("anyOf") if isinstance(returned, dict) else None
    return all(
        isinstance(one, dict) and one.get("type", "null") != "null"
        for one in (choices if isinstance(choices, list) else [returned])
    )


def _question(asking: dict[str, Any]) -> Question | None:
    """What the person is to be asked; None if it is no message to the one who asks."""
    asker, args = asking["from"], asking["action"]["args"]
    try:
        message = freeze(args["proposed_message"])
    except (TypeError, ValueError):
        return None
    if "from" not in message or message["to"] not in {asker, BROADCAST}:
        return None  # nobody asks in another's name
    seconds = min(max(0.0, args.get("timeout", _ANSWER_TIME)), _ANSWER_TIME)
    return Question(
        by=asker,
        message=message,
        place=args.get("place", ""),
        deadline=time.monotonic() + seconds,
    )

"""The agent: everything that takes part in a space, whether a model, a program or a person.

Above: spaces build agents and give them a home (`agency.resident`), which moves their messages.
Below: the message (`agency.schema`), actions and their table (`agency.actions`). What a message
makes an agent do is decided in `agency.turn`; nothing here starts a thread or waits, except for
what `request` and `stream` ask of the home.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, cast

from agency.actions import ActionSpec, ActionTable, action, by_default
from agency.envelope import MAILBOX_MESSAGES, Envelope
from agency.errors import InvalidMessage, NotInSpace
from agency.proxy import Proxy
from agency.schema import BROADCAST, Signed, check_agent_id, signed
from agency.supervision import Supervision
from agency.timeouts import check_seconds, check_timeout

__all__ = [
    "DEFAULT_TIMEOUT",
    "Agent",
    "Deciding",
    "Handling",
    "Home",
    "Membership",
    "current_message",
    "current_redelivered",
    "current_senders",
    "handling",
    "home_of",
    "running",
]

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a request waits unless it says otherwise."""


@dataclass(slots=True)
class Handling:
    """A turn in progress: which agent handles which message, and who would wait if the action asked
    somebody.
    """

    agent: Agent
    envelope: Envelope
    waiter: int | asyncio.Task[Any]
    """The thread (its identifier) or the task that runs the action."""

    def who_waits(self, task: asyncio.Task[Any] | None = None) -> tuple[str, ...]:
        """Who would wait, outermost first, if the current thread or task asked somebody."""
        if not self.is_here(task):
            return ()
        chain, me = self.envelope.chain, self.agent._agency.id
        return (*chain, me) if chain else (me,)

    def is_here(self, task: asyncio.Task[Any] | None = None) -> bool:
        """Whether the current thread or task is the one that runs the action, not something that it
        started. The task may be given where it is known: to ask for it takes a system call.
        """
        if task is None:
            # By way of the loop: where none is running, `current_task` raises, and that takes 1 µs.
            loop = asyncio._get_running_loop()
            task = None if loop is None else asyncio.current_task(loop)
        return self.waiter is task if task is not None else self.waiter == threading.get_ident()


class Deciding(Handling):
    """A turn that waits for permission: the agent goes on with others meanwhile, so it does not wait
    itself.
    """

    __slots__ = ()

    def who_waits(self, task: asyncio.Task[Any] | None = None) -> tuple[str, ...]:
        return self.envelope.chain if self.is_here(task) else ()


handling: ContextVar[Handling | None] = ContextVar("agency_handling", default=None)
"""The turn that the current thread or task belongs to. Set by runners."""


class Home(Protocol):
    """What an agent needs of the place it lives in; `agency.resident.Resident` is the one that
    spaces use.
    """

    def send(self, own: Signed) -> None: ...
    def request(self, own: Signed, timeout: float | None) -> Any: ...
    async def arequest(self, own: Signed, timeout: float | None) -> Any: ...
    def stream(self, own: Signed, timeout: float | None) -> Generator[Any, None, None]: ...
    def astream(self, own: Signed, timeout: float | None) -> AsyncGenerator[Any, None]: ...


@dataclass(slots=True)
class Membership:
    """What the framework knows of one agent."""

    id: str
    actions: ActionTable
    receive_own_broadcasts: bool
    concurrency: int
    permission_timeout: float
    mailbox: int = MAILBOX_MESSAGES
    home: Home | None = None
    is_leaving: bool = False
    leaving: threading.Event | None = None
    """Made when somebody asks for it; set when `is_leaving` becomes true."""

    def arrive(self, home: Home) -> None:
        """The agent lives there from now on; it may have lived elsewhere before."""
        with _LEAVING:
            self.home = home
            self.is_leaving = False
            self.leaving = None

    def leave(self) -> None:
        """The agent is asked to leave its space."""
        with _LEAVING:
            self.is_leaving = True
            if self.leaving is not None:
                self.leaving.set()


_LEAVING: Final = threading.Lock()  # one for all: it is held for moments, and rarely

if hasattr(os, "register_at_fork"):  # or a child might have it locked for ever
    os.register_at_fork(
        before=_LEAVING.acquire, after_in_parent=_LEAVING.release, after_in_child=_LEAVING.release
    )


class Agent:
    """Base class of agents: give it actions, add it to a space.

    An agent handles one message at a time, in the order of arrival, unless it is given a higher
    `concurrency`. Actions and callbacks may be `def` (run on a thread) or `async def` (run on an
    event loop that is the agent's own), so that one agent's blocking never delays another's.

    Args:
        id: how others address the agent; unique in its space.
        receive_own_broadcasts: whether what the agent sends to `*` reaches itself too.
        concurrency: how many messages the agent may handle at once. With more than one, order is
            not kept.
        permission_timeout: seconds that `request_permission` may take; no answer by then is a
            refusal.
        mailbox: how many messages may wait for the agent, or for permission; they may have 64 MiB
            together. Who sends to a full mailbox waits, and then gets `MailboxFull`. `AMQPSpace`
            keeps the mail on its server, 10,000 messages for any agent.

    Raises:
        InvalidAgentId: see `agency.schema.check_agent_id`.
        InvalidAction: a method marked with `@action` cannot be one.
        ValueError: `concurrency` or `mailbox` is below 1, or `permission_timeout` below 0.
        TypeError: one of them is no number.
    """

    supervision: ClassVar[Supervision | None] = None
    """What is to happen if the agent's process dies, where that is not the application's own. None
    leaves it to the space.
    """

    def __init__(
        self,
        id: str,  # the seeds' name for it
        receive_own_broadcasts: bool = True,  # positional in the seeds
        *,
        concurrency: int = 1,
        permission_timeout: float = 120.0,
        mailbox: int = MAILBOX_MESSAGES,
    ) -> None:
        for name, number in (("concurrency", concurrency), ("mailbox", mailbox)):
            if not isinstance(number, int):
                raise TypeError(f"{name} is a whole number, not {number!r}")
            if number < 1:
                raise ValueError(f"{name} is at least 1, not {number}")
        # The only attribute of the framework's own, so that a subclass may call its own what it likes.
        self._agency = Membership(
            check_agent_id(id),
            ActionTable.of(type(self)),
            receive_own_broadcasts,
            concurrency,
            check_seconds("permission_timeout", permission_timeout),
            mailbox,
        )

    # Identity

    @property
    def id(self) -> str:
        """How others address this agent."""
        return self._agency.id

    @property
    def _current_message(self) -> Any:
        """The whole message that this agent is handling in the current thread or task, a dict; None
        outside of an action.
        """
        turn = handling.get()
        return (
            cast("dict[str, Any]", turn.envelope.message)
            if turn is not None and turn.agent is self
            else None
        )

    @property
    def leaving(self) -> threading.Event:
        """Set as soon as the agent is asked to leave its space.

        An action that takes long can watch it and end early: `before_remove` comes only after the
        action, and the space waits for that no longer than its grace.
        """
        with _LEAVING:
            if self._agency.leaving is None:
                self._agency.leaving = threading.Event()
                if self._agency.is_leaving:
                    self._agency.leaving.set()
            return self._agency.leaving

    # Speaking

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; `from` is filled in. The dict is not modified and may be used again.

        Returns when the space has accepted the message, which is not when it has been handled. A
        receiver that does not exist is no error: the message is counted among the space's dead
        letters. If the receiver's mailbox is full, waits for room as long as the space allows
        (`send_timeout`); but not on a thread that runs an event loop, where
        `await asyncio.to_thread(self.send, message)` does. A broadcast never waits: where the mailbox
        is full, it is a dead letter, and it reaches all others.

        Raises:
            TypeError: not a dict.
            InvalidMessage: breaks the schema; nothing was sent.
            MailboxFull: the receiver has no room; nothing was sent.
            NotAccepted: the space could not take it for another reason; nothing was sent.
            NotInSpace: the agent has not been added to a space, or has left it.
        """
        me = self._agency
        (me.home or home_of(self)).send(signed(message, me.id))

    def request(self, message: dict[str, Any], timeout: float | None = DEFAULT_TIMEOUT) -> Any:
        """Send a message and wait for the value that the action returns; None is a value here.

        The answer does not pass through the mailbox, so an action may wait for another agent while
        its own agent is serial. The answer counts only if it comes from the agent that was asked.

        Args:
            message: as for `send`, to one agent.
            timeout: seconds to wait; None, or infinity, waits for as long as both agents live.

        Raises:
            ActionError: the action raised, was refused, does not exist, or cannot be called like
                this (subclasses).
            AgentNotFound: nobody has this id.
            DeadlockError: the agent asked is waiting for this one.
            RequestTimeout: no answer in time; a `TimeoutError`.
            OutcomeUnknown: the agent or the link died.
            NotAccepted: the space could not take it; `MailboxFull`: the agent asked has no room. On
                `AMQPSpace` a full mailbox is an `ActionError`.
            InvalidMessage: breaks the schema, or is a broadcast.
        """
        timeout = check_timeout(timeout)
        return home_of(self).request(_own_to_one(self, message), timeout)

    async def arequest(
        self, message: dict[str, Any], timeout: float | None = DEFAULT_TIMEOUT
    ) -> Any:
        """`request` for async code: waits without blocking the event loop. The same guarantees and
        errors.
        """
        timeout = check_timeout(timeout)
        return await home_of(self).arequest(_own_to_one(self, message), timeout)

    def stream(
        self, message: dict[str, Any], timeout: float | None = DEFAULT_TIMEOUT
    ) -> Generator[Any, None, None]:
        """Send a message and yield each value that the generator action produces, as it is
        produced.

        The message is checked at once and sent when the first value is asked for. Leaving the
        iterator early tells the producer to stop. An action that returns a value instead of
        producing several yields that one.

        Args:
            message: as for `send`, to one agent.
            timeout: seconds to wait for each value.

        Raises:
            The errors of `request`, the first time a value is awaited that does not come.
        """
        timeout = check_timeout(timeout)
        return home_of(self).stream(_own_to_one(self, message), timeout)

    def astream(
        self, message: dict[str, Any], timeout: float | None = DEFAULT_TIMEOUT
    ) -> AsyncGenerator[Any, None]:
        """`stream` for async code."""
        timeout = check_timeout(timeout)
        return home_of(self).astream(_own_to_one(self, message), timeout)

    def proxy(self, agent_id: str, *, timeout: float | None = DEFAULT_TIMEOUT) -> Proxy:
        """Another agent as an object: `calc = agent.proxy("calc"); calc.add(a=1, b=2)` is a
        request.
        """
        return Proxy(self, check_agent_id(agent_id), timeout)

    # Special actions

    @action
    @by_default
    def help(
        self, action_name: str | None = None, format: Literal["help", "json_schema"] = "help"
    ) -> Any:
        """Describe the actions of this agent.

        Args:
            action_name: Describe only this action
            format: "help", or "json_schema" for what language models and MCP take

        Returns:
            dict: An object with one entry for each action
        """
        return {
            spec.name: _describe(spec, format) for spec in self._agency.actions.shown(action_name)
        }

    @action
    @by_default
    def response(self, data: Any = None, original_message_id: str | None = None) -> Any:
        """Receive the value of an action that this agent invoked with `send`. Override it to use
        the value.

        Args:
            data: What the action returned
            original_message_id: The id of the message that invoked it
        """
        logger.debug('"%s" got a response to %r', self.id, original_message_id)

    @action
    @by_default
    def error(self, error: str = "", original_message_id: str | None = None) -> Any:
        """Receive the error of an action that this agent invoked with `send`. Override it to act on
        it.

        Args:
            error: What went wrong
            original_message_id: The id of the message that invoked it
        """
        logger.warning('"%s" got an error in answer to %r: %r', self.id, original_message_id, error)

    # Callbacks

    @by_default
    def after_add(self) -> Any:
        """Called once after the agent was added: it may send and request; its mailbox is open but
        waits until this returns.

        May be `async`. If it raises, `add` raises `StartFailed` and the agent is not in the space.
        `add` waits for as long as it takes; a `LocalSpace`, for an agent in another process, no
        longer than its `start_timeout`.
        """

    @by_default
    def before_remove(self) -> Any:
        """Called once before the agent leaves its space, when it takes no more messages but may
        still send.

        Called after the action that is running, unless that takes longer than the space's grace.
        May be `async`, then on the agent's loop, except if an `async` action of its own removes it:
        that keeps the loop. What it raises is logged. After what is left of the grace, a second at
        least, it is waited for no longer.
        """

    @by_default
    def before_action(self, message: dict[str, Any]) -> Any:
        """Called before each permitted action, on the agent's thread or loop. May be `async`; may
        leave out the argument.

        If it raises, neither the action nor `after_action` runs and the sender gets the error.
        """

    @by_default
    def after_action(
        self, message: dict[str, Any], return_value: Any, error: BaseException | None
    ) -> Any:
        """Called after each action that ran, also if it raised. May be `async`. What it raises
        itself is logged.
        """

    @by_default
    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Decide about a call of an action with `ACCESS_REQUESTED`. Only `True` permits.

        Runs beside the agent's other actions, one call a message; may block or be `async`. The
        message is a copy: what runs is exactly what was proposed. An exception, any other value, or
        no answer within `permission_timeout` is a refusal, and so is this default.
        """
        logger.warning(
            '"%s" has no request_permission, so its actions on request are refused', self.id
        )
        return False


def running() -> int | asyncio.Task[Any]:
    """What runs here: the current task, or the thread (its identifier) if there is none."""
    loop = asyncio._get_running_loop()
    task = None if loop is None else asyncio.current_task(loop)
    return threading.get_ident() if task is None else task


def home_of(agent: Agent) -> Home:
    """Where the agent lives.

    Raises:
        NotInSpace: nowhere.
    """
    home = agent._agency.home
    if home is None:
        raise NotInSpace(f'"{agent.id}" is not in a space; add it to one first')
    return home


def _own_to_one(agent: Agent, message: dict[str, Any]) -> Signed:
    own = signed(message, agent._agency.id)
    if own[0] == BROADCAST:
        raise InvalidMessage('to: a request is to one agent; "*" has no single answer, use send')
    return own


def current_message() -> dict[str, Any] | None:
    """The message being handled in the current thread or task, by whichever agent; None outside of
    an action.
    """
    turn = handling.get()
    return None if turn is None else cast("dict[str, Any]", turn.envelope.message)


def current_redelivered() -> bool:
    """Whether the message being handled may have been begun before: it was in the care of a process that
    died, or lost its link to the broker. Always False where no message outlives its process.
    """
    turn = handling.get()
    return turn is not None and turn.envelope.redelivered


def current_senders() -> tuple[str, ...]:
    """Who led to the message being handled, oldest first: its sender is the last. Empty outside of an
    action or callback.

    If a person asks a model, and the model asks this agent, these are the person and the model. What
    other processes on a broker say of earlier senders is as true as they are.
    """
    turn = handling.get()
    return () if turn is None else turn.envelope.senders


def _describe(spec: ActionSpec, form: str) -> Any:
    """A copy: an override of `help` may change what it gets from here."""
    if form == "json_schema":
        return copy.deepcopy(spec.description.json_schema)
    return copy.deepcopy(
        spec.description.help if spec.help_override is None else spec.help_override
    )

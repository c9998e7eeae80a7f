"""The space: where agents live, and what every kind of space has in common.

`Space` keeps the agents of this process, gives them life and takes it away; a kind of space
(`agency.spaces`) adds the transport through the hooks at the end of the class. To write one of your
own, implement those hooks and run `agency.testing` on it. Above: your program. Below:
`agency.resident`, one agent's door and mailbox.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from agency import lifetime
from agency.agent import Agent, handling
from agency.audit import AuditLog
from agency.calls import Reader
from agency.deadletters import DeadLetter, DeadLetters, Reason
from agency.envelope import Envelope, Kind, answer, cancel, new_envelope_id
from agency.errors import (
    AgencyError,
    AgentIdInUse,
    Failure,
    SpaceClosed,
    SpaceHalted,
    StartFailed,
    UnknownAgent,
)
from agency.guest import Guest
from agency.resident import PARENTS, Resident, is_called_by_agent
from agency.schema import BROADCAST, check_agent_id, duplicate
from agency.supervision import Supervision
from agency.threads import Crew, Latch
from agency.timeouts import SEND_TIMEOUT, check_seconds, check_timeout
from agency.turn import describe
from agency.watching import Down, Watchers, Watching

__all__ = ["Space"]

logger = logging.getLogger(__name__)

AnyAgent = TypeVar("AnyAgent", bound=Agent)
AgentFactory = Callable[..., AnyAgent]


class Space(ABC):
    """Where agents communicate. All methods may be called from any thread, also from an agent's
    action.

    A program that adds agents and reaches the end of its main module keeps serving until Ctrl-C,
    SIGTERM or `destroy`. Use it as a context manager to have it destroyed at the end of the block.

    Args:
        grace: seconds that actions in progress are given to end when their agent is removed.
        send_timeout: seconds that `send` waits for room in a full mailbox.
        audit: a file for the audit log (`agency.audit`): each decision about an action with
            `ACCESS_REQUESTED` is written there before it takes effect, with all arguments. What cannot be
            written is refused. None for no log.

    Raises:
        OSError: the audit log cannot be opened.
    """

    reader: Reader | None = None
    """By whom threads that wait for an answer read it themselves, if they can."""

    def __init__(
        self,
        *,
        grace: float = 10.0,
        send_timeout: float = SEND_TIMEOUT,
        audit: str | os.PathLike[str] | None = None,
    ) -> None:
        grace = check_seconds("grace", grace)
        self._send_timeout = check_seconds("send_timeout", send_timeout)
        self.audit = None if audit is None else AuditLog(audit)
        if self.audit is not None:
            self.audit.open()
        self._lock = threading.RLock()
        self._residents: dict[str, Resident] = {}  # written under _lock, read without it
        self._claimed: set[str] = set()  # guarded by _lock
        self._has_had_agents = False
        self._crew = Crew(f"agency-{type(self).__name__}")
        self._dead_letters = DeadLetters()
        self._watchers = Watchers()
        self._grace = grace
        self._leave_by = math.inf
        self._halted = False
        self._closing = False
        self._closed = Latch()
        self._is_parents = False  # a forked child has only a copy
        self._new_id = new_envelope_id()
        lifetime.made(self)

    # Agents

    @overload
    def add(self, agent: AnyAgent, /) -> AnyAgent: ...
    @overload
    def add(
        self, agent_class: AgentFactory[Agent], agent_id: str, /, *args: Any, **kwargs: Any
    ) -> None: ...
    def add(self, agent: Any, agent_id: str | None = None, /, *args: Any, **kwargs: Any) -> Any:
        """Add an agent: one that was built already, or a class that the space builds where this
        kind of space does.

        `add(agent)` returns the agent, which lives in this process and is a full member.
        `add(AgentClass, "id", ...)` calls `AgentClass("id", ...)`; all further arguments are the
        agent's own. It returns nothing, because the agent may live elsewhere: address it by its id.
        Either way, when this returns, the agent can be addressed by every other.

        Raises:
            AgentIdInUse: another agent has the id (a `ValueError`); it is left untouched.
            InvalidAgentId: the id cannot name an agent.
            StartFailed: the constructor or `after_add` raised; nothing is left behind.
            SpaceClosed: the space was destroyed, or halted.
            TypeError: neither an agent nor a class with an id.
        """
        if isinstance(agent, Agent):
            if agent_id is not None or kwargs:
                raise TypeError(
                    "an agent that is built already takes no further arguments: space.add(agent)"
                )
            with lifetime.undisturbed():
                self._add_here(_checked_id(agent), lambda: agent)
            return agent
        with lifetime.undisturbed():
            self._add(_checked_class(agent), agent_id, args, kwargs, self._add_class)
        return None

    def add_foreground(
        self, agent_class: AgentFactory[AnyAgent], agent_id: str, /, *args: Any, **kwargs: Any
    ) -> AnyAgent:
        """Build an agent in this process, whatever the kind of space, add it, and return it. Raises
        what `add` raises.
        """
        with lifetime.undisturbed():
            return self._add(  # type: ignore[no-any-return]
                _checked_class(agent_class), agent_id, args, kwargs, self._build_here
            )

    def join(self, agent_id: str | None = None) -> Guest:
        """Take part in the space oneself, from a script, a REPL or a notebook, without writing a
        class.

        Returns an agent that can send and request, and keeps what it is told; see
        `agency.guest.Guest`. Its id is random unless given. Raises what `add` raises.
        """
        return self.add(Guest(Guest.random_id() if agent_id is None else agent_id))

    def remove(self, agent: str | Agent) -> None:
        """Remove an agent that was added through this space object.

        The action in progress may end (10 seconds at most), then `before_remove` is called;
        messages not yet begun become dead letters. When this returns, the id is free.

        Raises:
            UnknownAgent: this space object has no such agent (a `ValueError`).
        """
        self._check_process()
        agent_id = agent.id if isinstance(agent, Agent) else agent
        resident = self._residents.get(agent_id)
        if isinstance(agent, Agent) and resident is not None and resident.agent is not agent:
            resident = None
        with lifetime.undisturbed():
            if resident is not None and resident.begin_to_leave():
                self._take_leave(resident, self._grace)
            elif isinstance(agent, Agent) or not self._remove_elsewhere(agent_id):
                raise UnknownAgent(f"no agent {agent_id!a} was added through this space")

    def watch(self, agent_id: str, callback: Watching) -> Callable[[], None]:
        """Have `callback` called once, with a `Down`, when an agent that was added through this space
        object is gone and its id is free.

        `Down.reason` says why: it was removed (`AGENT_REMOVED`), or its process died and it is not
        started again (`AGENT_DIED`). Nobody is told of a restart. If there is no such agent, it is
        told so at once (`NO_SUCH_AGENT`); agents of other applications count as that. It is called on
        a thread of its own, never within `watch`, and may block; what it raises is logged. Call what
        is returned to be told no more. An agent is watched until it is gone: to watch its successor
        of the same id, watch anew.
        """
        self._check_process()
        check_agent_id(agent_id)
        self._watchers.add(agent_id, callback)
        if not self._has(agent_id) and self._watchers.discard(agent_id, callback):
            down = Down(agent_id, Reason.NO_SUCH_AGENT, "there is no such agent")
            self._tell([callback], down)

        def unwatch() -> None:
            self._watchers.discard(agent_id, callback)

        return unwatch

    # Lifetime

    def halt(self) -> None:
        """The kill switch: when this returns, no agent that was added through this space object takes
        another message out of its mailbox, whether it cooperates or not. One that it took before may
        still be entered: it counts as an action in progress.

        What they would send is refused with `SpaceHalted`; what waits for permission, or will, is
        refused; nobody can be added. An action in progress goes on, is told by `Agent.leaving`, and
        is answered, but its stream is cut short. The mail is kept, on a broker too, until `remove` or
        `destroy`, which count it as dead letters. There is no way back. Idempotent; may be called
        from anywhere, also from an action.
        """
        if self._is_parents:
            return
        with lifetime.undisturbed():
            with self._lock:
                self._halted = True
                residents = list(self._residents.values())
            for resident in residents:
                resident.halt()
            for resident in residents:
                resident.deny()

    def destroy(self) -> None:
        """Remove every agent, in the reverse order of their coming, and free all that the space
        holds.

        Idempotent; a second caller waits for the first, unless it is an action or a callback of an
        agent. Requests in progress end with an error. Takes at most about 15 seconds even if
        actions never end, and one more for each agent whose `before_remove` does not; these are
        named in the log. In a forked child it does nothing.
        """
        if self._is_parents:
            return
        with lifetime.undisturbed():
            with self._lock:
                first, self._closing = not self._closing, True
                if first:  # one limit for all: one that is stuck must not use up another's
                    self._leave_by = time.monotonic() + self._grace
            if not first:
                if not is_called_by_agent():
                    self._closed.wait(2 * self._grace)
                return
            try:
                self._take_everyone_out()
                self._shut_down()
                self._crew.close()
                stuck = self._crew.join(timeout=1.0)
                if stuck:
                    logger.warning(
                        "%s was destroyed while actions are still running on %s",
                        self,
                        ", ".join(stuck),
                    )
            finally:
                if self.audit is not None:
                    self.audit.close()
                lifetime.destroyed(self)
                self._closed.open()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the space has been destroyed. Returns False if that took longer than `timeout`
        seconds.
        """
        self._check_process()
        return self._closed.wait(check_timeout(timeout))

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that were lost here, counted by reason."""
        return self._dead_letters

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._residents)} agents in this process>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.destroy()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.destroy)

    # Hooks: what a kind of space has to say. Everything below is called by this class only.

    @abstractmethod
    def _claim(self, agent_id: str) -> None:
        """Make the id this process's own throughout the space, or raise `AgentIdInUse`. May block."""

    @abstractmethod
    def _release(self, agent_id: str) -> None:
        """Give a claimed id back, and with it all that was set up for its agent. Must not raise."""

    @abstractmethod
    def _connect(self, resident: Resident) -> None:
        """From now on, deliver what others send to the resident, and broadcasts:
        `resident.deliver(envelope)`.
        """

    @abstractmethod
    def _disconnect(self, resident: Resident) -> None:
        """Deliver nothing more to the resident, which has left or could not come. Must not raise."""

    @abstractmethod
    def route(self, envelope: Envelope) -> None:
        """Carry what a resident sends to its receiver, or to all if that is `*`. Called from any
        thread.

        Returns when the message is accepted. Keeps the order in which a sender calls it. For a
        receiver that exists nowhere, `drop(envelope, Reason.NO_SUCH_AGENT)` is called, now or
        later. `_deliver_here` serves receivers in this process.

        Raises:
            NotAccepted: the message was not and will not be sent; `MailboxFull`: the receiver has
                no room.
        """

    def _add_class(
        self,
        agent_class: AgentFactory[Agent],
        agent_id: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Build the agent where this kind of space builds agents. Here, unless overridden."""
        self._build_here(agent_class, agent_id, args, kwargs)

    def _has(self, agent_id: str) -> bool:
        """Whether the agent was added through this space object and has not gone. An override adds
        those of other processes.
        """
        return agent_id in self._residents

    def _tell(self, watching: list[Watching], down: Down) -> None:
        """An agent has gone, and these wanted to be told."""
        self._watchers.tell(watching, down, self._crew)

    def _remove_elsewhere(self, agent_id: str) -> bool:  # an override uses it
        """Remove an agent that `_add_class` built in another process. Returns whether there was
        one.
        """
        return False

    def _shut_down(self) -> None:
        """Free the transport. Called once, after the last agent of this process has left. Agents elsewhere
        have `grace_left()` to leave.
        """
        return

    def stay_with_parent(self) -> None:
        """Called in a forked child, where the space is a copy without threads: whoever uses it there,
        or an agent in it, gets `SpaceClosed`, and nothing reaches the parent. An override does the
        same for its transport.
        """
        self._is_parents = True
        self._lock = threading.RLock()  # another thread may have held it
        self._crew.stay_with_parent()
        for resident in self._residents.values():
            resident.stay_with_parent()

    # For kinds of space, and for residents

    def _deliver_here(self, envelope: Envelope) -> bool:
        """Deliver to the resident that the message is for; False if it does not live in this
        process. If its mailbox is full, waits for room.

        Raises:
            MailboxFull: there was none within `send_timeout`.
        """
        resident = self._residents.get(envelope.to)
        if resident is None:
            return False
        resident.deliver(envelope, waits=True)
        return True

    def _broadcast_here(self, envelope: Envelope) -> None:
        """Deliver a broadcast to every resident that wants it and has room for it. Never waits."""
        sender = envelope.sender
        for resident in list(self._residents.values()):
            receiver = resident.agent._agency
            if receiver.id == sender and not receiver.receive_own_broadcasts:
                continue
            if resident.mailbox.has_room():
                resident.deliver(envelope)
            else:
                self.drop(envelope, Reason.MAILBOX_FULL, f"of {receiver.id!a}")

    def grace_left(self) -> float:
        """Seconds that actions in progress are given to end when their agent leaves now: since `destroy`,
        what is left for all of them together.
        """
        return max(0.0, min(self._grace, self._leave_by - time.monotonic()))

    def patience(self, envelope: Envelope) -> float:
        """Seconds that the current thread may wait until the receiver has room for this: none if it
        runs an event loop, or is all that the receiver has to take something out of its mailbox.
        """
        if asyncio._get_running_loop() is not None:
            return 0.0
        turn = handling.get()
        if turn is not None and turn.agent._agency.concurrency == 1 and turn.is_here():
            resident = self._residents.get(envelope.to)
            if resident is not None and resident.agent is turn.agent:
                return 0.0
        if envelope.deadline is None:
            return self._send_timeout
        return min(self._send_timeout, envelope.deadline - time.monotonic())

    def drop(self, envelope: Envelope, reason: Reason, detail: str = "") -> None:
        """Count a message as lost; if somebody waits for an answer to it, tell them; if it is part of a
        stream, tell the producer that nobody wants more. Never raises.
        """
        self._dead_letters.add(DeadLetter(reason, dict(duplicate(envelope.message)), detail))
        if envelope.kind is Kind.PART:
            self._tell_of_loss(cancel(envelope, self._new_id()))
        elif reason in _ANSWERED and (
            envelope.wants_answer or _is_told_without_asking(envelope, reason)
        ):
            failure, text = _ANSWERED[reason]
            refusal = answer(
                envelope,
                self._new_id(),
                envelope.to,
                error=text.format(envelope.to),
                failure=failure,
            )
            self._tell_of_loss(refusal)
        if envelope.receipt is not None:
            envelope.receipt.settled()

    # Inside

    def _tell_of_loss(self, telling: Envelope) -> None:
        try:
            if not self._deliver_here(telling):
                self.route(telling)
        except AgencyError as error:
            logger.debug('"%s" could not be told of a loss: %s', telling.to, error)

    def _add(
        self,
        agent_class: AgentFactory[Agent],
        agent_id: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        build: Callable[[AgentFactory[Agent], str, tuple[Any, ...], dict[str, Any]], Any],
    ) -> Any:
        if agent_id is None:
            raise TypeError(
                f'an agent\'s class needs an id: space.add({agent_class.__name__}, "some id")'
            )
        return build(agent_class, check_agent_id(agent_id), args, kwargs)

    def _build_here(
        self,
        agent_class: AgentFactory[Agent],
        agent_id: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Agent:
        return self._add_here(agent_id, lambda: agent_class(agent_id, *args, **kwargs))

    def _add_here(self, agent_id: str, build: Callable[[], Agent]) -> Agent:
        """Claim the id, build the agent, let it move in; undo all of it if one of these fails."""
        self._reserve(agent_id)
        resident: Resident | None = None
        try:
            self._claim(agent_id)
            try:
                with lifetime.interruptible():
                    agent = _build(agent_id, build)
                resident = Resident(agent, self, self._crew)
                self._connect(resident)
                with self._lock:
                    self._check_open()
                    self._residents[agent_id] = resident
                with lifetime.interruptible():
                    _move_in(resident)
                resident.open_up()
                self._check_stayed(resident)
            except BaseException:
                if resident is None:
                    self._release(agent_id)
                else:
                    self._undo_add(resident)
                raise
            self._has_had_agents = True
        finally:
            self._end_reservation(agent_id)
        return agent

    def _check_stayed(self, resident: Resident) -> None:
        if resident.has_left.is_open():
            self._check_open()
            raise StartFailed(f"{resident.agent.id!a} left the space in its after_add")

    def _undo_add(self, resident: Resident) -> None:
        if not resident.begin_to_leave():
            resident.open_up()  # for whoever destroys the space at this moment
        elif resident.has_moved_in:  # a signal came in between: it is told that it leaves, too
            resident.open_up()
            self._take_leave(resident, self._grace)
        else:
            watching = self._strike_off(resident)
            self._disconnect(resident)
            resident.vanish()
            self._end_stay(resident, watching)

    def _reserve(self, agent_id: str) -> None:
        with self._lock:
            self._check_open()
            if agent_id in self._residents or agent_id in self._claimed:
                raise AgentIdInUse(f"the id {agent_id!a} is in use in this space")
            self._claimed.add(agent_id)
            lifetime.keep_serving(self)

    def _end_reservation(self, agent_id: str) -> None:
        """After `_reserve`: the agent is there, or could not be added."""
        with self._lock:
            self._claimed.discard(agent_id)
            if not (self._has_had_agents or self._claimed):
                lifetime.stop_serving(self)

    def _check_process(self) -> None:
        if self._is_parents:
            raise SpaceClosed(PARENTS)

    def _check_open(self) -> None:
        self._check_process()
        if self._closing:
            raise SpaceClosed("the space was destroyed")
        if self._halted:
            raise SpaceHalted("the space was halted: it takes nobody any more")

    def _take_leave(self, resident: Resident, grace: float) -> None:
        # It stays where others find it until it has moved out: its action in progress may wait for
        # their answers, and its door lets nothing else in.
        if not resident.move_out(grace):
            logger.warning(
                '"%s" was removed while an action of it is still running', resident.agent.id
            )
        watching = self._strike_off(resident)
        self._disconnect(resident)
        self._end_stay(resident, watching)

    def _strike_off(self, resident: Resident) -> list[Watching]:
        """Take the agent from the list; returns who is to be told."""
        agent_id = resident.agent.id
        with self._lock:
            if self._residents.pop(agent_id, None) is None:
                return []
            return self._watchers.take(agent_id)

    def _end_stay(self, resident: Resident, watching: list[Watching]) -> None:
        """After all else: the id is free."""
        agent_id = resident.agent.id
        self._release(agent_id)
        resident.has_left.open()
        self._tell(watching, Down(agent_id, Reason.AGENT_REMOVED))

    def _take_everyone_out(self) -> None:
        with self._lock:
            everyone = list(reversed(self._residents.values()))
        leaving = [one for one in everyone if one.begin_to_leave()]
        for resident in leaving:
            self._take_leave(resident, self.grace_left())
        if not is_called_by_agent():
            for resident in everyone:  # some were being removed by others
                resident.has_left.wait(self.grace_left())


def _checked_id(agent: Agent) -> str:
    if not hasattr(agent, "_agency"):
        raise TypeError(f"{type(agent).__name__}.__init__ does not call super().__init__(id)")
    return agent.id


def _checked_class(agent_class: Any) -> Any:
    if not (isinstance(agent_class, type) and issubclass(agent_class, Agent)):
        raise TypeError(f"space.add takes an Agent or a subclass of Agent, not {agent_class!r}")
    if not isinstance(agent_class.supervision, Supervision | None):
        raise TypeError(
            f"{agent_class.__name__}.supervision is a Supervision, not {agent_class.supervision!r}"
        )
    return agent_class


def _build(agent_id: str, build: Callable[[], Agent]) -> Agent:
    try:
        agent = build()
        built_id = _checked_id(agent)
    except Exception as error:
        raise StartFailed(f"{agent_id!a} could not be built: {describe(error)}") from error
    if built_id != agent_id:
        raise StartFailed(f"{agent_id!a} could not be built: its constructor made it {built_id!a}")
    if agent._agency.home is not None:
        raise StartFailed(f"{agent_id!a} is in a space already")
    return agent


def _move_in(resident: Resident) -> None:
    try:
        resident.move_in()
    except Exception as error:
        raise StartFailed(f"after_add of {resident.agent.id!a} raised {describe(error)}") from error


def _is_told_without_asking(envelope: Envelope, reason: Reason) -> bool:
    """Whether even a sender that does not wait is to get an `error`: its message may have run in part."""
    return (
        _ANSWERED[reason][0] is Failure.OUTCOME_UNKNOWN
        and envelope.kind is Kind.TELL
        and envelope.to != BROADCAST
        and envelope.name not in {"response", "error"}
    )


_ANSWERED = {
    Reason.NO_SUCH_AGENT: (Failure.NO_SUCH_AGENT, 'there is no agent "{}" in the space'),
    Reason.AGENT_REMOVED: (Failure.NO_SUCH_AGENT, '"{}" left the space before it took the message'),
    Reason.AGENT_DIED: (Failure.OUTCOME_UNKNOWN, '"{}" died; nobody knows whether the action ran'),
    Reason.PERHAPS_BEGUN: (
        Failure.OUTCOME_UNKNOWN,
        'nobody knows whether the action ran: "{}" was given the message before, and does not begin it twice',
    ),
    Reason.DELIVERY_LIMIT: (
        Failure.OUTCOME_UNKNOWN,
        'nobody knows whether the action ran: "{}" was given the message too often, and never ended it',
    ),
    Reason.HOP_LIMIT: (
        Failure.FAILED,
        'the message to "{}" is the last of too many that caused each other',
    ),
}
"""What a waiting requester is told when its message is lost; in the other cases the sender knows,
or has gone.
"""

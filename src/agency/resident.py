"""A resident: one agent at home in this process, with its door, its mailbox and its open calls.

Everything that is for the agent comes through `deliver`, on any thread; everything that it says
goes out through the space it lives in. Above: spaces, which find the resident a message is for.
Below: `agency.runners` drives the agent's turns, `agency.calls` knows who waits for which answer.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Container, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Final, NoReturn, Protocol

from agency import lifetime
from agency.actions import is_default
from agency.agent import Agent, handling, running
from agency.audit import AuditLog
from agency.calls import AsyncCall, OpenCalls, Reader, ThreadCall, ends, value_of
from agency.deadletters import Reason
from agency.envelope import (
    ANSWER,
    BROADCAST_LIMIT,
    CANCEL,
    HOP_LIMIT,
    LIGHT,
    PART,
    REQUEST,
    STREAM,
    TELL,
    Envelope,
    Kind,
    answer,
    new_envelope_id,
)
from agency.errors import (
    AgencyError,
    Failure,
    MailboxFull,
    OutcomeUnknown,
    RequestError,
    RequestTimeout,
    SpaceClosed,
    SpaceHalted,
)
from agency.lifetime import is_main_thread
from agency.runners import report, runner_for
from agency.schema import BROADCAST, Signed
from agency.threads import Crew, Latch

__all__ = ["PARENTS", "Place", "Resident", "is_called_by_agent"]

logger = logging.getLogger(__name__)

PARENTS: Final = "this space belongs to the process that was forked; make another one here"
"""Why a forked child cannot use what it has inherited."""

_LEAST_FOR_CLEANING_UP: Final = 1.0
"""Seconds that `before_remove` has even if an action used up the grace."""

_called_back: ContextVar[Agent | None] = ContextVar("agency_called_back", default=None)
"""The agent whose `after_add` or `before_remove` the current thread or task runs."""


def is_called_by_agent() -> bool:
    """Whether the current thread or task runs an action or a callback, so that the end of an agent
    may have to wait for it.
    """
    return handling.get() is not None or _called_back.get() is not None


class Place(Protocol):
    """What a resident needs of its space."""

    audit: AuditLog | None
    reader: Reader | None

    def route(self, envelope: Envelope) -> None: ...
    def patience(self, envelope: Envelope) -> float: ...
    def drop(self, envelope: Envelope, reason: Reason, detail: str = "") -> None: ...


class Resident:
    """One agent at home. Implements `agency.agent.Home` for the agent and `agency.runners.Work` for
    its runner.
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_crew",
        "_gone",
        "_is_open",
        "_leaving",
        "_place",
        "_runner",
        "_sets_up",
        "_streams",
        "agent",
        "has_left",
        "has_moved_in",
        "mailbox",
        "new_id",
    )

    def __init__(self, agent: Agent, place: Place, crew: Crew) -> None:
        self.agent = agent
        self.new_id: Callable[[], str] = new_envelope_id()
        self._place = place
        self._crew = crew
        self._calls = OpenCalls()
        self._streams: set[tuple[str, str]] = set()  # that somebody still wants: which, and who
        self._begun: dict[tuple[str, str], Envelope] = {}  # whose senders wait: which, and who
        self._gone = False
        self.has_moved_in = False
        """Whether the agent has set itself up, and so is to clean up."""
        self.has_left = Latch()
        """Opened when the agent, after `begin_to_leave`, is no more in the space."""
        self._sets_up: int | asyncio.Task[Any] | None = None  # what runs `after_add`
        self._is_open = False
        self._leaving = threading.Lock()  # taken once, by whoever lets the agent leave
        self._runner = runner_for(self, crew)
        self.mailbox = self._runner.mail
        """What waits, and whether more may."""

    # The door

    def deliver(self, envelope: Envelope, *, waits: bool = False) -> None:
        """Take a message in: hand it to the call that it answers, or put it into the mailbox, however
        full that is. Never blocks; raises only with `waits`.

        May be called from any thread; messages of one sender must be delivered in the order in
        which they were sent.

        On the sender's own thread, with `waits`: what goes into the mailbox waits for room there, for
        `send_timeout` at most. An answer does not wait, so that no agent is held up by whom it answers:
        it is a dead letter.

        Raises:
            MailboxFull: with `waits`, there was no room in time, or this thread must not wait.
        """
        kind = envelope.kind
        if kind is not TELL or self._calls:
            if kind is ANSWER or kind is PART or kind is TELL:
                if self._calls.offer(envelope):
                    return self._settle(envelope)
                if kind is not TELL:
                    return self._place.drop(envelope, Reason.LATE_ANSWER)
            elif kind is CANCEL:
                self._streams.discard((envelope.correlation_id or "", envelope.sender))
                return self._settle(envelope)
            elif envelope.chain and self._would_wait_for_itself(envelope.chain):
                return self._deadlocked(envelope)
            elif kind is STREAM:
                self._streams.add((envelope.id, envelope.sender))
        if self._gone:
            return self.lose(envelope)
        if envelope.hops > HOP_LIMIT:
            logger.warning(
                'a message from "%s" to "%s" is dropped: %d messages caused each other up to it',
                envelope.sender,
                self.agent.id,
                envelope.hops,
            )
            self._streams.discard((envelope.id, envelope.sender))
            return self._place.drop(envelope, Reason.HOP_LIMIT)
        mailbox = self.mailbox
        if waits and len(mailbox) >= mailbox.most:
            return self._deliver_late(envelope)
        if envelope.weight:
            mailbox.weigh(envelope.weight)
        return self._runner.put(envelope)

    def _deliver_late(self, envelope: Envelope) -> None:
        """`deliver` when there is room."""
        if envelope.correlation_id is not None:
            return self._place.drop(envelope, Reason.MAILBOX_FULL)
        patience = self._place.patience(envelope)
        if patience <= 0 or not self.mailbox.wait_for_room(patience):
            self._streams.discard((envelope.id, envelope.sender))
            raise MailboxFull(f"the mailbox of {self.agent.id!a} is full")
        self.deliver(envelope)
        return self.mailbox.hand_on()

    # Coming and going

    def move_in(self) -> None:
        """Give the agent its home and let it set itself up. Mail that arrives meanwhile waits for
        `open_up`.

        Raises whatever `after_add` raises.
        """
        self.agent._agency.arrive(self)
        after_add = self.agent.after_add

        def set_up() -> Any:
            self._sets_up = running()
            return after_add()

        async def set_up_on_loop() -> Any:
            return await set_up()

        if not is_default(after_add):
            is_async = inspect.iscoroutinefunction(after_add)
            self._call_back(set_up_on_loop if is_async else set_up)
        self._sets_up = None
        self.has_moved_in = True

    def open_up(self) -> None:
        """Begin to handle messages. Idempotent."""
        if not self._is_open:
            self._is_open = True
            self._runner.resume()

    def begin_to_leave(self) -> bool:
        """Begin with no further message: what arrives from now on, or waits, is a dead letter.

        Answers to open calls still come in. Returns False if somebody has seen to this already.
        """
        if self._leaving.acquire(blocking=False):
            self.agent._agency.leave()
            self._gone = True
            self._runner.halt()
            self.mailbox.open_wide()
            return True
        return False

    def move_out(self, grace: float) -> bool:
        """After `begin_to_leave`: finish the turns in progress, let the agent clean up, take the home
        away. Returns False if a turn did not end. Takes `grace` seconds at most, and one for the
        cleaning up if nothing of them is left.

        Messages that were not begun become dead letters; whoever waits for them is told.
        """
        limit = time.monotonic() + grace
        turn = handling.get()
        from_inside = (
            turn is not None and turn.agent is self.agent
        ) or _called_back.get() is self.agent
        ended = self._runner.stop(0.0 if from_inside else grace) or from_inside
        try:
            if not is_default(self.agent.before_remove):
                left = max(_LEAST_FOR_CLEANING_UP, limit - time.monotonic())
                self._call_back(self.agent.before_remove, left)
        except BaseException:
            logger.exception(
                'before_remove of "%s" raised; it is removed all the same', self.agent.id
            )
        self.vanish()
        if not ended:
            self._leave_in_doubt()
        return ended

    def _leave_in_doubt(self) -> None:
        """Tell whoever waits for a turn that did not end that nobody will. Its answer, should it come yet,
        is a late one.
        """
        text = f'"{self.agent.id}" left the space before its action had ended'
        while self._begun:
            try:
                _, envelope = self._begun.popitem()
            except KeyError:  # it has just ended
                return
            told = answer(
                envelope,
                self.new_id(),
                self.agent.id,
                error=text,
                failure=Failure.OUTCOME_UNKNOWN,
            )
            self._say(told)

    def _call_back(self, function: Callable[[], Any], limit: float | None = None) -> None:
        """Call a callback of the agent so that it can be told from other code. See `Runner.call`."""

        def call() -> Any:
            token = _called_back.set(self.agent)
            try:
                return function()
            finally:
                _called_back.reset(token)

        async def call_async() -> None:
            _called_back.set(self.agent)  # for this task
            await function()

        self._runner.call(call_async if inspect.iscoroutinefunction(function) else call, limit)

    def halt(self) -> None:
        """Begin with no further message, and let the agent say nothing more; what arrives or waits is
        kept until it leaves. Idempotent; the agent is not asked.
        """
        self.__class__ = _Halted
        self._runner.halt()
        self.agent._agency.leave()

    def deny(self) -> None:
        """After `halt`: refuse what waits for permission, and all that will."""
        self._runner.deny()

    def stay_with_parent(self) -> None:
        """Called in a forked child: the agent lives in the parent."""
        self.__class__ = _InParent

    def vanish(self) -> None:
        """Take the home away at once, without callbacks: the agent never came to be, or its space
        is lost.
        """
        self._gone = True
        self.mailbox.open_wide()
        self.agent._agency.home = None
        self._runner.close()
        self._calls.close_all(
            OutcomeUnknown(f'"{self.agent.id}" left the space while it waited for an answer')
        )
        if self._place.reader is not None:
            self._place.reader.nudge()

    def lose_contact(self, others: Container[str], error: RequestError) -> None:
        """Only those agents can still answer: end the agent's open calls to all but them with
        `error`.
        """
        self._calls.fail(error, others)

    # For the agent

    def send(self, own: Signed) -> None:
        to, name, args, whole, weight = own
        envelope = Envelope(to, self.agent._agency.id, name, args, self.new_id())
        if whole is not None:
            envelope.whole = whole
        if weight > LIGHT:
            envelope.weight = weight
        cause = handling.get()
        if cause is not None:
            envelope.follow(cause.envelope)
            if to == BROADCAST:
                envelope.broadcasts += 1
                if envelope.broadcasts > BROADCAST_LIMIT:
                    detail = "broadcasts that caused each other"
                    return self._place.drop(envelope, Reason.HOP_LIMIT, detail)
        if is_main_thread():
            return self._route(envelope)
        return self._place.route(envelope)

    def request(self, own: Signed, timeout: float | None) -> Any:
        envelope = self._asking(own, REQUEST, timeout)
        call = ThreadCall(envelope.to, envelope.message_id)
        self._calls.open(envelope.id, call)
        try:
            self._route(envelope)
            return value_of(call.take(timeout, self._place.reader, envelope.deadline))
        finally:
            self._calls.close(envelope.id)

    async def arequest(self, own: Signed, timeout: float | None) -> Any:
        loop = asyncio.get_running_loop()
        envelope = self._asking(own, REQUEST, timeout, asyncio.current_task(loop))
        call = AsyncCall(envelope.to, envelope.message_id, self._calls.bell(loop))
        self._calls.open(envelope.id, call)
        try:
            try:
                self._route(envelope)
            except MailboxFull:
                await self._route_elsewhere(envelope)
            if self._place.reader is not None:
                self._place.reader.fill_seat()
            return value_of(await call.take(timeout, envelope.deadline))
        finally:
            self._calls.close(envelope.id)

    def stream(self, own: Signed, timeout: float | None) -> Generator[Any, None, None]:
        envelope = self._asking(own, STREAM, None)
        call = ThreadCall(envelope.to, envelope.message_id)
        self._calls.open(envelope.id, call)
        try:
            self._route(envelope)
        except BaseException:
            self._calls.close(envelope.id)
            raise
        finished = False
        try:
            while not finished:
                arrived = call.take(timeout, self._place.reader)
                finished = ends(arrived)
                if not finished or value_of(arrived) is not None:
                    yield value_of(arrived)
        except RequestError as error:
            finished = not isinstance(error, RequestTimeout)
            raise
        finally:
            self._end_stream(envelope, finished=finished)

    async def astream(self, own: Signed, timeout: float | None) -> AsyncGenerator[Any, None]:
        loop = asyncio.get_running_loop()
        envelope = self._asking(own, STREAM, None, asyncio.current_task(loop))
        call = AsyncCall(envelope.to, envelope.message_id, self._calls.bell(loop))
        self._calls.open(envelope.id, call)
        try:
            try:
                self._route(envelope)
            except MailboxFull:
                await self._route_elsewhere(envelope)
        except BaseException:
            self._calls.close(envelope.id)
            raise
        finished = False
        try:
            while not finished:
                if self._place.reader is not None:
                    self._place.reader.fill_seat()
                arrived = await call.take(timeout)
                finished = ends(arrived)
                if not finished or value_of(arrived) is not None:
                    yield value_of(arrived)
        except RequestError as error:
            finished = not isinstance(error, RequestTimeout)
            raise
        finally:
            self._end_stream(envelope, finished=finished)

    # For the runner

    @property
    def audit(self) -> AuditLog | None:
        """Where the space writes down what was permitted, if it does."""
        return self._place.audit

    def begin(self, envelope: Envelope) -> Envelope | None:
        """The envelope to start with, or None for not to start at all; tells the transport so.

        A broadcast is shared by its receivers until then: so what waits in many mailboxes is there
        once, and a copy is made where it is used and freed at once.
        """
        if self.mailbox.is_watched:
            self.mailbox.taken(envelope.weight)
        if envelope.deadline is not None and envelope.expired():
            self._place.drop(envelope, Reason.EXPIRED)
            return None
        if envelope.receipt is not None and not envelope.receipt.may_start():
            self._streams.discard((envelope.id, envelope.sender))
            return None
        if envelope.kind is not TELL:
            self._begun[envelope.id, envelope.sender] = envelope
        return envelope.twin() if envelope.to == BROADCAST else envelope

    def emit(self, part: Envelope) -> bool:
        """Send one part of a stream; False if nobody wants more, or the agent leaves."""
        wanted = (part.correlation_id, part.to)
        if self._gone or (part.kind is PART and wanted not in self._streams):
            return False
        self._say(part)
        return True

    def finish(self, envelope: Envelope, answered: Envelope | None) -> None:
        """The turn is over: send its answer, then tell the transport."""
        if envelope.kind is not TELL:
            self._forget((envelope.id, envelope.sender))
        if answered is not None and not self._say(answered) and envelope.wants_answer:
            self._say(self._unsent(envelope))
        if envelope.receipt is not None:
            envelope.receipt.settled()

    def may_go_on(self, envelope: Envelope) -> bool:
        """Whether to go on with a turn that was permitted. It is too late for a request that has expired."""
        if not envelope.expired():
            return True
        self._forget((envelope.id, envelope.sender))
        self._place.drop(envelope, Reason.EXPIRED)
        return False

    def lose(self, envelope: Envelope) -> None:
        """The message was not begun, or not permitted yet, and the agent has left."""
        self._forget((envelope.id, envelope.sender))
        self._place.drop(envelope, Reason.AGENT_REMOVED)

    # Inside

    def _forget(self, which: tuple[str, str]) -> None:
        """A message whose sender waits needs nothing more: it has ended, or will not go on."""
        self._begun.pop(which, None)
        self._streams.discard(which)

    def _asking(
        self,
        own: Signed,
        kind: Kind,
        timeout: float | None,
        task: asyncio.Task[Any] | None = None,
    ) -> Envelope:
        """The envelope of a message whose sender waits: a thread, or this task."""
        to, name, args, whole, weight = own
        envelope = Envelope(to, self.agent._agency.id, name, args, self.new_id(), kind)
        envelope.whole = whole
        if weight > LIGHT:
            envelope.weight = weight
        if timeout is not None:
            envelope.deadline = time.monotonic() + timeout
        cause = handling.get()
        if cause is not None:
            envelope.follow(cause.envelope)
            if cause.agent is self.agent or self._lives_with(cause.agent):
                envelope.chain = cause.who_waits(task)
        if self._sets_up is not None and self._sets_up_here():
            envelope.chain = (*envelope.chain, self.agent.id)
        return envelope

    def _route(self, envelope: Envelope) -> None:
        """Hand an envelope to the space, which must not be interrupted then."""
        if is_main_thread():
            with lifetime.undisturbed():
                self._place.route(envelope)
        else:
            self._place.route(envelope)

    def _sets_up_here(self) -> bool:
        return self._sets_up == running()

    def _lives_with(self, agent: Agent) -> bool:
        """Whether the agent is in the same space: only there do its id, and those that wait for it,
        mean the same.
        """
        home = agent._agency.home
        return isinstance(home, Resident) and home._place is self._place

    async def _route_elsewhere(self, envelope: Envelope) -> None:
        """`_route`, for who may not wait for room in a mailbox: on another thread than that of the loop."""
        outcome: Future[None] = Future()
        context = contextvars.copy_context()

        def route() -> None:
            if outcome.set_running_or_notify_cancel():
                report(outcome, lambda: context.run(self._place.route, envelope))

        self._crew.run(route)
        await asyncio.wrap_future(outcome)

    def _end_stream(self, envelope: Envelope, *, finished: bool) -> None:
        self._calls.close(envelope.id)
        if not finished and self.agent._agency.home is not None:
            cancelling = Envelope(envelope.to, self.agent.id, "cancel", {}, self.new_id(), CANCEL)
            cancelling.correlation_id = envelope.id
            self._say(cancelling)

    def _say(self, envelope: Envelope) -> bool:
        """Send what nobody here waits for; if it cannot be sent, it is a dead letter."""
        try:
            self._route(envelope)
        except AgencyError as error:
            self._place.drop(envelope, Reason.NOT_SENT, str(error))
            return False
        return True

    def _unsent(self, envelope: Envelope) -> Envelope:
        """The answer where the answer could not be sent; it names no id, which may be why."""
        text = f'the answer of "{self.agent.id}" could not be sent'
        told = answer(envelope, self.new_id(), self.agent.id, error=text, failure=Failure.FAILED)
        told.args = {"error": text, "original_message_id": None}
        return told

    def _would_wait_for_itself(self, chain: tuple[str, ...]) -> bool:
        me = self.agent._agency
        lanes = me.concurrency if self.has_moved_in else 1  # `after_add` takes them all
        return chain.count(me.id) >= lanes

    def _deadlocked(self, envelope: Envelope) -> None:
        cycle = envelope.chain[envelope.chain.index(self.agent.id) :]
        text = "these agents would wait for each other for ever: " + " → ".join(
            (*cycle, self.agent.id)
        )
        self._say(
            answer(envelope, self.new_id(), self.agent.id, error=text, failure=Failure.DEADLOCK)
        )
        self._settle(envelope)

    @staticmethod
    def _settle(envelope: Envelope) -> None:
        if envelope.receipt is not None:
            envelope.receipt.settled()


class _Halted(Resident):
    """A resident after `halt`. An action in progress is answered, but can say nothing else."""

    __slots__ = ()

    def _refuse(self, *_: Any) -> NoReturn:
        raise SpaceHalted(f'the space was halted, so "{self.agent.id}" can say nothing any more')

    send = request = arequest = stream = astream = _refuse  # type: ignore[assignment]

    def begin(self, envelope: Envelope) -> None:
        self._runner.put_back(envelope)

    def emit(self, part: Envelope) -> bool:
        return False


class _InParent(Resident):
    """A resident as it is seen in a forked child. Its agent can do nothing there, and an action that
    forked goes on in the parent, where it is answered.
    """

    __slots__ = ()

    def _refuse(self, *_: Any) -> NoReturn:
        raise SpaceClosed(PARENTS)

    send = request = arequest = stream = astream = _refuse  # type: ignore[assignment]

    def begin(self, envelope: Envelope) -> NoReturn:
        lifetime.end_forked_child()

    def emit(self, part: Envelope) -> NoReturn:
        lifetime.end_forked_child()

    def finish(self, envelope: Envelope, answered: Envelope | None) -> NoReturn:
        lifetime.end_forked_child()

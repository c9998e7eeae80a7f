"""Runners: they take an agent's messages from its mailbox and drive its turns, each in its own way.

    SerialRunner      one message at a time, on whichever thread of the crew is free: the default
    ConcurrentRunner  up to `concurrency` messages at once, each on a thread
    LoopRunner        for agents with `async` actions: an event loop of their own, run while there is work

An idle agent holds no thread. A runner begins paused; `resume` starts it, `stop` ends it after the
turns in progress. Above: `agency.resident`, whose mail it is. Below: `agency.turn`, which decides
what is done.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any, Protocol, cast

from agency.agent import Agent, Deciding, Handling, handling
from agency.audit import AuditLog
from agency.envelope import Envelope, answer
from agency.errors import Failure
from agency.mailbox import Mailbox
from agency.threads import GLANCE, Crew
from agency.turn import NEVER_ANSWERED, UNRECORDED, Ask, Call, Emit, Turn, describe, straight, turn

__all__ = ["Runner", "Work", "report", "runner_for"]

logger = logging.getLogger(__name__)


class Work(Protocol):
    """Whose turns a runner drives. The methods may be called from any thread; they do not block."""

    agent: Agent
    new_id: Callable[[], str]

    @property
    def audit(self) -> AuditLog | None: ...
    def begin(self, envelope: Envelope) -> Envelope | None: ...
    def emit(self, part: Envelope) -> bool: ...
    def may_go_on(self, envelope: Envelope) -> bool: ...
    def finish(self, envelope: Envelope, answered: Envelope | None) -> None: ...
    def lose(self, envelope: Envelope) -> None: ...


@dataclass(slots=True)
class _Resumed:
    """A turn that waited for permission, and the decision."""

    turn: Turn
    envelope: Envelope
    verdict: bool | str


_Item = Envelope | _Resumed


class Runner:
    """What the three have in common: mail, and turns that wait for permission."""

    __slots__ = ("_asked", "_closed", "_crew", "_denies", "_stopped", "_straight", "_work", "mail")

    def __init__(self, work: Work, crew: Crew) -> None:
        self._work = work
        self._crew = crew
        self._straight = work.agent._agency.actions.straight
        self.mail = Mailbox(work.agent._agency.mailbox)
        self._asked: dict[int, tuple[Turn, Envelope, Ask, threading.Event]] = {}
        self._stopped = False
        self._closed = False
        self._denies = False

    def put(self, item: _Item) -> None:
        """Add a message and see to it that it is handled, or lost if it is too late. Never blocks."""
        self.mail.append(item)
        if self._stopped:
            self._sweep()
        else:
            self._start()

    def _start(self) -> None:
        """See to it that somebody looks at the mailbox."""
        raise NotImplementedError

    def resume(self) -> None:
        """Begin to handle messages."""
        raise NotImplementedError

    def halt(self) -> None:
        """Begin with no further message. Does not wait."""
        self._stopped = True

    def put_back(self, item: _Item) -> None:
        """After `halt`: what was first in the mailbox was taken out and not begun, or not gone on with."""
        self.mail.appendleft(item)
        self._sweep()

    def deny(self) -> None:
        """After `halt`: refuse what waits for permission, and all that will."""
        self._denies = True
        while self._asked:
            try:
                _, (suspended, envelope, ask, decided) = self._asked.popitem()
            except KeyError:
                return
            decided.set()
            self._recorded(envelope, ask, permitted=False, why="the space was halted")
            self.mail.put_among()
            self._go_on(_Resumed(suspended, envelope, verdict=False))

    def stop(self, grace: float) -> bool:
        """`halt`, then wait up to `grace` seconds for the turns in progress. Returns whether they
        ended.
        """
        raise NotImplementedError

    def call(self, function: Callable[[], Any], limit: float | None = None) -> Any:
        """Call a callback of the agent before the first or after the last turn, and wait for it.

        Raises:
            TimeoutError: it did not return within `limit` seconds. It goes on.
            BaseException: whatever it raises.
        """
        return function() if limit is None else self._call_on_a_thread(function, limit)

    def _call_on_a_thread(self, function: Callable[[], Any], limit: float | None) -> Any:
        outcome: Future[Any] = Future()
        context = contextvars.copy_context()
        self._crew.run(lambda: report(outcome, lambda: context.run(function)))
        return _outcome_of(outcome, limit)

    def close(self) -> None:
        """After `stop`: free what is held, and lose the messages that were not handled."""
        self._closed = True
        self._sweep()

    def _sweep(self) -> None:
        """Lose what nobody will handle any more. Who puts something late sweeps after itself."""
        while self._closed and (self.mail or self._asked):
            try:
                item = self.mail.popleft()
                self._work.lose(item.envelope if isinstance(item, _Resumed) else item)
            except IndexError:
                pass
            try:
                _, (_, envelope, _, decided) = self._asked.popitem()
                decided.set()
                self._work.lose(envelope)
            except KeyError:
                pass

    def _wait_for_permission(self, suspended: Turn, envelope: Envelope, ask: Ask) -> None:
        """Ask on a thread of its own; the turn goes on through the mailbox, so one at a time stays
        true.
        """
        decided = threading.Event()  # or not needed any more
        self.mail.put_aside(envelope.weight)
        self._asked[id(suspended)] = (suspended, envelope, ask, decided)
        if self._denies:
            return self.deny()
        agent = self._work.agent

        def decide(*, permitted: bool, why: str) -> None:
            if self._asked.pop(id(suspended), None) is not None:
                decided.set()
                verdict = self._recorded(envelope, ask, permitted=permitted, why=why)
                self.put(_Resumed(suspended, envelope, verdict))
                self.mail.put_among()

        def ask_agent() -> None:
            handling.set(
                Deciding(
                    agent,
                    replace(envelope, whole=cast("Any", ask.proposed)),
                    get_ident(),
                )
            )
            try:
                answered = self._permission(ask.proposed)
            except BaseException as error:
                if not self._stopped:  # else the agent leaves, and what it asked ends with it
                    logger.exception('request_permission of "%s" raised: a refusal', agent.id)
                decide(permitted=False, why=f"request_permission raised {describe(error)}")
            else:
                decide(
                    permitted=answered is True,
                    why=f"request_permission returned {_named(answered)}",
                )

        def give_up() -> None:
            limit = agent._agency.permission_timeout
            if not decided.wait(limit):
                logger.warning('"%s" was not permitted in time: a refusal', agent.id)
                decide(permitted=False, why=f"no answer within {limit:g} seconds")

        self._crew.run(lambda: contextvars.Context().run(ask_agent))
        return self._crew.run(give_up)

    def _permission(self, proposed: dict[str, Any]) -> Any:
        return self._work.agent.request_permission(proposed)

    def _recorded(self, envelope: Envelope, ask: Ask, *, permitted: bool, why: str) -> bool | str:
        """The decision, when it is in the audit log, if there is one; a refusal if it cannot be."""
        audit, agent_id = self._work.audit, self._work.agent.id
        if audit is None:
            return permitted
        try:
            audit.record(
                envelope.message,
                ask.digest,
                permitted=permitted,
                why=why,
                by=agent_id,
                senders=envelope.senders,
            )
        except Exception:
            logger.exception('a decision of "%s" could not be recorded: a refusal', agent_id)
            return UNRECORDED if permitted else False
        return permitted

    def _work_off(self) -> None:
        """Drive the turns of what waits, one after the other on this thread, until there is nothing more or
        the runner is halted. Never raises.
        """
        mail, work, straight_actions, thread = self.mail, self._work, self._straight, get_ident()
        while mail and not self._stopped:
            try:
                item = mail.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                if type(item) is _Resumed:
                    self._go_on(item)
                elif (envelope := work.begin(item)) is not None:
                    spec = straight_actions.get(envelope.name)
                    if spec is None:
                        self._drive_here(turn(work.agent, envelope, work.new_id), envelope, None)
                        continue
                    token = handling.set(Handling(work.agent, envelope, thread))
                    try:
                        answered = straight(work.agent, envelope, work.new_id, spec)
                    finally:
                        handling.reset(token)
                    work.finish(envelope, answered)
            except BaseException as error:
                self._break_off(item, error)

    def _go_on(self, resumed: _Resumed) -> None:
        """Drive a turn from where it waited for permission, on this thread. Never raises."""
        try:
            if self._may_go_on(resumed):
                self._drive_here(resumed.turn, resumed.envelope, resumed.verdict)
        except BaseException as error:
            self._break_off(resumed, error)

    def _may_go_on(self, resumed: _Resumed) -> bool:
        """Whether the turn may go on, which waited for permission and was taken out of the mailbox."""
        if self._stopped and resumed.verdict is True:
            self.put_back(resumed)
            return False
        self.mail.taken(resumed.envelope.weight)
        return self._work.may_go_on(resumed.envelope)

    def _break_off(self, item: _Item, error: BaseException) -> None:
        """The last resort, where neither the turn nor the transport has seen to an exception: the
        agent lives on, and whoever waits is told.
        """
        envelope = item.envelope if isinstance(item, _Resumed) else item
        agent_id = self._work.agent.id
        try:
            logger.error('a turn of "%s" broke off', agent_id, exc_info=error)
            text = describe(error)
            self._work.finish(
                envelope,
                answer(envelope, self._work.new_id(), agent_id, error=text, failure=Failure.FAILED)
                if envelope.wants_answer
                else None,
            )
        except BaseException:
            logger.exception('nobody could be told that a turn of "%s" broke off', agent_id)

    def _drive_here(self, progress: Turn, envelope: Envelope, outcome: bool | str | None) -> None:
        work = self._work
        token = handling.set(Handling(work.agent, envelope, get_ident()))
        answered = None
        try:
            step = progress.send(outcome)
            while True:
                if type(step) is Call:
                    try:
                        result = _completed(
                            step.function(*step.args, **step.kwargs)
                            if step.kwargs
                            else step.function(*step.args)
                        )
                    except BaseException as error:  # the turn decides what becomes of it
                        step = progress.throw(error)
                    else:
                        step = progress.send(result)
                elif type(step) is Emit:
                    step = progress.send(work.emit(step.part))
                else:
                    self._wait_for_permission(progress, envelope, cast("Ask", step))
                    return
        except StopIteration as end:
            answered = end.value
        finally:
            handling.reset(token)
        work.finish(envelope, answered)


class SerialRunner(Runner):
    """One message at a time. The lane is a lock that is held while a thread drains the mailbox."""

    __slots__ = ("_lane",)

    def __init__(self, work: Work, crew: Crew) -> None:
        super().__init__(work, crew)
        self._lane = threading.Lock()
        self._lane.acquire()

    def put(self, item: _Item) -> None:
        # The thread that drains releases the lane before it looks at the mailbox for the last time,
        # so mail put while the lane is held is never overlooked, and a busy agent costs its senders
        # no wake-up.
        self.mail.append(item)
        if self._stopped:
            self._sweep()
        elif not self._lane.locked() and self._lane.acquire(blocking=False):
            self._crew.run(self._drain)

    def resume(self) -> None:
        self._lane.release()
        if self.mail and self._lane.acquire(blocking=False):
            self._crew.run(self._drain)

    def stop(self, grace: float) -> bool:
        self.halt()
        return self._lane.acquire(timeout=grace)

    def _drain(self) -> None:
        mail, lane = self.mail, self._lane
        while True:
            try:
                self._work_off()
            finally:
                lane.release()
            if self._stopped or not mail or not lane.acquire(blocking=False):
                return


class ConcurrentRunner(Runner):
    """Up to `concurrency` messages at once, each on a thread of its own."""

    __slots__ = ("_changed", "_free")

    def __init__(self, work: Work, crew: Crew) -> None:
        super().__init__(work, crew)
        self._changed = threading.Condition()
        self._free = 0  # lanes that may start; guarded by _changed

    def resume(self) -> None:
        with self._changed:
            self._free = self._work.agent._agency.concurrency
        for _ in range(min(len(self.mail), self._work.agent._agency.concurrency)):
            self._start()

    def stop(self, grace: float) -> bool:
        self.halt()
        limit = time.monotonic() + grace
        with self._changed:
            return self._changed.wait_for(
                lambda: self._free >= self._work.agent._agency.concurrency,
                max(0.0, limit - time.monotonic()),
            )

    def _start(self) -> None:
        with self._changed:
            if self._free < 1 or self._stopped:
                return
            self._free -= 1
        self._crew.run(self._drain)

    def _drain(self) -> None:
        while True:
            self._work_off()
            with self._changed:
                if self.mail and not self._stopped:
                    continue
                self._free += 1
                self._changed.notify_all()
                return


class LoopRunner(Runner):
    """An event loop for one agent, run on a thread of the crew while there are messages or tasks.

    `async` code runs on the loop, everything else on other threads, so that a blocking action does
    not stop the agent's own tasks. Tasks that an action leaves behind go on until they end or the
    agent is removed. The loop is made when it is first needed, and with it three file descriptors
    are taken until the agent is removed. While the system has none for it, senders get an `error`.
    """

    __slots__ = ("_holds_lane", "_lane", "_made_loop", "_turns", "_wake", "_woken")

    def __init__(self, work: Work, crew: Crew) -> None:
        super().__init__(work, crew)
        self._lane = threading.Lock()
        self._lane.acquire()
        self._holds_lane = True  # before `resume` and after `stop`, if the turns ended
        self._made_loop: asyncio.AbstractEventLoop | None = None  # by who holds the lane
        self._wake = asyncio.Event()
        self._woken = False
        self._turns: set[asyncio.Task[None]] = set()

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._made_loop is None:
            self._made_loop = asyncio.new_event_loop()
        return self._made_loop

    def _start(self) -> None:
        self._rouse()

    def resume(self) -> None:
        self._holds_lane = False
        self._lane.release()
        if self.mail or (self._made_loop is not None and not self._closed):
            self._rouse()  # after_add may have left tasks

    def halt(self) -> None:
        super().halt()
        if self._lane.locked():
            self._rouse()

    def stop(self, grace: float) -> bool:
        self.halt()
        self._holds_lane = self._lane.acquire(timeout=grace)
        return self._holds_lane

    def call(self, function: Callable[[], Any], limit: float | None = None) -> Any:
        """See `Runner.call`. An `async` callback runs on the agent's loop, beside an action that does
        not end; on another one if that action itself waits for it.
        """
        if not inspect.iscoroutinefunction(function):
            return super().call(function, limit)
        if self._holds_lane:
            return self._call_on_a_thread(lambda: self._run_alone(function), limit)
        loop = self._made_loop
        if loop is None or loop is asyncio._get_running_loop():
            return self._call_on_a_thread(lambda: asyncio.run(function()), limit)
        outcome: Future[Any] = Future()

        async def run() -> None:
            try:
                outcome.set_result(await function())
            except BaseException as error:
                outcome.set_exception(error)

        def begin() -> None:
            task = loop.create_task(run())
            self._turns.add(task)  # so that it is waited for
            task.add_done_callback(self._ended)

        loop.call_soon_threadsafe(begin)
        self._rouse()
        return _outcome_of(outcome, limit)

    def _run_alone(self, function: Callable[[], Any]) -> Any:
        try:
            return self._loop.run_until_complete(function())
        finally:
            if self._closed:  # for the agent was removed meanwhile
                self._loop.close()

    def close(self) -> None:
        super().close()
        if self._made_loop is not None and not self._made_loop.is_running():
            self._made_loop.close()

    def _rouse(self) -> None:
        """See to it that the loop looks at the mailbox and its tasks once more."""
        if self._lane.acquire(blocking=False):
            self._crew.run(self._drain)
        elif not self._woken and self._made_loop is not None:  # else who holds the lane looks yet
            self._woken = True
            try:
                self._made_loop.call_soon_threadsafe(self._awake)
            except RuntimeError:
                return  # the loop was closed with the agent's removal
            # The loop may have ended just before it could see that it was woken.
            if self._lane.acquire(blocking=False):
                self._crew.run(self._drain)

    def _awake(self) -> None:
        # What others called for before this, in their order, has been taken up by now.
        self._woken = False
        self._wake.set()

    def _drain(self) -> None:
        while True:
            try:
                if self._has_loop():
                    self._run_to_end()
                    if self._closed:  # while a turn went on for longer than the grace
                        self._loop.close()
            finally:
                self._lane.release()
            if (
                self._closed
                or not (self._woken or self._wake.is_set() or (self.mail and not self._stopped))
                or not self._lane.acquire(blocking=False)
            ):
                return

    def _has_loop(self) -> bool:
        """Whether the loop is there or can be made. If not, who has sent what waits is told why; what
        comes later may have better luck.
        """
        try:
            return self._loop is not None
        except OSError as error:  # no file descriptor is left
            self._refuse_what_waits(f"no event loop can be made for the action: {describe(error)}")
            return False

    def _refuse_what_waits(self, why: str) -> None:
        work, agent_id = self._work, self._work.agent.id
        logger.error('"%s" cannot handle what it is sent: %s', agent_id, why)
        for _ in range(len(self.mail)):  # not what comes after the first has been told
            if self._stopped:
                return
            try:
                item = self.mail.popleft()
            except IndexError:  # it is swept away
                return
            try:
                envelope = item.envelope if isinstance(item, _Resumed) else work.begin(item)
                if envelope is not None:
                    told = answer(
                        envelope, work.new_id(), agent_id, error=why, failure=Failure.FAILED
                    )
                    is_told = envelope.wants_answer or envelope.name not in NEVER_ANSWERED
                    work.finish(envelope, told if is_told else None)
            except BaseException as error:
                self._break_off(item, error)

    def _run_to_end(self) -> None:
        """Serve until nothing is left to do, whatever the agent's own tasks do to the loop."""
        task = self._loop.create_task(self._serve())
        while not task.done():
            try:
                self._loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt):
                # They end the loop, whichever task raises them; but not the agent.
                logger.exception('a task of "%s" wanted to end the program', self._work.agent.id)
            except asyncio.CancelledError:
                logger.warning('a task of "%s" cancelled what serves it', self._work.agent.id)
                if not self._closed:
                    task = self._loop.create_task(self._serve())
            except RuntimeError:
                if task.done() or self._loop.is_closed():
                    raise
                logger.warning('a task of "%s" stopped its event loop', self._work.agent.id)

    async def _serve(self) -> None:
        """Start turns as lanes become free; return when there are neither messages nor tasks, or
        after `stop`.
        """
        me = asyncio.current_task()
        while True:
            self._wake.clear()
            while (
                self.mail
                and not self._stopped
                and len(self._turns) < self._work.agent._agency.concurrency
            ):
                started = self._loop.create_task(self._drive(self.mail.popleft()))
                self._turns.add(started)
                started.add_done_callback(self._ended)
            if self._turns:
                await self._wake.wait()
                continue
            others = {task for task in asyncio.all_tasks() if task is not me}
            if self._stopped:
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)
                return
            if self.mail:
                continue
            if not others:
                return
            roused = self._loop.create_task(self._wake.wait())
            try:
                await asyncio.wait({roused, *others}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                roused.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._turns.discard(task)
        self._wake.set()

    async def _drive(self, item: _Item) -> None:
        """`Runner._work_off` of one message, for a task."""
        try:
            await self._drive_on_loop(item)
        except BaseException as error:
            self._break_off(item, error)

    async def _drive_on_loop(self, item: _Item) -> None:
        work = self._work
        if isinstance(item, _Resumed):
            if not self._may_go_on(item):
                return
            progress, envelope, outcome = item.turn, item.envelope, item.verdict
        elif (begun := work.begin(item)) is not None:
            progress, envelope, outcome = turn(work.agent, begun, work.new_id), begun, None
        else:
            return
        handling.set(
            Handling(work.agent, envelope, cast("asyncio.Task[Any]", asyncio.current_task()))
        )
        answered = None
        try:
            step = progress.send(outcome)
            while True:
                if type(step) is Call:
                    result, error = await self._perform(step, envelope)
                    step = progress.send(result) if error is None else progress.throw(error)
                elif type(step) is Emit:
                    step = progress.send(work.emit(step.part))
                else:
                    self._wait_for_permission(progress, envelope, cast("Ask", step))
                    return
        except StopIteration as end:
            answered = end.value
        work.finish(envelope, answered)

    async def _perform(self, call: Call, envelope: Envelope) -> tuple[Any, BaseException | None]:
        """Call on the loop what is quick, elsewhere what may block. Errors are returned: a task
        cannot raise them all.
        """
        try:
            if call.quick:
                result = call.function(*call.args, **(call.kwargs or {}))
            else:
                result, error = await self._elsewhere(call, envelope)
                if error is not None:
                    return None, error
            return (await result if inspect.isawaitable(result) else result), None
        except BaseException as error:  # the turn decides what becomes of it
            return None, error

    async def _elsewhere(self, call: Call, envelope: Envelope) -> tuple[Any, BaseException | None]:
        done: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        context = contextvars.copy_context()

        def run() -> None:
            handling.set(Handling(self._work.agent, envelope, get_ident()))
            outcome: tuple[Any, BaseException | None]
            try:
                outcome = call.function(*call.args, **(call.kwargs or {})), None
            except BaseException as error:  # handed to the loop
                outcome = None, error
            try:
                self._loop.call_soon_threadsafe(_settle, done, outcome)
            except RuntimeError:
                pass  # the loop was closed: the agent was removed while the action ran on

        self._crew.run(lambda: context.run(run))
        return await done

    def _permission(self, proposed: dict[str, Any]) -> Any:
        function = self._work.agent.request_permission
        if not inspect.iscoroutinefunction(function):
            return function(proposed)
        asked = asyncio.run_coroutine_threadsafe(function(proposed), self._loop)
        self._rouse()
        try:
            return asked.result(self._work.agent._agency.permission_timeout)
        finally:
            asked.cancel()  # if time is over: nobody wants to know any more


def _completed(result: Any) -> Any:
    """What a call comes to on a thread. The coroutine of an `async` action under a decorator that
    makes it look like any other is run to its end.
    """
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def report(outcome: Future[Any], function: Callable[[], Any]) -> None:
    """Call the function; what it returns or raises is in the future."""
    try:
        outcome.set_result(function())
    except BaseException as error:  # handed to the thread that waits
        outcome.set_exception(error)


def _outcome_of(outcome: Future[Any], limit: float | None) -> Any:
    end = math.inf if limit is None else time.monotonic() + limit
    while not wait([outcome], min(GLANCE, max(0.0, end - time.monotonic()))).done:
        if time.monotonic() >= end:
            raise TimeoutError(f"it did not return within {limit:.1f} seconds")
    return outcome.result()


def _named(answered: Any) -> str:
    """What `request_permission` returned, in a word: it may be anything."""
    is_plain = answered is None or isinstance(answered, bool)
    return repr(answered) if is_plain else f"a {type(answered).__name__}"


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if not done.done():
        done.set_result(outcome)


def runner_for(work: Work, crew: Crew) -> Runner:
    """The runner that suits the agent, paused."""
    if work.agent._agency.actions.needs_event_loop:
        return LoopRunner(work, crew)
    return (SerialRunner if work.agent._agency.concurrency == 1 else ConcurrentRunner)(work, crew)

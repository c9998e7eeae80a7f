"""LocalSpace: agents in processes of their own, within one application.

    application ──┐                        the application has the agents that it built itself, and decides
     (this file)  ├── hub ──┬── worker     who is added and removed
                  │         └── worker     the hub carries every message between processes (`local_hub`)
     nursery ─────┘                        the nursery forks the others (`local_nursery`)

Nothing is started before the first agent is added in the class form. Read `local_hub` next.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from agency import lifetime
from agency.agent import Agent
from agency.deadletters import DeadLetter, Reason
from agency.envelope import Envelope, Receipt
from agency.errors import AgencyError, AgentIdInUse, NotAccepted, OutcomeUnknown, StartFailed
from agency.resident import Resident
from agency.schema import BROADCAST
from agency.space import AgentFactory, Space
from agency.spaces.local_frames import (
    MESSAGES,
    ROOM,
    Frame,
    frame,
    read_envelope,
    read_message,
    settled_frame,
    split,
)
from agency.spaces.local_link import Link
from agency.spaces.local_memory import SLOTS
from agency.spaces.local_nursery import ENDED, Nursery
from agency.spaces.local_relay import Relay
from agency.spaces.local_supervisor import Supervisor, Ward, describe_end
from agency.supervision import Supervision
from agency.timeouts import SEND_TIMEOUT, check_seconds
from agency.turn import describe
from agency.watching import Down, Watching

__all__ = ["LocalSpace"]

logger = logging.getLogger(__name__)

_WITH_ENVELOPE: Final = MESSAGES | {Frame.DEAD_LETTER}
_EVERYBODY: Final = BROADCAST.encode()

_UNWANTED: Final = "it was removed before it was there"
_DIED: Final = "its process died"
_HALT_TIME: Final = 5.0  # seconds for a worker to say that it begins with nothing more
_CLEANING_TIME: Final = 2.0
"""Seconds beyond the grace for workers to clean up behind agents whose actions have not ended."""


@dataclass(eq=False)
class _Worker:
    """A worker as the application knows it."""

    number: int
    process_id: int
    tenants: dict[bytes, _Tenant] = field(default_factory=dict)
    """Its agents, by their places."""
    given_up: set[bytes] = field(default_factory=set)
    """The places of agents that took too long to come or to leave, until it has done with them."""
    slots: int = 0
    """How many agents it ever had."""
    stopping: bool = False
    gone: threading.Event = field(default_factory=threading.Event)
    halted: threading.Event = field(default_factory=threading.Event)
    """Set when it begins with nothing more, after `halt`."""

    def __str__(self) -> str:
        agents = ", ".join(sorted(tenant.agent_id for tenant in self.tenants.values()))
        return f"the process {self.process_id} of {agents or 'no agent'}"


@dataclass(eq=False)
class _Tenant:
    """An agent in a worker, as the application knows it."""

    agent_id: str
    worker: _Worker
    place: bytes
    """The worker's number and a slot in it. No other agent of the space ever has the same."""
    ward: Ward | None = None
    """Who sees to it if its process dies; None if nobody does."""
    is_settled: bool = False
    """Whether it has come and nobody has begun to remove it."""
    has_come: bool = False
    has_died: bool = False
    outcome: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    """What became of its coming, then of its leaving: None, or what went wrong."""


class _Tally(Receipt):
    """How many of the hub's messages an agent in this process has settled, told from time to time:
    at once if somebody waits for it. One serves for all its messages.
    """

    __slots__ = ("_link", "_lock", "_settled", "_step", "_told", "place")

    def __init__(self, link: Link, place: bytes, step: int) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._settled = 0
        self._step = step
        self._told = 0
        self.place = place
        """By which the hub knows the agent; no other ever has the same."""

    def settled(self) -> None:
        with self._lock:
            self._settled += 1
            is_due = self._settled - self._told >= self._step
        if is_due or self._link.is_awaited():
            self.tell()

    def tell(self) -> None:
        """Let the hub know."""
        with self._lock:
            self._told = self._settled
            with contextlib.suppress(NotAccepted):  # the hub is gone, and with it who waits
                self._link.send_later(settled_frame(self.place, (self._told,)))
        self._link.flush_soon()


class LocalSpace(Space):
    """A space of several processes on one machine, all of one application.

    `add(AgentClass, "id", ...)` builds the agent in another process: its class must be importable
    there, or be defined in the main module, and its arguments must be picklable. `add(agent)` and
    `add_foreground` keep it in this one. Messages are never pickled.

    A message that `send` has accepted is held outside of its sender and its receiver until it is
    settled, and survives the death of either. If a worker dies, whoever waits for a message that it
    may have begun gets `OutcomeUnknown`, whoever waits for another gets `AgentNotFound`; nobody
    else notices. An agent with `supervision` is started again, and what it had not begun waits for
    that. No process outlives the application.

    Args:
        max_workers: pack the agents into this many processes; None gives each its own.
        start_timeout: seconds that the construction of an agent in another process may take.
        supervision: of agents whose class says nothing about it; None for `restart="never"`.
        grace: seconds that actions in progress are given to end when their agent is removed.
        send_timeout: seconds that `send` waits for room in a full mailbox.
        audit: a file for the audit log, for the agents in all processes; see `Space`.
    """

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        start_timeout: float = 120.0,
        supervision: Supervision | None = None,
        grace: float = 10.0,
        send_timeout: float = SEND_TIMEOUT,
        audit: str | os.PathLike[str] | None = None,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers is at least 1, or None for one each, not {max_workers}")
        if not isinstance(supervision, Supervision | None):
            raise TypeError(f"supervision is a Supervision, not {supervision!r}")
        super().__init__(grace=grace, send_timeout=send_timeout, audit=audit)
        self._crew = self._relay = Relay(f"agency-{type(self).__name__}")
        self._supervision = supervision
        self._supervisor = Supervisor(self._start_again, self._let_go, lambda: self._halted)
        self._max_workers = max_workers
        self._start_timeout = check_seconds("start_timeout", start_timeout)
        self._office = threading.RLock()  # guards what follows
        self._nursery: Nursery | None = None
        self._link: Link | None = None
        self._workers: dict[int, _Worker] = {}
        self._elsewhere: dict[str, _Tenant] = {}  # read without the lock
        self._connected: dict[str, Resident] = {}
        self._tallies: dict[str, _Tally] = {}  # read without the lock
        self._numbers = 0
        self._losing: dict[bytes, threading.Event] = {}
        """To be set when the hub has lost what it kept for somebody."""
        self._tokens = itertools.count()

    @property
    def restarts(self) -> dict[str, int]:
        """How often each agent was started again because its process had died, also in vain."""
        return self._supervisor.restarts

    # Messages

    def route(self, envelope: Envelope) -> None:
        to = envelope.message["to"]
        link = self._link
        if to == BROADCAST:
            if link is not None:
                link.post(envelope)  # first: it may be refused
            self._broadcast_here(envelope)
        elif self._deliver_here(envelope):
            return
        elif link is not None and to in self._elsewhere:
            link.post(envelope)
        else:
            self.drop(envelope, Reason.NO_SUCH_AGENT)

    def _take(self, data: bytes) -> None:
        """What the hub sends, on the link's thread."""
        kind, to, place, payload = split(data)
        if kind in _WITH_ENVELOPE:
            try:
                self._take_envelope(kind, to, place, data, payload)
            except Exception as error:  # noqa: BLE001  # a process whose memory was overwritten writes anything
                self._dead_letters.add(DeadLetter(Reason.UNDECODABLE, None, describe(error)))
        elif kind in ROOM:
            if self._link is not None:
                self._link.hear_of_room(to.decode(), has_room=kind == Frame.ROOM)
        elif kind == Frame.SETTLED:
            for tally in list(self._tallies.values()):
                if tally.place == place:
                    tally.tell()
        elif kind == Frame.WORKER_GONE:
            self._bury(int(to), data[payload:].decode())
        elif kind == Frame.KEEP_NO_MORE:
            self._losing.pop(place).set()
        elif kind == Frame.HALT:
            worker = self._workers.get(int(to))
            if worker is not None:
                worker.halted.set()
        else:
            failure = data[payload:].decode(errors="replace") if kind == Frame.FAILED else None
            self._hear_of(place, failure, is_over=kind != Frame.ADDED)

    def _take_envelope(self, kind: int, to: bytes, place: bytes, data: bytes, payload: int) -> None:
        if kind == Frame.DEAD_LETTER:
            reason = Reason(to.decode())
            detail = f"of {place.decode()!a}" if reason is Reason.MAILBOX_FULL else ""
            self.drop(read_envelope(data, payload), reason, detail)
        elif to == _EVERYBODY:
            self._broadcast_here(read_message(data, place, payload))
        else:
            self._deliver_from_hub(read_message(data, place, payload))

    def _deliver_from_hub(self, envelope: Envelope) -> None:
        """The hub has seen to it that there is room."""
        to = envelope.message["to"]
        envelope.receipt = self._tallies.get(to)
        resident = self._residents.get(to)
        if resident is None:
            self.drop(envelope, Reason.AGENT_REMOVED)
        else:
            resident.deliver(envelope)

    # Agents here

    def _claim(self, agent_id: str) -> None:
        if agent_id in self._elsewhere:
            raise AgentIdInUse(f"the id {agent_id!a} is in use in this space")

    def _release(self, agent_id: str) -> None:
        """Nothing to do: a claim here is only a look."""

    def _connect(self, resident: Resident) -> None:
        with self._office:
            self._connected[resident.agent.id] = resident
            if self._link is not None:
                self._introduce(self._link, resident.agent)

    def _introduce(self, link: Link, agent: Agent) -> None:
        """Let the hub deliver to an agent that lives here, as much as its mailbox may hold."""
        self._numbers += 1
        agency = agent._agency
        tally = _Tally(link, b"0/%d" % self._numbers, max(1, agency.mailbox // 8))
        bound = b"%d" % (agency.mailbox + agency.concurrency)
        self._tallies[agent.id] = tally
        link.send(frame(Frame.CONNECT, agent.id.encode(), tally.place, bound))

    def _disconnect(self, resident: Resident) -> None:
        with self._office:
            if self._connected.get(resident.agent.id) is not resident:
                return  # its id is another's already
            del self._connected[resident.agent.id]
            self._tallies.pop(resident.agent.id, None)
            if self._link is not None:
                try:
                    self._link.send(frame(Frame.DISCONNECT, resident.agent.id.encode()))
                except NotAccepted:
                    pass  # the hub is gone, and with it all that it could deliver

    # Agents elsewhere

    def _add_class(
        self,
        agent_class: AgentFactory[Agent],
        agent_id: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._reserve(agent_id)
        try:
            self._claim(agent_id)
            pickled = _pickle(agent_id, agent_class, args, kwargs)
            supervision = getattr(agent_class, "supervision", None) or self._supervision
            is_ward = supervision is not None and supervision.restart != "never"
            ward = Ward(agent_id, supervision, pickled) if supervision and is_ward else None
            tenant = self._place(agent_id, ward)
            try:
                failure = self._ask(tenant, Frame.ADD, pickled, timeout=self._start_timeout)
            except BaseException:  # a signal came in between
                self._take_back(tenant)
                self._recall(ward)
                raise
            if failure is not None:
                self._withdraw(tenant)
                self._recall(ward)
                text, _, trace = failure.partition("\0")
                error = StartFailed(text)
                if trace:
                    error.add_note(f"In the agent's process:\n{trace}")
                raise error
            self._has_had_agents = True
            tenant.is_settled = True
        finally:
            self._end_reservation(agent_id)

    def _remove_elsewhere(self, agent_id: str) -> bool:
        with self._office:
            tenant = self._elsewhere.get(agent_id)
            if tenant is None or not tenant.is_settled:
                return False
            tenant.is_settled = False
            is_between = tenant.has_died
            if tenant.ward is not None:
                tenant.ward.is_wanted = False
                tenant.ward.over.set()
        if not is_between:
            self._ask(tenant, Frame.REMOVE, timeout=self._grace + 2)
            self._withdraw(tenant)
        self._recall(tenant.ward)
        return True

    def _has(self, agent_id: str) -> bool:
        return agent_id in self._elsewhere or super()._has(agent_id)

    def _place(self, agent_id: str, ward: Ward | None, *, is_heir: bool = False) -> _Tenant:
        """Choose the process for a new agent, and start it if it is not there yet. An heir gets the id
        only when it has come.
        """
        with self._office:
            self._check_open()
            nursery = self._nursery or self._open_nursery()
            running = [worker for worker in self._workers.values() if not worker.stopping]
            if self._link is None:
                raise StartFailed(f"{agent_id!a} could not be started: {ENDED}")
            if self._max_workers is not None and len(running) >= self._max_workers:
                worker = min(running, key=lambda one: (len(one.given_up), len(one.tenants)))
            else:
                self._numbers += 1
                try:
                    process_id = nursery.start_worker(self._numbers)
                except OSError as error:
                    raise StartFailed(f"{agent_id!a} could not be started: {error}") from error
                worker = _Worker(self._numbers, process_id)
                self._workers[worker.number] = worker
            if worker.slots >= SLOTS:
                raise StartFailed(f"a worker can have had {SLOTS} agents; {agent_id!a} is too many")
            place = f"{worker.number}/{worker.slots}".encode()
            tenant = _Tenant(agent_id, worker, place, ward)
            worker.slots += 1
            worker.tenants[place] = tenant
            if not is_heir:
                self._elsewhere[agent_id] = tenant
                if ward is not None:
                    with contextlib.suppress(NotAccepted):  # who asks for the agent is told so
                        self._link.send(frame(Frame.KEEP, agent_id.encode()))
            return tenant

    def _open_nursery(self) -> Nursery:
        try:
            audit = None if self.audit is None else self.audit.path
            nursery = Nursery(self._grace, self._send_timeout, audit)
        except OSError as error:
            raise StartFailed(f"no process can be started: {error}") from error
        link = Link(
            nursery.hub,
            nursery.memory,
            self._relay,
            self._take,
            self._lose_everyone_elsewhere,
            patience=self.patience,
        )
        for resident in self._connected.values():
            self._introduce(link, resident.agent)
        self._nursery, self._link = nursery, link
        link.start()
        return nursery

    def _ask(
        self, tenant: _Tenant, kind: Frame, payload: bytes = b"", *, timeout: float
    ) -> str | None:
        """Tell a worker to let an agent come or leave, and wait until it has. Returns what went
        wrong, or None.
        """
        with self._office:
            link = self._link
        try:
            if link is None:
                return ENDED
            link.send(frame(kind, tenant.agent_id.encode(), tenant.place, payload))
            if kind is Frame.ADD:
                with lifetime.interruptible():  # its constructor may take long
                    return tenant.outcome.get(timeout=timeout)
            return tenant.outcome.get(timeout=timeout)
        except NotAccepted:
            return ENDED
        except queue.Empty:
            self._give_up(tenant)
            return f"{tenant.agent_id!a} was not ready within {timeout} seconds"

    def _take_back(self, tenant: _Tenant) -> None:
        """Let an agent leave that may have come already, without anybody having been told."""
        with self._office:
            tenant.worker.given_up.add(tenant.place)
            if tenant.ward is not None:
                tenant.ward.over.set()
            link = self._link
        if link is not None:
            with contextlib.suppress(NotAccepted):  # the hub is gone, and with it the worker
                link.send(frame(Frame.REMOVE, tenant.agent_id.encode(), tenant.place))
        self._withdraw(tenant)

    def _give_up(self, tenant: _Tenant) -> None:
        """Wait for an agent no more. Its process is killed if it has no other, else it is to see to
        it that nothing of the agent is left.
        """
        with self._office:
            worker = tenant.worker
            worker.given_up.add(tenant.place)
            worker.tenants.pop(tenant.place, None)
            is_alone = not worker.tenants
            worker.stopping = worker.stopping or is_alone
            if tenant.ward is not None and not is_alone:
                tenant.ward.over.set()  # as long as it may still come, nobody can come in its place
            watching = self._strike_out(tenant)
            nursery, link = self._nursery, self._link
        self._tell(watching, Down(tenant.agent_id, Reason.AGENT_REMOVED))
        if is_alone and nursery is not None:
            nursery.kill(worker.process_id)
        elif link is not None:
            with contextlib.suppress(NotAccepted):  # the hub is gone, and with it the worker
                link.send(frame(Frame.REMOVE, tenant.agent_id.encode(), tenant.place, b"now"))

    def _hear_of(self, place: bytes, failure: str | None, *, is_over: bool) -> None:
        """An agent has come, or could not, or has left."""
        with self._office:
            worker = self._workers.get(int(place.partition(b"/")[0]))
            if worker is None:
                return
            if is_over:
                worker.given_up.discard(place)
            tenant = worker.tenants.get(place)
            if tenant is not None:
                tenant.has_come = not is_over
        if tenant is not None:
            tenant.outcome.put(failure)

    def _withdraw(self, tenant: _Tenant) -> None:
        """Forget an agent that has left or never came; end its process if that has no other."""
        worker = tenant.worker
        with self._office:
            worker.tenants.pop(tenant.place, None)
            watching = self._strike_out(tenant)
            is_empty = not worker.tenants
            if is_empty:
                self._stop(worker)
        self._tell(watching, Down(tenant.agent_id, Reason.AGENT_REMOVED))
        if is_empty and not worker.gone.wait(self._grace) and self._nursery is not None:
            self._nursery.kill(worker.process_id)

    def _stop(self, worker: _Worker) -> None:
        worker.stopping = True
        if self._link is not None:
            grace = b"%f" % self.grace_left()
            try:
                self._link.send(frame(Frame.STOP, str(worker.number).encode(), payload=grace))
            except NotAccepted:
                worker.gone.set()  # with the hub

    def _bury(self, number: int, fault: str = "") -> None:
        """A worker's process has ended, or is to be ended for a fault. What became of its messages,
        the hub reports after this.
        """
        with self._office:
            worker = self._workers.pop(number, None)
            if worker is None:
                return
            may_come_again = not (worker.stopping or self._closing or self._link is None)
            lost = list(worker.tenants.values())
            wards: list[Ward] = []
            watching: dict[str, list[Watching]] = {}
            for tenant in lost:
                tenant.has_died = True
                ward = tenant.ward
                if self._elsewhere.get(tenant.agent_id) is not tenant:
                    continue
                if ward and may_come_again and tenant.has_come and not ward.over.is_set():
                    ward.passage = threading.Event()
                    wards.append(ward)
                else:
                    watching[tenant.agent_id] = self._strike_out(tenant)
        if fault:
            logger.error("%s is killed: it writes what makes no sense: %s", worker, fault)
        worker.gone.set()
        worker.halted.set()
        for tenant in lost:
            tenant.outcome.put(f"{tenant.agent_id!a} could not be started: {_DIED}")
        if worker.stopping and not fault:
            for agent_id, callbacks in watching.items():
                self._tell(callbacks, Down(agent_id, Reason.AGENT_REMOVED))
        elif lost or fault:
            self._crew.run(partial(self._hold_inquest, worker, watching, wards))

    def _hold_inquest(
        self, worker: _Worker, watching: dict[str, list[Watching]], wards: list[Ward]
    ) -> None:
        """A worker's process has ended by itself: tell who watches its agents, and have those started
        again that want to be.
        """
        # It may have done no more than close its socket.
        status = None if self._nursery is None else self._nursery.kill(worker.process_id)
        why = describe_end(status)
        logger.warning("%s died: %s", worker, why)
        for agent_id, callbacks in watching.items():
            self._tell(callbacks, Down(agent_id, Reason.AGENT_DIED, why))
        for ward in wards:
            self._crew.run(partial(self._supervisor.see_through, ward, status))

    def _strike_out(self, tenant: _Tenant) -> list[Watching]:
        """The agent has gone for good: give its id back, and have the hub lose what it kept for it. To
        be called in the office; returns who is to be told.
        """
        if self._elsewhere.get(tenant.agent_id) is not tenant:
            return []
        del self._elsewhere[tenant.agent_id]
        if tenant.ward is not None:
            self._lose_kept(tenant.agent_id, tenant.ward.lost)
        return self._watchers.take(tenant.agent_id)

    def _lose_kept(self, agent_id: str, lost: threading.Event) -> None:
        """Have the hub lose what it keeps for an agent; `lost` is set when that has been told. To be called
        in the office.
        """
        if self._link is None:
            lost.set()  # with the hub
            return
        token = str(next(self._tokens)).encode()
        self._losing[token] = lost
        try:
            self._link.send(frame(Frame.KEEP_NO_MORE, agent_id.encode(), token))
        except NotAccepted:
            self._losing.pop(token).set()

    # Agents between two lives

    def _start_again(self, ward: Ward) -> str | None:
        """Build the agent anew. Returns what went wrong, or None if it is there."""
        try:
            heir = self._place(ward.agent_id, ward, is_heir=True)
        except AgencyError as error:
            return str(error)
        with self._office:
            ward.outcome = heir.outcome
            if ward.over.is_set():
                heir.outcome.put(_UNWANTED)
        failure = self._ask(heir, Frame.ADD, ward.pickled, timeout=self._start_timeout)
        with self._office:
            ward.outcome = None
            if failure is None and heir.has_died:
                failure = _DIED
            if failure is None and not ward.over.is_set():
                self._elsewhere[ward.agent_id] = heir
                heir.is_settled = True
                self._end_passage(ward)
                return None
        if failure is None:
            self._ask(heir, Frame.REMOVE, timeout=self._grace + 2)
        elif failure == _UNWANTED:
            self._give_up(heir)
        self._withdraw(heir)
        return (failure or _UNWANTED).partition("\0")[0]

    def _let_go(self, ward: Ward, reason: Reason, detail: str) -> None:
        """The agent will not come again: its id is free before anybody is told."""
        with self._office:
            last = self._elsewhere.get(ward.agent_id)
            watching = [] if last is None else self._strike_out(last)
        ward.lost.wait(self._grace)
        self._tell(watching, Down(ward.agent_id, reason, detail))
        with self._office:
            self._end_passage(ward)

    def _end_passage(self, ward: Ward) -> None:
        passage, ward.passage = ward.passage, None
        if passage is not None:
            passage.set()

    def _recall(self, ward: Ward | None) -> None:
        """The agent is not wanted any more: wait until nothing is left of it, nor of its mail."""
        if ward is None:
            return
        with self._office:
            ward.is_wanted = False
            ward.over.set()
            passage = ward.passage
            if ward.outcome is not None:
                ward.outcome.put(_UNWANTED)
        limit = time.monotonic() + self._grace + 2
        if passage is not None:
            passage.wait(self._grace + 2)
        ward.lost.wait(max(0.0, limit - time.monotonic()))

    def _lose_everyone_elsewhere(self) -> None:
        """The hub is gone, and with it the workers: nobody there will answer."""
        logger.error(
            "the exchange of messages of %s has died, and the agents in other processes with it",
            self,
        )
        with self._office:
            link, self._link = self._link, None
            if link is not None:
                link.close()  # before anybody can close what it uses: see _shut_down
            numbers = list(self._workers)
            for lost in self._losing.values():
                lost.set()
        for resident in list(self._residents.values()):
            resident.lose_contact(
                self._residents,
                OutcomeUnknown("the agent's process was lost with the space's exchange"),
            )
        for number in numbers:
            self._bury(number)

    def stay_with_parent(self) -> None:
        super().stay_with_parent()
        if self._link is not None:
            self._link.stay_with_parent()

    def halt(self) -> None:
        super().halt()
        with lifetime.undisturbed(), self._office:
            workers, link = list(self._workers.values()), self._link
            if self._is_parents or link is None:
                return
            with contextlib.suppress(NotAccepted):  # the hub is gone, and with it the workers
                link.send(frame(Frame.HALT))
        if self._relay.is_reading():  # what they say is read here, later
            self._crew.run(lambda: self._see_halted(workers))
        else:
            self._see_halted(workers)

    def _see_halted(self, workers: list[_Worker]) -> None:
        """Wait for workers that were told to begin with nothing more; end those that do not hear."""
        limit = time.monotonic() + _HALT_TIME
        for worker in workers:
            heard = worker.halted.wait(max(0.0, limit - time.monotonic()))
            if not heard and self._nursery is not None:
                logger.warning("%s does not hear that it is to halt, and is killed", worker)
                self._nursery.kill(worker.process_id)

    def _shut_down(self) -> None:
        with self._office:
            between = [
                one.ward for one in self._elsewhere.values() if one.ward and one.ward.passage
            ]
        for ward in between:
            self._recall(ward)
        with self._office:
            nursery, link = self._nursery, self._link
            workers = list(reversed(self._workers.values()))
            for worker in workers:
                self._stop(worker)
        if nursery is None:
            return
        limit = time.monotonic() + self.grace_left() + _CLEANING_TIME
        for worker in workers:
            if not worker.gone.wait(max(0.0, limit - time.monotonic())):
                logger.warning("%s did not end and is killed", worker)
                nursery.kill(worker.process_id)
        if link is not None:
            self._hear_of_the_lost()
            link.close()
        nursery.close()
        for worker in workers:
            for tenant in list(worker.tenants.values()):
                tenant.outcome.put(f"{tenant.agent_id!a} could not be started: {ENDED}")
        with self._office:
            left = {one.agent_id: self._strike_out(one) for one in list(self._elsewhere.values())}
        for agent_id, watching in left.items():
            self._tell(watching, Down(agent_id, Reason.AGENT_REMOVED))

    def _hear_of_the_lost(self) -> None:
        """Wait until the hub has told what became of the messages of workers that have ended."""
        heard = threading.Event()
        with self._office:
            self._lose_kept("", heard)  # what comes back comes after all else
        if not self._relay.is_reading():
            heard.wait(_HALT_TIME)


def _pickle(
    agent_id: str, agent_class: AgentFactory[Agent], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bytes:
    """What a worker needs to build the agent.

    Raises:
        StartFailed: it cannot be carried to another process; the text says why and what to do.
    """
    hint = "or keep the agent in this process with add_foreground"
    main = sys.modules.get("__main__")
    if agent_class.__module__ == "__main__" and not hasattr(main, "__file__"):
        raise StartFailed(
            f"{agent_id!a} cannot be built in another process: {agent_class.__qualname__} is "
            f"defined in an interactive session; define it in a module, {hint}"
        )
    try:
        return pickle.dumps((agent_class, args, kwargs), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise StartFailed(
            f"{agent_id!a} cannot be built in another process: {error}; define its class at the top "
            f"level of a module and give it arguments that can be pickled, {hint}"
        ) from error

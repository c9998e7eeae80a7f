"""LocalSpace: agents in processes of their own, within one application.

    application ──┐                        the application has the agents that it built itself, and decides
     (this file)  ├── hub ──┬── worker     who is added and removed
                  │         └── worker     the hub carries every message between processes (`local_hub`)
     nursery ─────┘                        the nursery forks the others (`local_nursery`)

Nothing is started before the first agent is added in the class form. Read `local_hub` next.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from agency import lifetime
from agency.agent import Agent
from agency.deadletters import DeadLetter, Reason
from agency.envelope import Envelope
from agency.errors import AgentIdInUse, NotAccepted, OutcomeUnknown, StartFailed
from agency.resident import Resident
from agency.schema import BROADCAST
from agency.space import AgentFactory, Space
from agency.spaces.local_frames import Frame, frame, read_envelope, split
from agency.spaces.local_link import Link, Relay
from agency.spaces.local_memory import SLOTS
from agency.spaces.local_nursery import ENDED, Nursery
from agency.timeouts import check_seconds

__all__ = ["LocalSpace"]

logger = logging.getLogger(__name__)

_WITH_ENVELOPE: Final = frozenset({Frame.MESSAGE, Frame.DEAD_LETTER})
_EVERYBODY: Final = BROADCAST.encode()


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
    is_settled: bool = False
    """Whether it has come and nobody has begun to remove it."""
    outcome: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    """What became of its coming, then of its leaving: None, or what went wrong."""


class LocalSpace(Space):
    """A space of several processes on one machine, all of one application.

    `add(AgentClass, "id", ...)` builds the agent in another process: its class must be importable
    there, or be defined in the main module, and its arguments must be picklable. `add(agent)` and
    `add_foreground` keep it in this one. Messages are never pickled.

    A message that `send` has accepted is held outside of its sender and its receiver until it is
    settled, and survives the death of either. If a worker dies, whoever waits for a message that it
    may have begun gets `OutcomeUnknown`, whoever waits for another gets `AgentNotFound`; nobody
    else notices. No process outlives the application.

    Args:
        max_workers: pack the agents into this many processes; None gives each its own.
        start_timeout: seconds that the construction of an agent in another process may take.
        grace: seconds that actions in progress are given to end when their agent is removed.
        audit: a file for the audit log, for the agents in all processes; see `Space`.
    """

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        start_timeout: float = 120.0,
        grace: float = 10.0,
        audit: str | os.PathLike[str] | None = None,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers is at least 1, or None for one each, not {max_workers}")
        super().__init__(grace=grace, audit=audit)
        self._crew = self._relay = Relay(f"agency-{type(self).__name__}")
        self._max_workers = max_workers
        self._start_timeout = check_seconds("start_timeout", start_timeout)
        self._office = threading.RLock()  # guards what follows
        self._nursery: Nursery | None = None
        self._link: Link | None = None
        self._workers: dict[int, _Worker] = {}
        self._elsewhere: dict[str, _Tenant] = {}  # read without the lock
        self._connected: dict[str, Resident] = {}
        self._numbers = 0

    # Messages

    def route(self, envelope: Envelope) -> None:
        to = envelope.message["to"]
        link = self._link
        if to == BROADCAST:
            self._broadcast_here(envelope)
            if link is not None:
                link.post(envelope)
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
                envelope = read_envelope(data, payload)
            except ValueError as error:
                self._dead_letters.add(DeadLetter(Reason.UNDECODABLE, None, str(error)))
                return
            if kind == Frame.DEAD_LETTER:
                self.drop(envelope, Reason(to.decode()))
            elif to == _EVERYBODY:
                self._broadcast_here(envelope)
            elif not self._deliver_here(envelope):
                self.drop(envelope, Reason.AGENT_REMOVED)
        elif kind == Frame.WORKER_GONE:
            self._bury(int(to), data[payload:].decode())
        else:
            failure = data[payload:].decode(errors="replace") if kind == Frame.FAILED else None
            self._hear_of(place, failure, is_over=kind != Frame.ADDED)

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
                self._link.send(frame(Frame.CONNECT, resident.agent.id.encode()))

    def _disconnect(self, resident: Resident) -> None:
        with self._office:
            if self._connected.get(resident.agent.id) is not resident:
                return  # its id is another's already
            del self._connected[resident.agent.id]
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
            tenant = self._place(agent_id)
            try:
                failure = self._ask(tenant, Frame.ADD, pickled, timeout=self._start_timeout)
            except BaseException:  # a signal came in between
                self._take_back(tenant)
                raise
            if failure is not None:
                self._withdraw(tenant)
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
        self._ask(tenant, Frame.REMOVE, timeout=self._grace + 2)
        self._withdraw(tenant)
        return True

    def _place(self, agent_id: str) -> _Tenant:
        """Choose the process for a new agent, and start it if it is not there yet."""
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
            tenant = _Tenant(agent_id, worker, place)
            worker.slots += 1
            worker.tenants[place] = self._elsewhere[agent_id] = tenant
            return tenant

    def _open_nursery(self) -> Nursery:
        try:
            nursery = Nursery(self._grace, None if self.audit is None else self.audit.path)
        except OSError as error:
            raise StartFailed(f"no process can be started: {error}") from error
        link = Link(
            nursery.hub, nursery.memory, self._relay, self._take, self._lose_everyone_elsewhere
        )
        for agent_id in self._connected:
            link.send(frame(Frame.CONNECT, agent_id.encode()))
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
            if self._elsewhere.get(tenant.agent_id) is tenant:
                del self._elsewhere[tenant.agent_id]
            nursery, link = self._nursery, self._link
        if is_alone and nursery is not None:
            nursery.kill(worker.process_id)
        elif link is not None:
            with contextlib.suppress(NotAccepted):  # the hub is gone, and with it the worker
                link.send(frame(Frame.REMOVE, tenant.agent_id.encode(), tenant.place))

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
            tenant.outcome.put(failure)

    def _withdraw(self, tenant: _Tenant) -> None:
        """Forget an agent that has left or never came; end its process if that has no other."""
        worker = tenant.worker
        with self._office:
            worker.tenants.pop(tenant.place, None)
            if self._elsewhere.get(tenant.agent_id) is tenant:
                del self._elsewhere[tenant.agent_id]
            if worker.tenants:
                return
            self._stop(worker)
        if not worker.gone.wait(self._grace) and self._nursery is not None:
            self._nursery.kill(worker.process_id)

    def _stop(self, worker: _Worker) -> None:
        worker.stopping = True
        if self._link is not None:
            try:
                self._link.send(frame(Frame.STOP, str(worker.number).encode()))
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
            lost = list(worker.tenants.values())
            for tenant in lost:
                if self._elsewhere.get(tenant.agent_id) is tenant:
                    del self._elsewhere[tenant.agent_id]
            nursery = self._nursery
        if fault and nursery is not None:
            logger.error("%s is killed: it writes what makes no sense: %s", worker, fault)
            nursery.kill(worker.process_id)
        elif lost and not worker.stopping:
            logger.warning("%s died", worker)
        worker.gone.set()
        for tenant in lost:
            tenant.outcome.put(f"{tenant.agent_id!a} could not be started: its process died")

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

    def _shut_down(self) -> None:
        with self._office:
            nursery, link = self._nursery, self._link
            workers = list(reversed(self._workers.values()))
            for worker in workers:
                self._stop(worker)
        if nursery is None:
            return
        limit = time.monotonic() + self._grace + 1
        for worker in workers:
            if not worker.gone.wait(max(0.0, limit - time.monotonic())):
                logger.warning("%s did not end and is killed", worker)
                nursery.kill(worker.process_id)
        if link is not None:
            link.close()
        nursery.close()
        for worker in workers:
            for tenant in list(worker.tenants.values()):
                tenant.outcome.put(f"{tenant.agent_id!a} could not be started: {ENDED}")


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

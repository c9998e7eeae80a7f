"""LocalSpace: agents in processes of their own, within one application.

    application ──┐                        the application has the agents that it built itself, and decides
     (this file)  ├── hub ──┬── worker     who is added and removed
                  │         └── worker     the hub carries every message between processes (`local_hub`)
     nursery ─────┘                        the nursery forks the others (`local_nursery`)

Nothing is started before the first agent is added in the class form. Read `local_hub` next.
"""

from __future__ import annotations

import logging
import pickle
import queue
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from agency import lifetime
from agency.agent import Agent
from agency.deadletters import Reason
from agency.envelope import Envelope
from agency.errors import AgentIdInUse, NotAccepted, OutcomeUnknown, StartFailed
from agency.resident import Resident
from agency.schema import BROADCAST
from agency.space import AgentFactory, Space
from agency.spaces.local_frames import Frame, frame, read_envelope, split
from agency.spaces.local_link import Link, Relay
from agency.spaces.local_memory import SLOTS
from agency.spaces.local_nursery import Nursery
from agency.timeouts import check_seconds

__all__ = ["LocalSpace"]

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Worker:
    """A worker as the application knows it."""

    number: int
    process_id: int
    agents: set[str] = field(default_factory=set)
    slots: int = 0
    """How many agents it ever had."""
    stopping: bool = False
    gone: threading.Event = field(default_factory=threading.Event)


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
    """

    def __init__(
        self,
        *,
        max_workers: int | None = None,
        start_timeout: float = 120.0,
        grace: float = 10.0,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers is at least 1, or None for one each, not {max_workers}")
        super().__init__(grace=grace)
        self._crew = self._relay = Relay(f"agency-{type(self).__name__}")
        self._max_workers = max_workers
        self._start_timeout = check_seconds("start_timeout", start_timeout)
        self._office = threading.RLock()  # guards what follows
        self._nursery: Nursery | None = None
        self._link: Link | None = None
        self._workers: dict[int, _Worker] = {}
        self._elsewhere: dict[str, _Worker] = {}  # read without the lock
        self._awaited: dict[str, tuple[_Worker, queue.SimpleQueue[str | None]]] = {}
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
        kind, to, _, payload = split(data)
        if kind == Frame.MESSAGE:
            envelope = read_envelope(data, payload)
            if to == BROADCAST.encode():
                self._broadcast_here(envelope)
            elif not self._deliver_here(envelope):
                self.drop(envelope, Reason.AGENT_REMOVED)
        elif kind == Frame.DEAD_LETTER:
            self.drop(read_envelope(data, payload), Reason(to.decode()))
        elif kind == Frame.WORKER_GONE:
            self._bury(int(to))
        else:
            failure = data[payload:].decode() if kind == Frame.FAILED else None
            self._resolve(to.decode(), failure)

    # Agents here

    def _claim(self, agent_id: str) -> None:
        if agent_id in self._elsewhere:
            raise AgentIdInUse(f"the id {agent_id!a} is in use in this space")

    def _release(self, agent_id: str) -> None:
        """Nothing to do: a claim here is only a look."""

    def _connect(self, resident: Resident) -> None:
        with self._office:
            if self._link is not None:
                self._link.send(frame(Frame.CONNECT, resident.agent.id.encode()))

    def _disconnect(self, resident: Resident) -> None:
        with self._office:
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
            worker = self._place(agent_id)
            place = f"{worker.number}/{worker.slots - 1}".encode()
            failure = self._ask(
                worker, Frame.ADD, agent_id, place, pickled, timeout=self._start_timeout
            )
            if failure is not None:
                self._withdraw(agent_id, worker)
                text, _, trace = failure.partition("\0")
                error = StartFailed(text)
                if trace:
                    error.add_note(f"In the agent's process:\n{trace}")
                raise error
            self._has_had_agents = True
        finally:
            self._end_reservation(agent_id)

    def _remove_elsewhere(self, agent_id: str) -> bool:
        worker = self._elsewhere.get(agent_id)
        if worker is None:
            return False
        self._ask(worker, Frame.REMOVE, agent_id, timeout=self._grace + 2)
        self._withdraw(agent_id, worker)
        return True

    def _place(self, agent_id: str) -> _Worker:
        """Choose the process for a new agent, and start it if it is not there yet."""
        with self._office:
            nursery = self._nursery or self._open_nursery()
            running = [worker for worker in self._workers.values() if not worker.stopping]
            if self._max_workers is not None and len(running) >= self._max_workers:
                worker = min(running, key=lambda one: len(one.agents))
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
            worker.slots += 1
            worker.agents.add(agent_id)
            self._elsewhere[agent_id] = worker
            return worker

    def _open_nursery(self) -> Nursery:
        try:
            nursery = Nursery(self._grace)
        except OSError as error:
            raise StartFailed(f"no process can be started: {error}") from error
        link = Link(
            nursery.hub, nursery.memory, self._relay, self._take, self._lose_everyone_elsewhere
        )
        for agent_id in self._residents:
            link.send(frame(Frame.CONNECT, agent_id.encode()))
        self._nursery, self._link = nursery, link
        link.start()
        return nursery

    def _ask(
        self,
        worker: _Worker,
        kind: Frame,
        agent_id: str,
        place: bytes = b"",
        payload: bytes = b"",
        *,
        timeout: float,
    ) -> str | None:
        """Tell a worker something about an agent and wait until it is done. Returns what went
        wrong, or None.
        """
        answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with self._office:
            self._awaited[agent_id] = worker, answer
            link = self._link
        try:
            if link is None:
                return "the space's processes have ended"
            link.send(frame(kind, agent_id.encode(), place, payload))
            if kind is Frame.ADD:
                with lifetime.interruptible():  # its constructor may take long
                    return answer.get(timeout=timeout)
            return answer.get(timeout=timeout)
        except NotAccepted as error:
            return str(error)
        except queue.Empty:
            if worker.agents == {agent_id} and self._nursery is not None:
                worker.stopping = True
                self._nursery.kill(worker.process_id)
            return f"{agent_id!a} was not ready within {timeout} seconds"
        finally:
            with self._office:
                self._awaited.pop(agent_id, None)

    def _resolve(self, agent_id: str, failure: str | None, worker: _Worker | None = None) -> None:
        """Somebody waits for this to be done: it is, or has failed. For one worker, or any."""
        with self._office:
            awaited, answer = self._awaited.get(agent_id, (None, None))
        if answer is not None and (worker is None or worker is awaited):
            answer.put(failure)

    def _withdraw(self, agent_id: str, worker: _Worker) -> None:
        """Forget an agent that has left or never came; end its process if that has no other."""
        with self._office:
            worker.agents.discard(agent_id)
            if self._elsewhere.get(agent_id) is worker:
                del self._elsewhere[agent_id]
            if worker.agents:
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

    def _bury(self, number: int) -> None:
        """A worker's process has ended; what became of its messages, the hub reports after this."""
        with self._office:
            worker = self._workers.pop(number, None)
            if worker is None:
                return
            lost = set(worker.agents)
            for agent_id in lost:
                self._elsewhere.pop(agent_id, None)
        worker.gone.set()
        if lost and not worker.stopping:
            logger.warning("the process %d of %s died", worker.process_id, ", ".join(sorted(lost)))
        for agent_id in lost:
            self._resolve(agent_id, f"{agent_id!a} could not be started: its process died", worker)

    def _lose_everyone_elsewhere(self) -> None:
        """The hub is gone, and with it the workers: nobody there will answer."""
        logger.error(
            "the exchange of messages of %s has died, and the agents in other processes with it",
            self,
        )
        with self._office:
            link, self._link = self._link, None
            lost = set(self._elsewhere)
            numbers = list(self._workers)
        for resident in list(self._residents.values()):
            resident.lose_contact(
                lost, OutcomeUnknown("the agent's process was lost with the space's exchange")
            )
        for number in numbers:
            self._bury(number)
        if link is not None:
            link.close()

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
        for worker in workers:
            if not worker.gone.wait(self._grace + 1):
                logger.warning(
                    "the process of %s did not end and is killed", ", ".join(sorted(worker.agents))
                )
                nursery.kill(worker.process_id)
        if link is not None:
            link.close()
        nursery.close()


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

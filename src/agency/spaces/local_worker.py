"""A worker: a process that houses agents of a LocalSpace.

Forked by the nursery with one socket, to the hub, and a few words of memory in which it notes how
far each of its agents has come. Its main thread builds agents, a thread reads the socket, and the
agents run as everywhere (`agency.resident`). When the hub is gone, so is the application, and the
worker ends at once.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from mmap import mmap
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from agency import lifetime
from agency.agent import Agent, handling
from agency.audit import AuditLog
from agency.deadletters import DeadLetter, Reason
from agency.envelope import Envelope, Kind, Receipt
from agency.errors import AgencyError, NotAccepted, StartFailed
from agency.resident import Resident
from agency.schema import BROADCAST, Message
from agency.space import Space
from agency.spaces.local_frames import (
    MESSAGES,
    ROOM,
    Frame,
    FrameReader,
    frame,
    message_frame,
    read_message,
    settled_frame,
    split,
)
from agency.spaces.local_link import Link
from agency.spaces.local_memory import SETTLED, STARTED, WORDS_PER_SLOT, new_memory, progress_in
from agency.spaces.local_relay import Relay
from agency.timeouts import SEND_TIMEOUT
from agency.turn import describe

__all__ = ["Setting", "rehearse", "run_worker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a worker needs to know of the application."""

    argv: list[str]
    grace: float
    """Seconds, see `agency.space.Space`."""
    send_timeout: float
    """Likewise."""
    main: dict[str, str | None]
    """The `name` (if it was run with -m) and `path` of the main module; None for what it does not
    have.
    """
    audit: str | None
    """The file of the audit log, if there is one."""


_ANSWERS: Final = frozenset({Kind.ANSWER, Kind.TELL})
"""Kinds of envelope that, if they answer another, mostly come right before that one is settled."""


class _Progress:
    """How far one agent has come with the messages that it was sent, kept where the hub can read
    it.
    """

    __slots__ = ("_ahead", "_lock", "_settled", "_started", "_words", "is_open")

    def __init__(self, words: memoryview, slot: int) -> None:
        self.is_open = False
        """Whether the agent has come. Before, the hub sees to what it could not begin."""
        self._words = words[slot * WORDS_PER_SLOT : (slot + 1) * WORDS_PER_SLOT]
        self._lock = threading.Lock()
        self._started = 0  # guarded by _lock
        self._settled = 0  # every message up to this number is settled; guarded by _lock
        self._ahead: set[int] = set()  # settled ones beyond; guarded by _lock

    def started(self, number: int) -> None:
        with self._lock:
            if number > self._started:
                self._started = self._words[STARTED] = number

    def settled(self, number: int) -> bool:
        """Whether the hub sees so by itself: it does not if an earlier one is not settled."""
        with self._lock:
            if number != self._settled + 1:
                self._ahead.add(number)
                return False
            while self._ahead and number + 1 in self._ahead:
                number += 1
                self._ahead.discard(number)
            self._settled = self._words[SETTLED] = number
            return True


class _Receipt(Receipt):
    """What is settled out of order, the hub is told: it does not take it for lost if the process dies,
    nor holds it for longer than it must.
    """

    __slots__ = ("_door", "_number", "_space")

    def __init__(self, space: _WorkerSpace, door: _Door, number: int) -> None:
        self._space = space
        self._door = door
        self._number = number

    def may_start(self) -> bool:
        self._door.progress.started(self._number)
        return True

    def settled(self) -> None:
        if not self._door.progress.settled(self._number):
            self._space.tell_what_is_settled(self._door.place, self._number)
        self._space.flush_answers()

    def is_left_to_hub(self) -> bool:
        """Whether the agent could not come, so that its mail is not lost here: it may be kept."""
        return not self._door.progress.is_open


class _Door:
    """Where messages for one agent arrive, from before the agent is built. Used under the space's
    `_doors_lock`.
    """

    __slots__ = ("agent_id", "arrived", "is_wanted", "place", "progress", "resident", "waiting")

    def __init__(self, agent_id: str, place: bytes, progress: _Progress) -> None:
        self.agent_id = agent_id
        self.place = place
        self.progress = progress
        self.is_wanted = True
        """Whether the agent is not to leave yet, or not to be built any more."""
        self.arrived = 0
        """How many messages the hub has sent: the number of the last one."""
        self.waiting: list[Envelope] = []
        self.resident: Resident | None = None

    def check_wanted(self) -> None:
        if not self.is_wanted:
            raise StartFailed(f"{self.agent_id!a} was given up")


class _WorkerSpace(Space):
    """The space as the agents in a worker see it: everything goes through the hub."""

    def __init__(
        self,
        end: socket.socket,
        memory: mmap,
        grace: float,
        send_timeout: float = SEND_TIMEOUT,
        audit: str | None = None,
    ) -> None:
        super().__init__(grace=grace, send_timeout=send_timeout)
        self.audit = None if audit is None else AuditLog(audit)  # not opened before it is needed
        self._crew = self.reader = relay = Relay("agency-worker")
        self._words = progress_in(memory)
        self._doors: dict[str, _Door] = {}
        self._doors_lock = threading.Lock()
        self._rooms: dict[bytes, _Door] = {}
        """The doors of all agents, by their places: also of one whose id may be another's already.
        """
        self._door: _Door
        """Of the agent that is being built. Set by `_build`, used by the main thread."""
        self._arrived = 0
        """How many messages have come, for all agents."""
        self._settled = itertools.count(1)
        self._is_to_end = False
        self.tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        """For the main thread; None ends it."""
        self.link = Link(end, memory, relay, self._take, _end_at_once, patience=self.patience)

    # The transport

    def route(self, envelope: Envelope) -> None:
        if envelope.correlation_id is None or envelope.kind not in _ANSWERS:
            self.link.post(envelope)
        else:
            self.link.send_later(message_frame(envelope))  # `flush_answers` is called next
            if handling.get() is not None:
                self.link.flush_soon()  # unless it is one of several values, and the action goes on

    def flush_answers(self) -> None:
        """A message is settled, and its answer, if any, on its way. Let the hub know of it at once if
        that was the last message, else with the answers to the next ones.
        """
        if next(self._settled) == self._arrived:
            self.link.flush()
        else:
            self.link.flush_soon()

    def tell_what_is_settled(self, place: bytes, number: int) -> None:
        """Let the hub know, with what it is told next, that the agent there has settled this message out
        of order.
        """
        with contextlib.suppress(NotAccepted):
            self.link.send_later(settled_frame(place, (number,)))

    def drop(self, envelope: Envelope, reason: Reason, detail: str = "") -> None:
        """The application counts and answers for all processes. It is told before the message is settled:
        whoever dies in between has it counted twice, and not in silence.
        """
        logger.debug("dead letter: %s %s", reason, detail)
        receipt = envelope.receipt
        if (
            isinstance(receipt, _Receipt)
            and reason is Reason.AGENT_REMOVED
            and receipt.is_left_to_hub()
        ):
            return
        try:
            self.link.send(message_frame(envelope, Frame.DEAD_LETTER, reason))
        except NotAccepted:
            self._dead_letters.add(DeadLetter(reason, dict(envelope.message), detail))
        if receipt is not None:
            receipt.settled()

    def _claim(self, agent_id: str) -> None:
        """Nothing to do: the application knows all ids."""

    def _release(self, agent_id: str) -> None:
        """Nothing to do: whoever builds the agent or lets it leave closes its door."""

    def _connect(self, resident: Resident) -> None:
        door = self._door
        with self._doors_lock:
            door.check_wanted()
            door.resident = resident
            for envelope in door.waiting:
                resident.deliver(envelope)
            door.waiting.clear()

    def _disconnect(self, resident: Resident) -> None:
        """Nothing to do: what still comes meets a closed door."""

    def _take(self, data: bytes) -> None:
        """What the hub sends, on the link's thread."""
        kind, to, sender, payload = split(data)
        agent_id = to.decode()
        if kind in MESSAGES:
            self._deliver(agent_id, sender, data, payload)
        elif kind in ROOM:
            self.link.hear_of_room(agent_id, has_room=kind == Frame.ROOM)
        elif kind == Frame.SETTLED:
            if sender in self._rooms:
                self.link.send(settled_frame(sender, ()))  # after all that was told before
        elif kind == Frame.ADD:
            slot = int(sender.split(b"/")[1])
            door = _Door(agent_id, sender, _Progress(self._words, slot))
            with self._doors_lock:
                self._doors[agent_id] = self._rooms[sender] = door
            self.tasks.put(lambda: self._build(door, data[payload:]))
        elif kind == Frame.REMOVE:
            with self._doors_lock:
                leaving = self._rooms.get(sender)
                if leaving is None:
                    return  # it could not be built: that has been said
                leaving.is_wanted = False
            # The main thread may be busy for long: the agent begins with nothing more meanwhile.
            if leaving.progress.is_open and leaving.resident is not None and not self._is_to_end:
                leaving.resident.begin_to_leave()
            self.tasks.put(lambda: self._let_leave(leaving))
        elif kind == Frame.STOP:
            self._is_to_end, self._grace = True, float(data[payload:])
            self.tasks.put(None)
        elif kind == Frame.HALT:
            self.halt()
            self.link.send(frame(Frame.HALT))

    def _deliver(self, agent_id: str, sender: bytes, data: bytes, payload: int) -> None:
        try:
            envelope = read_message(data, sender, payload)
        except ValueError:
            envelope = None
        with self._doors_lock:
            door = self._doors.get(agent_id)
            if door is None:
                return  # the hub sees to it: it is told how many had arrived before
            self._arrived += 1
            door.arrived += 1
            receipt = _Receipt(self, door, door.arrived)
            if envelope is not None:
                envelope.receipt = receipt
                if door.resident is None:
                    door.waiting.append(envelope)
                    return
            resident = door.resident
        if envelope is None or resident is None:
            self._lose_undecodable(receipt, data[payload:])
        elif _is_unwanted(envelope, resident):
            receipt.settled()
        else:
            try:
                resident.deliver(envelope)
            except Exception:  # noqa: BLE001  # a process whose memory was overwritten writes anything
                self._lose_undecodable(receipt, data[payload:])

    def _lose_undecodable(self, receipt: Receipt, text: bytes) -> None:
        with contextlib.suppress(NotAccepted):
            self.link.send(frame(Frame.DEAD_LETTER, Reason.UNDECODABLE.encode(), b"", text))
        receipt.settled()

    def stay_with_parent(self) -> None:
        super().stay_with_parent()
        self.link.stay_with_parent()

    def _shut_down(self) -> None:
        self.link.stop_reading()  # what is sent until the process ends still goes its way

    # The main thread

    def _build(self, door: _Door, pickled: bytes) -> None:
        self._door = door
        try:
            door.check_wanted()
            agent_class, args, kwargs = _unpickle(door.agent_id, pickled)
            agent = self.add_foreground(agent_class, door.agent_id, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the one who called `add` is told
            self._close(door)
            text = describe(error) if not isinstance(error, AgencyError) else str(error)
            trace = "".join(traceback.format_exception(error))
            told = f"{text}\0{trace}".encode(errors="backslashreplace")
            self.link.send(frame(Frame.FAILED, b"", door.place, told))
        else:
            door.progress.is_open = True
            agency = agent._agency
            bound = b"%d" % (agency.mailbox + agency.concurrency)
            self.link.send(frame(Frame.ADDED, b"", door.place, bound))

    def _let_leave(self, door: _Door) -> None:
        if door.place not in self._rooms:
            return  # it could not be built: that has been said
        try:
            if door.resident is not None:
                door.resident.begin_to_leave()
                self._take_leave(door.resident, self._grace)
        finally:
            self.link.send(frame(Frame.REMOVED, self._close(door), door.place))

    def _close(self, door: _Door) -> bytes:
        """Take no notice of further messages for an agent that is gone, or did not come: the hub sees to
        them. Returns how many have arrived.
        """
        with self._doors_lock:
            if self._doors.get(door.agent_id) is door:
                del self._doors[door.agent_id]
            del self._rooms[door.place]
        return str(door.arrived).encode()


def _is_unwanted(envelope: Envelope, receiver: Resident) -> bool:
    """Whether it is a broadcast of the agent's own, which it does not want to receive."""
    message, agency = envelope.message, receiver.agent._agency
    return (
        message["to"] == BROADCAST
        and message["from"] == agency.id
        and not agency.receive_own_broadcasts
    )


def _unpickle(agent_id: str, pickled: bytes) -> Any:
    try:
        return pickle.loads(pickled)  # noqa: S301  # from the application, over a private socket
    except (AttributeError, ImportError) as error:
        raise StartFailed(
            f"the class or the arguments of {agent_id!a} cannot be found in its process: {error}; "
            "define them at the top level of a module that can be imported, or of the main module: "
            'above the first space, and not under `if __name__ == "__main__"`'
        ) from error


def run_worker(end: socket.socket, memory: mmap, setting: Setting) -> None:
    """The worker's life, from fork to end; called in the main thread.

    Args:
        end: to the hub.
        memory: shared with the hub, see `agency.spaces.local_memory`.
        setting: of the application.
    """
    lifetime.leave_signals_to_parent()
    sys.argv[:] = setting.argv
    _Definitions(setting.main).announce()
    space = _WorkerSpace(end, memory, setting.grace, setting.send_timeout, setting.audit)
    space.link.start()
    while (task := space.tasks.get()) is not None:
        try:
            task()
        except AgencyError:
            logger.exception("a task of the application could not be done")
    space.destroy()
    sys.exit(0)


def rehearse() -> None:
    """Go through a worker's life once, in the nursery: build an agent, let it answer, let it leave.

    Python tunes its code and fills its caches while it runs for the first time. What is done here
    is shared by all workers; without, each would do it again, with 0.4 MB of memory of its own.
    """
    lifetime.leave_to_parent()
    end, stage = socket.socketpair()
    memory = new_memory()
    space = _WorkerSpace(end, mmap(memory, 0), grace=10.0)
    os.close(memory)
    space.link.start()
    with stage:
        heard = FrameReader()
        stage.sendall(frame(Frame.ADD, b"extra", b"0/0", pickle.dumps((Agent, (), {}))))
        if (build := space.tasks.get()) is not None:
            build()
            _wait_for_frame(heard, stage)
        question: Message = {"from": "stage", "to": "extra", "action": {"name": "help"}}
        stage.sendall(message_frame(Envelope.of(question, "1", Kind.REQUEST)))
        _wait_for_frame(heard, stage)
        space.destroy()
        space.link.close()


def _wait_for_frame(heard: FrameReader, stage: socket.socket) -> None:
    while not any(heard.frames()):
        heard.fill(stage)


def _end_at_once() -> None:
    """The hub is gone, and with it everybody to talk to. Or this process cannot take in what comes, for
    want of memory: as it is, it would be deaf, and nobody would know.
    """
    os._exit(1)


class _Definitions(ModuleType):
    """Stands for the application's main module until somebody needs a definition in it.

    Then the module is run once, under the name that multiprocessing uses for the same purpose, so a
    guarded program does nothing else. An unguarded one is stopped where it makes its space: what it
    defines above that is there.
    """

    def __init__(self, main: dict[str, str | None]) -> None:
        super().__init__("__mp_main__")
        self.__dict__["_main"] = main

    def announce(self) -> None:
        """Take the main module's place."""
        sys.modules["__main__"] = sys.modules["__mp_main__"] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_main" not in self.__dict__:
            raise AttributeError(f"the application's main module has no {name!r}")
        self._load(self.__dict__.pop("_main"))
        return getattr(self, name)

    def _load(self, main: dict[str, str | None]) -> None:
        name, path = main["name"], main["path"]
        spec = find_spec(name) if name else None
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "get_code"):
            self.__spec__, self.__package__ = spec, spec.parent
            code = spec.loader.get_code(spec.name)
            self.__file__ = spec.origin
        elif path is not None:
            self.__file__ = path
            code = compile(Path(path).read_bytes(), path, "exec")
        else:
            return
        with lifetime.definitions_only():
            exec(code, self.__dict__)  # noqa: S102  # the application's own main module

"""The hub: a small process through which the messages between the processes of a LocalSpace pass.

It keeps every message for a worker until the worker has settled it, so a worker may be killed at
any instant and the hub knows what had been started. It has one thread, never blocks on anybody, and
reads of a message only whom it is for. It is a process of its own so that an application that
computes does not hold up the agents in other processes.

Forked by the nursery (`local_nursery`). It ends when the application's end of its socket closes,
however that comes about, and the workers end when it does. `local_frames` says what it is told.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections import deque
from mmap import mmap
from typing import Final, cast

from agency.deadletters import Reason
from agency.spaces.local_frames import Frame, FrameReader, frame, frames_in, split, taken_up_to
from agency.spaces.local_memory import SETTLED, STARTED, WORDS_PER_SLOT, Inlet, progress_in

__all__ = ["ANNOUNCEMENT", "run_hub"]

ANNOUNCEMENT: Final = 16
"""Bytes in which the nursery tells the number of a new worker, padded with blanks."""

_BROADCAST: Final = b"*"


class _Peer:
    """One process at the other end of a socket."""

    __slots__ = ("inlet", "members", "number", "out", "progress", "reader", "socket", "watched")

    def __init__(self, end: socket.socket, number: int, memory: int) -> None:
        end.setblocking(False)
        self.socket = end
        self.number = number
        """Of the worker; 0 is the application."""
        shared = mmap(memory, 0)
        os.close(memory)
        self.inlet = Inlet(shared)
        self.progress = progress_in(shared)
        self.reader = FrameReader()
        self.out: list[bytes | memoryview] = []
        """What is to be written, in order."""
        self.watched = False
        """Whether the selector tells when the socket can be written again."""
        self.members: dict[bytes, _Member] = {}


class _Member:
    """One agent, wherever it lives."""

    __slots__ = ("held", "peer", "sent", "settled_word", "started_word", "wants_own")

    def __init__(self, peer: _Peer, slot: int) -> None:
        self.peer = peer
        self.started_word = WORDS_PER_SLOT * slot + STARTED
        self.settled_word = WORDS_PER_SLOT * slot + SETTLED
        self.sent = 0
        """How many messages it was sent; the number of the last one."""
        self.held: deque[bytes] = deque()
        """Those that it has not settled, up to the last one."""
        self.wants_own = True


class _Hub:
    def __init__(self, application: socket.socket, memory: int, nursery: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._nursery = nursery
        self._workers: dict[int, _Peer] = {}
        self._members: dict[bytes, _Member] = {}
        self._touched: set[_Peer] = set()
        self._application = _Peer(application, 0, memory)
        self._selector.register(application, selectors.EVENT_READ, self._application)
        self._selector.register(nursery, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Until the application's end closes."""
        while True:
            for key, events in self._selector.select():
                peer = cast("_Peer | None", key.data)
                if peer is None:
                    self._welcome_announced()
                elif events & selectors.EVENT_READ and not self._read(peer):
                    if peer is self._application:
                        return
                    self._bury(peer)
                elif events & selectors.EVENT_WRITE:
                    self._touched.add(peer)
            touched, self._touched = self._touched, set()
            for peer in touched:
                self._write(peer)

    # Reading and writing

    def _read(self, peer: _Peer) -> bool:
        try:
            going_on = peer.reader.fill(peer.socket)
        except BlockingIOError:
            return True
        for data in peer.reader.frames():
            if data[4] == Frame.TAKE:
                for each in frames_in(peer.inlet.take(taken_up_to(data))):
                    self._take(peer, each)
            else:
                self._take(peer, data)
        return going_on

    def _send(self, peer: _Peer, data: bytes) -> None:
        peer.out.append(data)
        self._touched.add(peer)

    def _write(self, peer: _Peer) -> None:
        if peer.out:
            data = peer.out[0] if len(peer.out) == 1 else b"".join(peer.out)
            try:
                count = peer.socket.send(data)
            except BlockingIOError:
                count = 0
            except OSError:
                peer.out.clear()  # it is gone: reading will say so, and what it had not settled is held
                return
            peer.out = [memoryview(data)[count:]] if count < len(data) else []
        if bool(peer.out) != peer.watched:
            peer.watched = bool(peer.out)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.watched else 0)
            self._selector.modify(peer.socket, events, peer)

    # Messages

    def _take(self, source: _Peer, data: bytes) -> None:
        kind, to, sender, payload = split(data)
        if kind != Frame.MESSAGE:
            self._obey(source, data)
        elif source is not self._application and sender not in source.members:
            return  # nobody speaks for an agent of another process
        elif to == _BROADCAST:
            self._broadcast(source, sender, data, payload)
        else:
            member = self._members.get(to)
            if member is None:
                self._lose(Reason.NO_SUCH_AGENT, data, payload)
            else:
                self._deliver(member, data)

    def _deliver(self, member: _Member, data: bytes) -> None:
        peer = member.peer
        peer.out.append(data)
        self._touched.add(peer)
        if peer is not self._application:
            held = member.held
            held.append(data)
            member.sent += 1
            settled = peer.progress[member.settled_word]
            while member.sent - len(held) < settled:
                held.popleft()

    def _broadcast(self, source: _Peer, sender: bytes, data: bytes, payload: int) -> None:
        """To each agent in a worker by itself, so that each is accounted for; to the application
        once.
        """
        body = data[payload:]
        for agent_id, member in list(self._members.items()):
            if member.peer is not self._application and (agent_id != sender or member.wants_own):
                self._deliver(member, frame(Frame.MESSAGE, agent_id, sender, body))
        if source is not self._application:
            self._send(self._application, data)

    def _lose(self, reason: Reason, data: bytes, payload: int) -> None:
        self._send(
            self._application, frame(Frame.DEAD_LETTER, reason.encode(), b"", data[payload:])
        )

    # Members and workers

    def _obey(self, source: _Peer, data: bytes) -> None:
        number, to, sender, payload = split(data)
        kind = Frame(number)
        if kind is Frame.CONNECT:
            self._members[to] = _Member(source, 0)
        elif kind is Frame.DISCONNECT:
            self._members.pop(to, None)
        elif kind is Frame.ADD:
            self._add(to, sender, data)
        elif kind is Frame.REMOVE:
            member = self._members.get(to)
            if member is not None:
                self._send(member.peer, data)
        elif kind is Frame.STOP:
            worker = self._workers.get(int(to))
            if worker is not None:
                self._send(worker, data)
        else:
            if kind is Frame.ADDED and to in self._members:
                self._members[to].wants_own = data[payload:] == b"true"
            elif kind in {Frame.FAILED, Frame.REMOVED}:
                self._members.pop(to, None)
                source.members.pop(to, None)
            self._send(self._application, data)

    def _add(self, agent_id: bytes, place: bytes, data: bytes) -> None:
        number, slot = (int(part) for part in place.split(b"/"))
        # The nursery announces a worker before the application can know of it, but on another
        # socket.
        while number not in self._workers and self._welcome():
            pass
        worker = self._workers.get(number)
        if worker is None:
            self._send(
                self._application, frame(Frame.FAILED, agent_id, b"", b"its process has ended")
            )
            return
        self._members[agent_id] = worker.members[agent_id] = _Member(worker, slot)
        self._send(worker, data)

    def _welcome_announced(self) -> None:
        """Welcome a worker if one is announced that has not been welcomed yet."""
        self._nursery.setblocking(False)
        try:
            if not self._welcome():
                self._selector.unregister(self._nursery)
        except BlockingIOError:
            pass
        finally:
            self._nursery.setblocking(True)

    def _welcome(self) -> bool:
        """Take over the socket and the memory of a new worker. False if the nursery is gone."""
        try:
            number, handles, _, _ = socket.recv_fds(self._nursery, ANNOUNCEMENT, 2)
        except ConnectionResetError:  # it has ended, and left something unread
            return False
        if not number:
            return False
        end, memory = handles
        worker = _Peer(socket.socket(fileno=end), int(number), memory)
        self._workers[worker.number] = worker
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)
        return True

    def _bury(self, worker: _Peer) -> None:
        """A worker's process has ended: what its agents had not settled is lost, each message in
        its own way. What they had sent still goes its way.
        """
        for data in frames_in(worker.inlet.take_all()):
            self._take(worker, data)
        self._selector.unregister(worker.socket)
        worker.socket.close()
        self._workers.pop(worker.number, None)
        self._touched.discard(worker)
        # Their ids are free before anybody is told that they are gone.
        gone = json.dumps([agent_id.decode() for agent_id in worker.members]).encode()
        self._send(
            self._application, frame(Frame.WORKER_GONE, str(worker.number).encode(), b"", gone)
        )
        progress = worker.progress
        for agent_id, member in worker.members.items():
            self._members.pop(agent_id, None)
            started, settled = progress[member.started_word], progress[member.settled_word]
            for number, data in enumerate(member.held, member.sent - len(member.held) + 1):
                if number > settled:
                    reason = Reason.AGENT_DIED if number <= started else Reason.AGENT_REMOVED
                    self._lose(reason, data, split(data)[3])
        worker.members.clear()  # a circle of references would keep its memory open


def run_hub(application: socket.socket, memory: int, nursery: socket.socket) -> None:
    """The hub's life, from fork to end.

    Args:
        application: to the application.
        memory: shared with the application, an open file.
        nursery: from the nursery, which sends a worker's number with its socket and shared memory.
    """
    # Ctrl-C and SIGTERM are ignored, as in the nursery.
    _Hub(application, memory, nursery).run()

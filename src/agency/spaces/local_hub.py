"""The hub: a small process through which the messages between the processes of a LocalSpace pass.

It keeps every message for a worker until the worker has settled it, so a worker may be killed at
any instant and the hub knows what had been started. It has one thread, never blocks on anybody, and
reads of a message only whom it is for. It is a process of its own so that an application that
computes does not hold up the agents in other processes.

It believes the application, and no worker: one that writes what makes no sense, because something
has overwritten its memory, is buried as if it had ended, and does no harm to others.

Forked by the nursery (`local_nursery`). It ends when the application's end of its socket closes,
however that comes about, and the workers end when it does. `local_frames` says what it is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import selectors
import socket
import time
from collections import deque
from mmap import mmap
from typing import Final, cast

from agency.deadletters import Reason
from agency.envelope import MAILBOX_BYTES, MAILBOX_MESSAGES
from agency.spaces.local_frames import (
    LARGE,
    LARGEST,
    MESSAGES,
    Frame,
    FrameReader,
    frame,
    frames_in,
    large_frame,
    numbers_in,
    place_of_large,
    settled_frame,
    split,
    taken_up_to,
)
from agency.spaces.local_memory import (
    FROM_HUB,
    SETTLED,
    STARTED,
    TO_HUB,
    WORDS_PER_SLOT,
    Board,
    Inlet,
    Shelf,
    place_on_board,
    progress_in,
)

__all__ = ["ANNOUNCEMENT", "run_hub"]

ANNOUNCEMENT: Final = 16
"""Bytes in which the nursery tells the number of a new worker, padded with blanks."""

_AT_ONCE: Final = 256 * 1024
"""Bytes that are put together to be written in one go."""

_MOMENT: Final = 50e-6
"""Seconds for which the hub looks for the next message before it sleeps, if the last one was there as
soon. To be woken takes 20 to 40 µs on either way of a request: 130 µs, not 165, for the whole of it.
"""

_BROADCAST: Final = b"*"
_MESSAGES: Final = frozenset(map(int, MESSAGES))
_REASONS: Final = frozenset(reason.encode() for reason in Reason)


class _Peer:
    """One process at the other end of a socket."""

    __slots__ = (
        "awaited",
        "board",
        "fault",
        "ids",
        "inlet",
        "left",
        "members",
        "number",
        "out",
        "progress",
        "reader",
        "shelf_for_it",
        "shelf_from_it",
        "socket",
        "watched",
    )

    def __init__(self, end: socket.socket, number: int, memory: int) -> None:
        end.setblocking(False)
        self.socket = end
        self.number = number
        """Of the worker; 0 is the application."""
        try:
            shared = mmap(memory, 0)
        finally:
            os.close(memory)
        self.inlet = Inlet(shared)
        self.shelf_for_it = Shelf(shared, FROM_HUB)
        self.shelf_from_it = Shelf(shared, TO_HUB)
        self.board = Board(shared)
        self.progress = progress_in(shared)
        self.reader = FrameReader(LARGEST if number else None)
        self.out: deque[bytes | memoryview] = deque()
        """What is to be written, in order."""
        self.watched = False
        """Whether the selector tells when the socket can be written again."""
        self.members: dict[bytes, _Member] = {}
        """Its agents, by their places."""
        self.awaited: set[_Member] = set()
        """Those of them that somebody waits for, until there is room in their mailboxes."""
        self.ids: set[bytes] = set()
        """Of all agents that it ever had. Those that have left may still have to answer."""
        self.left: list[_Member] = []
        """Those of them that had begun a message and not settled it, and perhaps still have not."""
        self.fault = ""
        """What it has written that makes no sense."""


class _Mailbox:
    """What is for one agent and not settled. As it stands, that of one between two lives."""

    __slots__ = ("agent_id", "bound", "held", "is_shown", "sent", "waiting", "weight")

    def __init__(self, agent_id: bytes) -> None:
        self.agent_id = agent_id
        self.sent = 0
        """How many messages it was sent; the number of the last one."""
        self.held: dict[int, bytes | int] = {}
        """Those that it has not settled, by their numbers. Of the application's only the size."""
        self.weight = 0
        """Bytes that they have together."""
        self.bound = MAILBOX_MESSAGES + 1
        """How many of them there may be: those that wait, and those that are being handled."""
        self.is_shown = False
        """Whether all processes are shown that it is full."""
        self.waiting: set[_Peer] = set()
        """Who is to be told when there is room."""

    def hold(self, data: bytes) -> None:
        """It is sent one more."""
        self.sent += 1
        self.held[self.sent] = data
        self.weight += len(data)

    def is_full(self) -> bool:
        """Whether it holds all that it may. What was on its way already is held all the same."""
        return len(self.held) >= self.bound or self.weight >= MAILBOX_BYTES

    def follow(self, last: _Mailbox) -> None:
        """Come in the place of another of the same agent: with its bound, what is shown of it, and
        those who wait for it.
        """
        self.bound = last.bound
        self.is_shown, last.is_shown = last.is_shown, False
        self.waiting, last.waiting = last.waiting, set()


class _Member(_Mailbox):
    """One agent, wherever it lives, and its mailbox."""

    __slots__ = (
        "is_asked",
        "is_there",
        "kept",
        "peer",
        "place",
        "settled",
        "settled_word",
        "started_word",
        "watched_from",
    )

    def __init__(self, agent_id: bytes, peer: _Peer, place: bytes) -> None:
        super().__init__(agent_id)
        slot = int(place.partition(b"/")[2]) if peer.number else 0
        self.peer = peer
        self.place = place
        self.started_word = WORDS_PER_SLOT * slot + STARTED
        self.settled_word = WORDS_PER_SLOT * slot + SETTLED
        self.settled = 0
        """Up to which message it has settled all, when that was looked at last."""
        self.watched_from = self.bound // 2
        """From how many on it is asked for what it has settled out of order."""
        self.is_asked = False
        self.is_there = False
        """Whether it has been built and set up."""
        self.kept: _Mailbox | None = None
        """Where to put what it has not begun, if it is gone and to come again."""

    def hold(self, data: bytes) -> None:
        self.sent += 1
        self.held[self.sent] = data if self.peer.number else len(data)
        self.weight += len(data)

    def let_go(self, number: int) -> None:
        """It has settled that one."""
        item = self.held.pop(number, 0)
        self.weight -= item if isinstance(item, int) else len(item)

    def settle(self, up_to: int) -> None:
        """It has settled all up to that one."""
        take_out, weight = self.held.pop, self.weight
        for number in range(self.settled + 1, up_to + 1):
            item = take_out(number, 0)
            weight -= item if isinstance(item, int) else len(item)
        self.settled, self.weight = up_to, weight

    def progress(self) -> tuple[int, int]:
        """Up to which message it has started, and settled all."""
        words = self.peer.progress
        return words[self.started_word], words[self.settled_word]

    def is_at_work(self) -> bool:
        """Whether it has begun a message that it has not settled."""
        started, settled = self.progress()
        return settled < min(started, self.sent)


class _Hub:
    def __init__(self, application: socket.socket, memory: int, nursery: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._nursery = nursery
        self._spare: int | None = os.dup(nursery.fileno())
        """A file descriptor to let go of while memory is mapped, which needs one more for a moment. So a
        worker that leaves makes room for another. None while the whole system has none left.
        """
        self._workers: dict[int, _Peer] = {}
        self._newest = 0
        """The highest number of a worker so far: numbers only grow, and are announced in order."""
        self._refused: dict[int, str] = {}
        """Workers that could not be taken in, and why, until the application stops them."""
        self._members: dict[bytes, _Member] = {}
        self._full: dict[int, int] = {}
        """How many full mailboxes are shown, by their places on the board."""
        self._heirs: set[bytes] = set()
        """The ids of agents that are to come again if their process dies."""
        self._kept: dict[bytes, _Mailbox] = {}
        """Their mail between two lives, by their ids. None of it was begun."""
        self._halted = False
        self._is_busy = False
        """Whether the last wait took no longer than a moment."""
        self._touched: set[_Peer] = set()
        self._application = _Peer(application, 0, memory)
        self._selector.register(application, selectors.EVENT_READ, self._application)
        self._selector.register(nursery, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Until the application's end closes."""
        while True:
            for key, events in self._wait():
                peer = cast("_Peer | None", key.data)
                if peer is None:
                    self._welcome_announced()
                elif events & selectors.EVENT_READ and not self._read(peer):
                    if peer is self._application:
                        return
                    self._bury(peer)
                elif events & selectors.EVENT_WRITE:
                    self._write(peer)
            while self._touched:
                peer = self._touched.pop()
                if peer.fault:
                    self._bury(peer)
                elif not peer.watched:
                    self._write(peer)

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, when something is. After a short wait the next one is expected to be short,
        too: then it is looked for before the hub sleeps.
        """
        begin = time.monotonic()
        ready: list[tuple[selectors.SelectorKey, int]] = []
        while self._is_busy and not ready and time.monotonic() - begin < _MOMENT:
            os.sched_yield()
            ready = self._selector.select(0)
        ready = ready or self._selector.select()
        self._is_busy = time.monotonic() - begin < _MOMENT
        return ready

    # Reading and writing

    def _read(self, peer: _Peer) -> bool:
        """Read once. Returns False if there will be no more that makes sense."""
        try:
            going_on = peer.reader.fill(peer.socket)
        except BlockingIOError:
            return True
        try:
            for data in peer.reader.frames():
                if split(data)[0] == Frame.TAKE:
                    for each in frames_in(peer.inlet.take(taken_up_to(data))):
                        self._take(peer, each)
                    for member in list(peer.awaited):
                        self._reconsider(member)
                else:
                    self._take(peer, data)
        except ValueError as error:
            if peer is self._application:
                raise
            peer.fault = str(error)
            return False
        return going_on

    def _send(self, peer: _Peer, data: bytes) -> None:
        peer.out.append(data if len(data) <= LARGE else self._shelved(peer, data))
        self._touched.add(peer)

    def _shelved(self, peer: _Peer, data: bytes) -> bytes:
        """What is to be written for a large frame: where it lies, or itself if it does not."""
        try:
            begin = peer.shelf_for_it.put(data)
        except ValueError as error:
            if peer is self._application:
                raise
            peer.fault = str(error)
            return b""
        return data if begin is None else large_frame(begin, len(data))

    def _write(self, peer: _Peer) -> None:
        out = peer.out
        while out:
            data = out.popleft()
            if out and len(data) < _AT_ONCE:
                pieces, size = [data], len(data)
                while out and size < _AT_ONCE:
                    pieces.append(out.popleft())
                    size += len(pieces[-1])
                data = b"".join(pieces)
            try:
                count = peer.socket.send(data)
            except BlockingIOError:
                count = 0
            except OSError:
                out.clear()  # it is gone: reading will say so, and what it had not settled is held
                return
            if count < len(data):
                out.appendleft(memoryview(data)[count:])
                break
        if bool(peer.out) != peer.watched:
            peer.watched = bool(peer.out)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.watched else 0)
            self._selector.modify(peer.socket, events, peer)

    # Messages

    def _take(self, source: _Peer, data: bytes) -> None:
        kind, to, sender, payload = split(data)
        if kind not in _MESSAGES:
            if kind == Frame.ROOM:
                self._ask_for_room(source, to)
            elif kind == Frame.LARGE:
                self._take_large(source, data)
            elif kind == Frame.SETTLED:
                self._hear_of_settled(source.members.get(sender), numbers_in(data, payload))
            elif source is self._application:
                self._obey(kind, to, sender, data)
            else:
                self._note(source, kind, to, sender, data)
        elif source is not self._application and sender not in source.ids:
            self._lose(Reason.BAD_SENDER, data, payload)  # another process's, or nobody's
        elif to == _BROADCAST:
            self._broadcast(source, sender, data, payload)
        else:
            mailbox = self._members.get(to) or self._kept.get(to)
            if mailbox is None:
                self._lose(Reason.NO_SUCH_AGENT, data, payload)
            elif kind == Frame.REPLY and mailbox.is_shown and not self._has_room(mailbox):
                self._lose(Reason.MAILBOX_FULL, data, payload, mailbox)
            else:
                self._deliver(mailbox, data)

    def _take_large(self, source: _Peer, data: bytes) -> None:
        for each in frames_in(source.shelf_from_it.take(*place_of_large(data))):
            if split(each)[0] == Frame.LARGE:
                raise ValueError("a large frame that stands for another")
            self._take(source, each)

    def _deliver(self, mailbox: _Mailbox, data: bytes) -> None:
        mailbox.hold(data)
        if not isinstance(mailbox, _Member):
            self._reconsider(mailbox)
            return
        peer = mailbox.peer
        peer.out.append(data if len(data) <= LARGE else self._shelved(peer, data))
        self._touched.add(peer)
        self._look_at_progress(mailbox)
        if len(mailbox.held) >= mailbox.watched_from or mailbox.weight >= MAILBOX_BYTES // 2:
            self._watch(mailbox)

    def _broadcast(self, source: _Peer, sender: bytes, data: bytes, payload: int) -> None:
        """To each agent in a worker by itself, so that each is accounted for; to the application
        once.
        """
        body = data[payload:]
        for mailbox in (*self._members.values(), *self._kept.values()):
            if isinstance(mailbox, _Member) and mailbox.peer is self._application:
                continue
            if mailbox.is_shown and not self._has_room(mailbox):
                self._lose(Reason.MAILBOX_FULL, data, payload, mailbox)
            else:
                self._deliver(mailbox, frame(Frame.MESSAGE, mailbox.agent_id, sender, body))
        if source is not self._application:
            self._send(self._application, data)

    def _lose(
        self, reason: Reason, data: bytes, payload: int, mailbox: _Mailbox | None = None
    ) -> None:
        of = b"" if mailbox is None else mailbox.agent_id
        self._send(self._application, frame(Frame.DEAD_LETTER, reason.encode(), of, data[payload:]))

    # Room in mailboxes. A process sees on its board which may be full, and asks before it sends to
    # one: so what is not full costs no answer, and what was sent is held although it may be over.

    def _look_at_progress(self, member: _Member) -> None:
        """Let go of what it has settled in order. The application tells instead."""
        peer = member.peer
        if peer is not self._application:
            settled = peer.progress[member.settled_word]
            if settled > member.sent:
                peer.fault = "it has settled what it was not sent"
                self._touched.add(peer)
            elif settled > member.settled:
                member.settle(settled)

    def _watch(self, member: _Member) -> None:
        """It has much: let everybody see if that is all it may have, and ask how much it is really."""
        if member.is_full():
            self._show(member, is_full=True)
        if not member.is_asked:
            self._ask(member)

    def _ask(self, member: _Member) -> None:
        member.is_asked = True
        self._send(member.peer, settled_frame(member.place, ()))

    def _hear_of_settled(self, member: _Member | None, numbers: list[int]) -> None:
        if member is None:
            return  # it has left
        member.is_asked = False
        if member.peer is self._application:
            member.settle(
                min(member.sent, *numbers)
            )  # some may have been for who had the id before
        else:
            for number in numbers:
                member.let_go(number)
        self._reconsider(member)

    def _has_room(self, mailbox: _Mailbox) -> bool:
        self._reconsider(mailbox)
        return not mailbox.is_shown

    def _reconsider(self, mailbox: _Mailbox) -> None:
        """Look how much is in it now."""
        if isinstance(mailbox, _Member):
            self._look_at_progress(mailbox)
            count, bound = len(mailbox.held), mailbox.bound
            mailbox.watched_from = max(bound // 2, count + max(1, (bound - count) // 2))
        if mailbox.is_full():
            self._show(mailbox, is_full=True)
        else:
            self._open(mailbox)

    def _ask_for_room(self, source: _Peer, agent_id: bytes) -> None:
        mailbox = self._members.get(agent_id) or self._kept.get(agent_id)
        if mailbox is None or self._has_room(mailbox):
            self._send(source, frame(Frame.ROOM, agent_id))
            return
        self._send(source, frame(Frame.FULL, agent_id))
        mailbox.waiting.add(source)
        if isinstance(mailbox, _Member):
            self._await(mailbox)

    def _await(self, member: _Member) -> None:
        """Somebody waits for it: what it settles from now on, it tells."""
        member.peer.awaited.add(member)
        member.peer.board.wait(True)
        self._ask(member)

    def _open(self, mailbox: _Mailbox) -> None:
        """It has room, or its agent is gone: let those go on that wait."""
        if mailbox.is_shown:
            self._show(mailbox, is_full=False)
        for source in mailbox.waiting:
            self._send(source, frame(Frame.ROOM, mailbox.agent_id))
        mailbox.waiting.clear()
        if isinstance(mailbox, _Member):
            self._await_no_more(mailbox)

    def _await_no_more(self, member: _Member) -> None:
        if member in member.peer.awaited:
            member.peer.awaited.discard(member)
            member.peer.board.wait(bool(member.peer.awaited))

    def _show(self, mailbox: _Mailbox, *, is_full: bool) -> None:
        if mailbox.is_shown == is_full:
            return
        mailbox.is_shown = is_full
        place = place_on_board(mailbox.agent_id.decode())
        count = self._full.pop(place, 0) + (1 if is_full else -1)
        if count:
            self._full[place] = count
        for peer in (self._application, *self._workers.values()):
            peer.board.show(place, bool(count), len(self._full))

    # Members and workers

    def _obey(self, kind: int, to: bytes, place: bytes, data: bytes) -> None:
        """What the application says."""
        if kind == Frame.CONNECT:
            new = self._members[to] = _Member(to, self._application, place)
            new.bound = int(data[split(data)[3] :])
            new.watched_from = new.bound // 2
            self._application.members[place] = new
        elif kind == Frame.DISCONNECT:
            gone = self._members.get(to)
            if gone is not None and gone.peer is self._application:
                self._forget(gone)
                del self._application.members[gone.place]
        elif kind == Frame.ADD:
            self._add(to, place, data)
        elif kind == Frame.REMOVE:
            worker = self._workers.get(int(place.partition(b"/")[0]))
            member = worker.members.get(place) if worker is not None else None
            if member is not None:
                if self._members.get(member.agent_id) is member:
                    self._heirs.discard(member.agent_id)
                if not member.is_there or len(data) > split(data)[3]:
                    self._forget(member)  # its id may be another's from now on
                self._send(member.peer, data)
        elif kind == Frame.STOP:
            self._stop(int(to), data)
        elif kind == Frame.KEEP:
            self._heirs.add(to)
        elif kind == Frame.KEEP_NO_MORE:
            self._keep_no_more(to, data)
        elif kind == Frame.HALT:
            self._halt(data)

    def _stop(self, number: int, data: bytes) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            self._send(worker, data)
        elif self._refused.pop(number, None) is not None:
            gone = frame(Frame.WORKER_GONE, str(number).encode())
            self._send(self._application, gone)

    def _keep_no_more(self, agent_id: bytes, data: bytes) -> None:
        self._heirs.discard(agent_id)
        kept = self._kept.pop(agent_id, None)
        if kept is not None:
            for each in kept.held.values():
                self._lose(Reason.AGENT_REMOVED, cast("bytes", each), split(cast("bytes", each))[3])
            self._open(kept)
        self._send(self._application, data)

    def _halt(self, data: bytes) -> None:
        self._halted = True
        for worker in self._workers.values():
            self._send(worker, data)

    def _note(self, worker: _Peer, kind: int, to: bytes, place: bytes, data: bytes) -> None:
        """What a worker says of its agents, and of messages that were lost there."""
        member = worker.members.get(place)
        if kind == Frame.ADDED and member is not None:
            member.is_there = True
            member.bound = max(1, int(data[split(data)[3] :]))
            self._reconsider(member)
        elif kind == Frame.FAILED and member is not None:
            del worker.members[place]
            self._forget(member)
            self._lose_held(member)
        elif kind == Frame.REMOVED and member is not None:
            arrived = int(to)
            del worker.members[place]
            self._let_go(member, arrived)
        elif kind == Frame.HALT:
            data = frame(Frame.HALT, str(worker.number).encode())
        elif kind != Frame.DEAD_LETTER or to not in _REASONS:
            raise ValueError(f"a frame of kind {kind} about an agent that it does not have")
        self._send(self._application, data)

    def _let_go(self, member: _Member, arrived: int) -> None:
        """An agent is gone. The worker has seen to all messages that have arrived, but for those that
        the agent still is at; it has taken no notice of later ones.
        """
        self._forget(member)
        worker = member.peer
        late = [number for number in member.held if number > arrived]
        member.sent -= len(late)
        for number in late:
            data = cast("bytes", member.held.pop(number))
            self._lose(Reason.AGENT_REMOVED, data, split(data)[3])
        worker.left = [one for one in (*worker.left, member) if one.is_at_work()]

    def _forget(self, member: _Member) -> None:
        """Deliver nothing more to it. If it is to come again, its mail is kept from now on."""
        if self._members.get(member.agent_id) is member:
            del self._members[member.agent_id]
            if member.agent_id in self._heirs:
                member.kept = self._kept[member.agent_id] = _Mailbox(member.agent_id)
                member.kept.follow(member)
        self._open(member)

    def _add(self, agent_id: bytes, place: bytes, data: bytes) -> None:
        number = int(place.partition(b"/")[0])
        # The nursery announces a worker before the application can know of it, but on another
        # socket.
        while number > self._newest and self._welcome():
            pass
        worker = self._workers.get(number)
        if worker is None:
            why = self._refused.get(number, "its process has ended")
            self._send(self._application, frame(Frame.FAILED, b"0", place, why.encode()))
            return
        member = self._members[agent_id] = worker.members[place] = _Member(agent_id, worker, place)
        worker.ids.add(agent_id)
        self._send(worker, data)
        kept = self._kept.pop(agent_id, None)
        if kept is not None:
            self._hand_over(kept, member)

    def _hand_over(self, kept: _Mailbox, heir: _Member) -> None:
        """Deliver what was kept. Whoever waits for room waits on, until the heir has made some."""
        heir.follow(kept)
        for each in kept.held.values():
            self._deliver(heir, cast("bytes", each))
        if heir.waiting:
            self._await(heir)
        self._reconsider(heir)

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
        """Take over the socket and the memory of a new worker, if there is room for them. False if the
        nursery is gone.
        """
        try:
            number, handles, _, _ = socket.recv_fds(self._nursery, ANNOUNCEMENT, 2)
        except ConnectionResetError:  # it has ended, and left something unread
            return False
        if not number:
            return False
        self._newest = int(number)
        try:
            worker = self._take_in(int(number), handles)
        except OSError as error:
            # With its socket closed, the worker ends. The application asks for it next.
            self._refused[int(number)] = f"no room for one more process: {error}"
            return True
        for place in self._full:
            worker.board.show(place, True, len(self._full))
        self._workers[worker.number] = worker
        if self._halted:
            self._send(worker, frame(Frame.HALT))
        return True

    def _take_in(self, number: int, handles: list[int]) -> _Peer:
        """Raises OSError, and holds nothing of the worker, if the system has no more to give."""
        if len(handles) < 2:  # the system drops those that do not fit in
            for handle in handles:
                os.close(handle)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        end = socket.socket(fileno=handles[0])
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        try:
            worker = _Peer(end, number, handles[1])
            self._selector.register(end, selectors.EVENT_READ, worker)
        except OSError:
            end.close()
            raise
        finally:
            with contextlib.suppress(OSError):
                self._spare = os.dup(self._nursery.fileno())
        return worker

    def _bury(self, worker: _Peer) -> None:
        """A worker's process has ended, or might as well: what its agents had not settled is lost,
        each message in its own way. What they had sent still goes its way.
        """
        if not worker.fault:
            try:
                for data in frames_in(worker.inlet.take_all()):
                    self._take(worker, data)
            except ValueError as error:
                worker.fault = str(error)
        self._selector.unregister(worker.socket)
        worker.socket.close()
        self._workers.pop(worker.number, None)
        self._touched.discard(worker)
        for mailbox in (*self._members.values(), *self._kept.values()):
            mailbox.waiting.discard(worker)
        # Their ids are free before anybody is told that they are gone.
        for member in worker.members.values():
            self._forget(member)
        number = str(worker.number).encode()
        self._send(self._application, frame(Frame.WORKER_GONE, number, b"", worker.fault.encode()))
        for member in worker.left:
            self._lose_held(member, has_left=True)
        for member in worker.members.values():
            self._lose_held(member)
        worker.members.clear()  # a circle of references would keep its memory open
        worker.left.clear()
        worker.awaited.clear()

    def _lose_held(self, member: _Member, *, has_left: bool = False) -> None:
        """Lose what an agent that is gone, and of which its worker will not speak again, had not settled;
        but keep what it had not begun if it is to come again. One that had left had begun with some
        of it; the rest its worker has lost already.
        """
        started, settled = member.progress()
        if (member.peer.fault or settled > member.sent) and not has_left:
            # Nobody knows with what it has begun; and what it settled last, it answered in vain.
            started, settled = member.sent, 0
        for number, item in member.held.items():
            data = cast("bytes", item)
            if settled < number <= started:
                self._lose(Reason.AGENT_DIED, data, split(data)[3])
            elif number > settled and not has_left:
                if member.kept is not None:
                    member.kept.hold(data)
                else:
                    self._lose(Reason.AGENT_REMOVED, data, split(data)[3])
        member.held.clear()
        if member.kept is not None:
            self._reconsider(member.kept)


def run_hub(application: socket.socket, memory: int, nursery: socket.socket) -> None:
    """The hub's life, from fork to end.

    Args:
        application: to the application.
        memory: shared with the application, an open file.
        nursery: from the nursery, which sends a worker's number with its socket and shared memory.
    """
    # Ctrl-C and SIGTERM are ignored, as in the nursery.
    _raise_limit_of_files()
    _Hub(application, memory, nursery).run()


def _raise_limit_of_files() -> None:
    """Have as many open files as the system allows: the hub has two for each worker, where another
    process has a few. The workers have the application's limit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # it may be more than the system gives
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

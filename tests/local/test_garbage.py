"""A worker that writes what makes no sense, because something has overwritten its memory, harms nobody else."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from mmap import mmap
from socket import socketpair
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import DeadLetter, Guest, LocalSpace, OutcomeUnknown
from agency.envelope import Envelope, Kind
from agency.schema import Action, Message
from agency.spaces.local_frames import (
    LARGEST,
    Frame,
    FrameReader,
    frame,
    frames_in,
    large_frame,
    message_frame,
    place_of_large,
    read_envelope,
    split,
    take_frame,
    taken_up_to,
)
from agency.spaces.local_memory import Inlet, Outbox, new_memory
from tests.local.agents import Worker
from tests.local.garbler import Garbler
from tests.local.processes import hub_and_workers
from tests.programs import PATIENCE, all_end

OF_THE_WELL_ONE = b"2/0"

GARBAGE = {
    "no frame": b"\0\0\0\x08" + b"\xff" * 8,
    "nothing": bytes(100),
    "a frame that would take all memory": b"\xff\xff\xff\xff\x01",
    "a frame that never ends, of no kind": b"\0\1\0\0\xff",
    "ids that are cut off": b"\0\0\0\x03\x01\xf0\xf0",
    "a position far ahead": take_frame(1 << 40),
    "a position that is past": take_frame(1),
    "a position that is none": frame(Frame.TAKE, payload=b"1"),
    "a large frame far ahead": large_frame(1 << 40, 10),
    "a large frame that is larger than can be": large_frame(10, 1 << 40),
    "a large frame where none lies": large_frame(1000, 100_000),
    "a large frame that lies nowhere": frame(Frame.LARGE, payload=b"1"),
    "an end of another's agent": frame(Frame.REMOVED, b"0", OF_THE_WELL_ONE),
    "an order": frame(Frame.STOP, b"2"),
    "an order about another's agent": frame(Frame.REMOVE, b"well", OF_THE_WELL_ONE),
    "an agent of the application": frame(Frame.CONNECT, b"well"),
    "another's death": frame(Frame.WORKER_GONE, b"2"),
    "an unheard-of reason": frame(Frame.DEAD_LETTER, b"whim", payload=b"[]"),
    "an end without a number": frame(Frame.REMOVED, b"\xff", b"1/0"),
}


@pytest.fixture
def space() -> Iterator[LocalSpace]:
    with LocalSpace(grace=0.5) as space:  # some actions never end
        space.add(Garbler, "garbler")
        space.add(Worker, "well")
        yield space


def harms_only_itself(space: LocalSpace, me: Guest, action: str, **args: Any) -> bool:
    """Whether the one who waits for the garbler is told, its process ends, its id is free, and the other is well."""
    before = me.proxy("well").process()
    worker = next(child for child in hub_and_workers()[1:] if child.pid != before)
    with pytest.raises(OutcomeUnknown):
        me.request({"to": "garbler", "action": {"name": action, "args": args}}, timeout=PATIENCE)
    assert all_end([worker])
    space.add(Garbler, "garbler")
    assert me.proxy("garbler").ping() == "pong"
    return bool(me.proxy("well").process() == before)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_worker_that_writes_garbage_is_lost_alone(space: LocalSpace, garbage: bytes) -> None:
    assert harms_only_itself(space, space.join("me"), "write", data=garbage.hex())


@pytest.mark.parametrize(
    "what",
    [
        "overwrite_ring",
        "overwrite_ring_and_die",
        "overwrite_progress",
        "overwrite_shelf",
        "take_what_was_not_there",
    ],
)
def test_a_worker_whose_shared_memory_is_overwritten_is_lost_alone(
    space: LocalSpace, what: str
) -> None:
    assert harms_only_itself(space, space.join("me"), what)


@pytest.mark.parametrize("count", [1, 3, 20, -1])
def test_a_worker_that_is_killed_in_the_middle_of_a_write_is_lost_alone(
    space: LocalSpace, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    me = space.join("me")
    letters: queue.SimpleQueue[DeadLetter] = queue.SimpleQueue()
    space.dead_letters.listen(letters.put)
    message: Message = {
        "from": "garbler",
        "to": "well",
        "action": {"name": "note", "args": {"number": 1}},
    }
    data = message_frame(Envelope.of(message, "1", Kind.TELL)).hex()
    assert harms_only_itself(space, me, "write_in_part", data=data, count=count)
    assert me.proxy("well").tell_noted() == []
    assert letters.get(timeout=PATIENCE).reason.value == "agent_died"  # of the request itself
    assert letters.empty()
    assert "makes no sense" not in caplog.text


def message_without_sense(receiver: str) -> bytes:
    envelope = Envelope(receiver, "garbler", "say", {"content": "x"}, "1.1", Kind.REQUEST)
    envelope.hops = "many"  # type: ignore[assignment]
    return message_frame(envelope)


@pytest.mark.parametrize("receiver", ["me", "well", "*"])
@pytest.mark.parametrize(
    "garbage",
    [
        lambda to: frame(Frame.MESSAGE, to.encode(), b"garbler", b"\xff"),
        message_without_sense,
        lambda _: frame(Frame.DEAD_LETTER, b"mailbox_full", b"\xff", b"[]"),
    ],
    ids=["no JSON", "no sense", "a lost one of nobody"],
)
def test_a_message_that_cannot_be_read_is_a_dead_letter(
    space: LocalSpace, receiver: str, garbage: Callable[[str], bytes]
) -> None:
    me = space.join("me")
    reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
    space.dead_letters.listen(lambda letter: reasons.put(letter.reason.value))
    data = garbage(receiver).hex()
    me.send({"to": "garbler", "action": {"name": "write", "args": {"data": data}}})
    assert reasons.get(timeout=PATIENCE) == "undecodable"
    assert me.proxy("well").process()


@pytest.mark.parametrize("head", [b"well", b"garbler"], ids=["in the head too", "behind its back"])
@pytest.mark.parametrize(
    "receiver", ["bob", "me", "*"], ids=["to a worker", "to the application", "to all"]
)
def test_no_worker_speaks_for_an_agent_of_another(
    space: LocalSpace, receiver: str, head: bytes
) -> None:
    me = space.join("me")
    space.add(Worker, "bob")
    letters: queue.SimpleQueue[DeadLetter] = queue.SimpleQueue()
    space.dead_letters.listen(letters.put)
    me.send(
        {"to": "garbler", "action": {"name": "write", "args": {"data": forged(receiver, head)}}}
    )
    letter = letters.get(timeout=PATIENCE)
    assert letter.reason.value in {"bad_sender", "undecodable"}
    assert me.proxy("bob").tell_noted() == []
    assert list(me.received()) == []


def forged(receiver: str, head: bytes) -> str:
    """A message of which the well one is said to be the sender, as a frame whose head names somebody."""
    act: Action = (
        {"name": "say", "args": {"content": "I"}}
        if receiver == "me"
        else {"name": "note", "args": {"number": 1}}
    )
    message: Message = {"from": "well", "to": receiver, "action": act}
    data = message_frame(Envelope.of(message, "1", Kind.TELL))
    return frame(Frame.MESSAGE, receiver.encode(), head, data[split(data)[3] :]).hex()


@given(data=st.binary(max_size=200))
def test_whatever_is_read_it_is_a_frame_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        for one in frames_in(data):
            for read in (
                split,
                taken_up_to,
                place_of_large,
                lambda frame: read_envelope(frame, split(frame)[3]),
            ):
                with suppress(ValueError):
                    read(one)


@given(data=st.binary(max_size=200))
def test_no_garbage_makes_a_reader_take_more_memory_than_a_frame_may_have(data: bytes) -> None:
    near, far = socketpair()
    with near, far:
        near.sendall(data)
        near.close()
        reader = FrameReader(LARGEST)
        with suppress(ValueError):
            while reader.fill(far):
                list(reader.frames())
        assert len(reader._buffer) <= LARGEST + 4  # noqa: SLF001


@given(position=st.integers(0, (1 << 64) - 1))
def test_a_position_out_of_the_ring_is_refused(position: int) -> None:
    file = new_memory()
    with closing(mmap(file, 0)) as memory:
        os.close(file)
        outbox, inlet = Outbox(memory), Inlet(memory)
        outbox.put(b"x" * 1000)
        assert inlet.take(1000) == b"x" * 1000
        if 1000 <= position <= 1000 + 256 * 1024:
            assert len(inlet.take(position)) == position - 1000
        else:
            with pytest.raises(ValueError, match="in the ring"):
                inlet.take(position)
        outbox.close()
        del inlet

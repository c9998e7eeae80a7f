"""Large messages between the processes of a LocalSpace: in order with the small ones, and as safe as they are."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import closing, suppress
from copy import deepcopy
from mmap import mmap
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import Guest, LocalSpace
from agency.envelope import Envelope
from agency.spaces.local_frames import LARGE, frames_in, message_frame, read_envelope, split
from agency.spaces.local_memory import FROM_HUB, TO_HUB, Shelf, new_memory
from tests.faults.tools import suspend
from tests.local.agents import Carrier, long, say
from tests.local.processes import hub_and_workers
from tests.programs import PATIENCE

TEXTS = st.text(min_size=1)
LONG_TEXTS = TEXTS.map(lambda text: text * (20_000 // len(text) + 1))
ARGS = st.dictionaries(TEXTS, st.none() | st.integers(0, 9) | TEXTS | LONG_TEXTS, max_size=4)
ENDS = st.integers(0, 20) | st.integers(0, 40_000)
SHELF = 4 * 1024 * 1024
MIXED = [
    10,
    LARGE - 1000,
    LARGE,
    LARGE + 1000,
    20,
    1_000_000,
    300_000,
    30,
    1_000_000,
    40,
    2_000_000,
]
MORE_THAN_THERE_IS_ROOM_FOR = [50, 1_000_000, 10, 5_000_000, 20, 1_000_000, 5_000_000, 30, 100_000]


@pytest.fixture
def space() -> Iterator[LocalSpace]:
    with LocalSpace() as space:
        space.add(Carrier, "carrier")
        yield space


@pytest.fixture
def me(space: LocalSpace) -> Guest:
    return space.join("me")


def contents(me: Guest, count: int) -> list[str]:
    return [me.receive(PATIENCE)["action"]["args"]["content"] for _ in range(count)]


def texts(lengths: list[int]) -> list[str]:
    return [long(number, length) for number, length in enumerate(lengths)]


def have_passed_on(me: Guest, content: str) -> None:
    args = {"to": "me", "content": content}
    me.send({"to": "carrier", "action": {"name": "pass_on", "args": args}})


@pytest.mark.parametrize("lengths", [MIXED, MORE_THAN_THERE_IS_ROOM_FOR])
def test_large_and_small_messages_of_a_worker_arrive_in_order(
    me: Guest, lengths: list[int]
) -> None:
    args = {"to": "me", "lengths": lengths * 2}
    me.send({"to": "carrier", "action": {"name": "say_long", "args": args}})
    assert contents(me, 2 * len(lengths)) == texts(lengths * 2)


@pytest.mark.parametrize("lengths", [MIXED, MORE_THAN_THERE_IS_ROOM_FOR])
def test_large_and_small_messages_for_a_worker_arrive_in_order(
    me: Guest, lengths: list[int]
) -> None:
    for text in texts(lengths * 2):
        have_passed_on(me, text)
    assert contents(me, 2 * len(lengths)) == texts(lengths * 2)


def test_large_messages_go_from_worker_to_worker(space: LocalSpace, me: Guest) -> None:
    space.add(Carrier, "sayer")
    asked = {"agent_id": "sayer", "count": 20, "length": 1_000_000}
    assert me.proxy("carrier", timeout=PATIENCE).ask_for_long(**asked) is None


def test_large_messages_wait_for_a_worker_that_stands_still(me: Guest) -> None:
    worker = psutil.Process(me.proxy("carrier").process())
    lengths = [1_000_000, 10] * 10
    suspend(worker)
    for text in texts(lengths):
        have_passed_on(me, text)
    worker.resume()
    assert contents(me, len(lengths)) == texts(lengths)


def test_large_messages_of_a_worker_that_is_killed_next_arrive(me: Guest) -> None:
    lengths = [1_000_000, 10, 200_000, 2_000_000, 20] * 3 + [70_000] * 3  # at the last moment
    args = {"to": "me", "lengths": lengths, "end": True}
    me.send({"to": "carrier", "action": {"name": "say_long", "args": args}})
    assert contents(me, len(lengths)) == texts(lengths)


def test_large_messages_for_a_worker_that_dies_are_dead_letters(
    space: LocalSpace, me: Guest
) -> None:
    lost: queue.SimpleQueue[str] = queue.SimpleQueue()
    worker = psutil.Process(me.proxy("carrier").process())
    suspend(worker)
    for text in texts([1_000_000] * 6):
        have_passed_on(me, text)
    space.dead_letters.listen(
        lambda letter: lost.put((letter.message or {})["action"]["args"]["content"])
    )
    worker.kill()
    assert [lost.get(timeout=PATIENCE) for _ in range(6)] == texts([1_000_000] * 6)


@pytest.mark.parametrize("sender", ["worker", "application"])
def test_a_large_message_to_all_reaches_all(space: LocalSpace, me: Guest, sender: str) -> None:
    for number in range(5):
        space.add(Carrier, f"other-{number}")
    text = long(0, 1_000_000)
    if sender == "application":
        me.send(say("*", text))
        expected = [f"heard {len(text)}"] * 6
    else:
        args = {"length": 1_000_000}
        me.send({"to": "carrier", "action": {"name": "say_to_all", "args": args}})
        expected = [text] + [f"heard {len(text)}"] * 6
    assert sorted(contents(me, len(expected))) == expected


def test_answers_of_which_many_come_during_one_action_are_not_held(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Carrier, "sayer")
    hub = hub_and_workers()[0]
    before = hub.memory_full_info().uss
    asked = {"agent_id": "sayer", "count": 14, "length": 2_000_000}
    me.proxy("carrier", timeout=PATIENCE).ask_for_long(**asked)
    assert hub.memory_full_info().uss - before < 7 * 2_000_000


def test_memory_is_shared_also_where_it_has_to_be_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    file = new_memory()
    with closing(mmap(file, 0)) as memory, closing(mmap(file, 0)) as same:
        os.close(file)
        with closing(Shelf(memory, TO_HUB)) as shelf, closing(Shelf(same, TO_HUB)) as other_end:
            assert shelf.put(b"x" * 1_000_000) == 0
            assert other_end.take(0, 1_000_000) == b"x" * 1_000_000


@given(args=ARGS, is_answer=st.booleans())
def test_a_message_is_read_as_it_was_written_however_long_its_texts(
    args: dict[str, Any], is_answer: bool
) -> None:
    message: Any = {"to": "a", "from": "b", "action": {"name": "take", "args": args}}
    written = deepcopy(message)
    envelope = Envelope.of(message, "1", correlation_id="0" if is_answer else None, weight=LARGE)
    data = message_frame(envelope)
    assert list(frames_in(data)) == [data]
    read = read_envelope(data, split(data)[3]).message
    assert read == message == written
    assert list(read["action"].get("args", {})) == list(args)


@given(place=st.integers(0, 300), garbage=st.binary(max_size=20), end=ENDS)
def test_a_message_with_long_texts_that_was_overwritten_is_read_or_a_value_error(
    place: int, garbage: bytes, end: int
) -> None:
    message: Any = {"to": "a", "from": "b", "action": {"name": "n", "args": {"c": "é" * 20_000}}}
    data = bytearray(message_frame(Envelope.of(message, "1", weight=LARGE)))
    payload = split(bytes(data))[3]
    data[payload + place : payload + place + len(garbage)] = garbage
    del data[payload + end :]
    with suppress(ValueError):
        read_envelope(bytes(data), payload)


@given(rounds=st.lists(st.lists(st.integers(0, 2_000_000), max_size=8), max_size=8))
def test_the_shelf_gives_out_what_was_put_there_or_refuses_it_whole(
    rounds: list[list[int]],
) -> None:
    file = new_memory()
    with closing(mmap(file, 0)) as memory:
        os.close(file)
        shelf, other_end = Shelf(memory, TO_HUB), Shelf(memory, TO_HUB)
        back, back_end = Shelf(memory, FROM_HUB), Shelf(memory, FROM_HUB)
        for sizes in rounds:
            frames = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
            places = [(shelf.put(frame), back.put(frame), frame) for frame in frames]
            room = SHELF
            for begin, begin_back, frame in places:
                assert begin == begin_back == (SHELF - room if len(frame) <= room else None)
                if begin is not None:
                    room -= len(frame)
                    assert other_end.take(begin, len(frame)) == frame
                    assert back_end.take(begin, len(frame)) == frame
        for end in (shelf, other_end, back, back_end):
            end.close()

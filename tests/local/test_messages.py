"""What is sent between the processes of a LocalSpace arrives, soon and in order, whatever its sender does next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from mmap import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import Guest, LocalSpace
from agency.spaces.local_memory import Inlet, Outbox, new_memory
from tests.local.agents import Talker, Worker
from tests.programs import PATIENCE


@pytest.fixture
def me() -> Iterator[Guest]:
    with LocalSpace(grace=0.5) as space:  # some actions never end
        space.add(Talker, "talker")
        space.add(Worker, "worker")
        yield space.join("me")


def contents(me: Guest, count: int) -> list[str]:
    return [me.receive(PATIENCE)["action"]["args"]["content"] for _ in range(count)]


def test_what_an_action_says_arrives_while_the_action_goes_on(me: Guest) -> None:
    me.send({"to": "talker", "action": {"name": "say_and_go_on", "args": {"count": 50}}})
    assert contents(me, 50) == [str(number) for number in range(50)]


def test_what_was_said_right_before_the_process_was_killed_arrives(me: Guest) -> None:
    me.send({"to": "talker", "action": {"name": "say_and_die", "args": {"count": 50}}})
    assert contents(me, 50) == [str(number) for number in range(50)]


def test_long_and_short_messages_of_one_sender_keep_their_order(me: Guest) -> None:
    lengths = [10, 1_000_000, 20, 250_000, 30, 2_000_000, 40, 50, 100_000] * 2
    me.send(
        {"to": "talker", "action": {"name": "say_long_and_short", "args": {"lengths": lengths}}}
    )
    assert contents(me, len(lengths)) == [
        f"{number} {'x' * length}" for number, length in enumerate(lengths)
    ]


def test_the_values_of_a_generator_arrive_while_it_goes_on(me: Guest) -> None:
    me.send({"to": "talker", "action": {"name": "count_for_ever"}})
    values = [me.receive(PATIENCE)["action"]["args"]["data"] for _ in range(2)]
    assert values == [1, 2]


def test_a_request_that_holds_up_its_event_loop_is_answered_all_the_same(me: Guest) -> None:
    processes = me.proxy("talker", timeout=PATIENCE).ask_without_await(agent_id="worker")
    assert processes == [me.proxy("worker").process()] * 5


@given(rounds=st.lists(st.lists(st.integers(0, 100_000), max_size=8), max_size=30))
def test_the_outbox_gives_out_what_was_put_in_or_refuses_it_whole(rounds: list[list[int]]) -> None:
    file = new_memory()
    with closing(mmap(file, 0)) as memory:
        os.close(file)
        outbox, inlet = Outbox(memory), Inlet(memory)
        for sizes in rounds:
            pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
            accepted = [piece for piece in pieces if outbox.put(piece)]
            assert sum(sizes) > 256 * 1024 or accepted == pieces
            assert inlet.take(outbox.written) == b"".join(accepted)
        outbox.put(b"left")
        assert inlet.take_all() == b"left"
        outbox.close()
        del inlet

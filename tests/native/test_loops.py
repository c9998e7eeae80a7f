"""Agents that cause each other's messages without end are stopped."""

from __future__ import annotations

import threading

from agency import Agent, DeadLetter, NativeSpace, Reason, action
from agency.envelope import HOP_LIMIT
from tests.programs import PATIENCE


class Echo(Agent):
    """Answers each message by another."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.count = 0

    @action
    def ping(self) -> None:
        self.count += 1
        sender = self._current_message["from"]
        self.send({"to": sender, "action": {"name": "ping"}})


def test_two_agents_that_answer_each_other_for_ever_are_stopped_and_the_operator_is_told() -> None:
    stopped = threading.Event()
    letters: list[DeadLetter] = []

    def listen(letter: DeadLetter) -> None:
        letters.append(letter)
        stopped.set()

    with NativeSpace() as space:
        space.dead_letters.listen(listen)
        one, other = space.add(Echo("one")), space.add(Echo("other"))
        one.send({"to": "other", "action": {"name": "ping"}})
        assert stopped.wait(PATIENCE)
        assert one.count + other.count == HOP_LIMIT + 1
    assert [letter.reason for letter in letters] == [Reason.HOP_LIMIT]

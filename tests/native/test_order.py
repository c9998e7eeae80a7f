"""The order of messages in one process: per sender and receiver, and causal."""

from __future__ import annotations

import threading

from agency import Agent, NativeSpace, action
from agency.testing.agents.basics import LIMIT
from agency.testing.kit import in_background, request

ROUNDS = 2000


class Messenger(Agent):
    """Goes to carl when it is told to."""

    @action
    def go(self, number: int) -> None:
        self.send(request("carl", "note", number=number))


class Listener(Agent):
    """Keeps the numbers in the order in which it begins with them."""

    def __init__(self, id: str, count: int) -> None:
        super().__init__(id)
        self.noted: list[tuple[str, int]] = []
        self.has_all = threading.Event()
        self._count = count

    @action
    def note(self, number: int) -> None:
        assert self._current_message is not None
        self.noted.append((self._current_message["from"], number))
        if len(self.noted) == self._count:
            self.has_all.set()


def test_what_was_sent_before_its_sender_told_another_is_there_before_what_the_other_sends() -> (
    None
):
    """Ann writes to carl, then tells bob, who writes to carl. Two do so at the same time."""
    pairs = {"ann": "bob", "dan": "eve"}
    with NativeSpace() as space:
        carl = space.add(Listener("carl", 2 * len(pairs) * ROUNDS))

        def tell(sender: Agent, other: str) -> None:
            for number in range(ROUNDS):
                sender.send(request("carl", "note", number=number))
                sender.send(request(other, "go", number=number))

        telling = []
        for name, other in pairs.items():
            space.add(Messenger(other))
            sender = space.join(name)
            telling.append(in_background(lambda sender=sender, other=other: tell(sender, other)))  # type: ignore[misc]
        for one in telling:
            one.result(LIMIT)
        assert carl.has_all.wait(LIMIT)
    place = {noted: index for index, noted in enumerate(carl.noted)}
    assert [
        (name, number)
        for name, other in pairs.items()
        for number in range(ROUNDS)
        if place[name, number] > place[other, number]
    ] == []

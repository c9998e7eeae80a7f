"""A load that goes on while agents fail, leave and come again: the same on every space."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from agency import ActionError, Agent, Guest, Space, action
from tests.faults.ledger import Ledger
from tests.faults.load import send_notes
from tests.faults.members import Recorder
from tests.faults.tools import begin, ends, eventually
from tests.programs import PATIENCE

pytestmark = pytest.mark.timeout(180)


class Frail(Recorder):
    """Fails in every way that leaves its process alive."""

    @action
    def fail(self) -> None:
        raise ValueError("as asked")

    @action
    def exit(self) -> None:
        raise SystemExit(3)


class Trouble:
    """Two agents, of whom one is in trouble, and two who send to both."""

    def __init__(self, space: Space, ledger: Ledger, path: Path, chance: random.Random) -> None:
        self.space, self.ledger, self.path, self.chance = space, ledger, path, chance
        self.senders = [space.join("ann"), space.join("bea")]
        self.operator = space.join("operator")
        self.number = 0
        space.dead_letters.listen(ledger.dead)
        for agent_id in ("steady", "mortal"):
            space.add(Frail, agent_id, path)
        self.faults: dict[str, Callable[[], None]] = {
            "action raises": partial(self.ask_mortal, "fail"),
            "action exits": partial(self.ask_mortal, "exit"),
            "agent goes and comes": self.replace_mortal,
            "listener raises": self.listen_badly,
            "sender leaves": self.replace_sender,
        }

    def go_on(self, rounds: int) -> None:
        """In each round, one fault in the middle of the load."""
        for _ in range(rounds):
            sending = [begin(partial(self.send, sender, self.number)) for sender in self.senders]
            self.number += 20
            fault = self.chance.choice(list(self.faults))
            self.ledger.fault(fault)
            self.faults[fault]()
            for one in sending:
                ends(one.result)
        eventually(lambda: not self.ledger.verdict().silent, lambda: str(self.ledger.verdict()))

    def send(self, sender: Agent, first: int) -> None:
        for number in range(first, first + 20):
            for to in ("steady", "mortal"):
                send_notes(self.ledger, sender, to, range(number, number + 1))

    # Faults

    def ask_mortal(self, name: str) -> None:
        with pytest.raises(ActionError):
            self.operator.request({"to": "mortal", "action": {"name": name}}, timeout=PATIENCE)

    def replace_mortal(self) -> None:
        self.space.remove("mortal")
        self.space.add(Frail, "mortal", self.path)

    def replace_sender(self) -> None:
        """Somebody else than those who send at this moment: what they send is theirs."""
        guest: Guest = self.space.join("cem")
        send_notes(self.ledger, guest, "steady", range(self.number, self.number + 1))
        self.space.remove("cem")

    def listen_badly(self) -> None:
        def raises(_letter: object) -> None:
            raise ValueError("a mistake in the listener")

        self.space.dead_letters.listen(raises)


def check(ledger: Ledger) -> None:
    """Only mail of the agent that left was lost, and nothing in silence."""
    verdict = ledger.verdict()
    assert verdict.is_clean(losses_told=True), verdict
    assert {item.receiver for item in verdict.lost} <= {"mortal"}
    assert verdict.dead.keys() <= {"agent_removed", "no_such_agent"}


def test_agents_that_fail_and_go_at_random_lose_nothing_in_silence_and_nothing_of_others(
    space: Space, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    Trouble(space, ledger, tmp_path / "ledger", seed).go_on(rounds=10)
    check(ledger)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_five_hundred_random_faults_of_agents(
    space: Space, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    Trouble(space, ledger, tmp_path / "ledger", seed).go_on(rounds=500)
    check(ledger)

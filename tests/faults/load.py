"""What is sent while faults happen: notes with rising numbers, each in the ledger."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

from agency import Agent, AMQPOptions, AMQPSpace
from agency.spaces.amqp_topology import Topology
from tests.broker import BrokerAddress
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.members import Gated
from tests.faults.tools import eventually, queues_of

__all__ = ["TwoApplications", "note", "send_notes"]


def note(number: int, to: str = "bob") -> dict[str, Any]:
    """A message to a `Recorder`."""
    return {"to": to, "action": {"name": "note", "args": {"number": number}}}


def send_notes(ledger: Ledger, sender: Agent, to: str, numbers: range) -> None:
    """One after the other, with what became of each."""
    for number in numbers:
        with ledger.sending(sender.id, to, number):
            sender.send(note(number, to))


class TwoApplications:
    """Of a new `AMQPSpace`: ann in one sends to bob in the other, who notes. He goes on while
    his gate is open.
    """

    def __init__(
        self,
        options: AMQPOptions,
        ledger: Ledger,
        path: Path,
        figures: Figures,
        *,
        replicated: bool = False,
    ) -> None:
        exchange = f"load-{uuid.uuid4().hex}"
        self.mailbox = Topology(exchange, replicated=replicated).mailbox("bob")
        self.ledger, self.figures, self.replicated = ledger, figures, replicated
        self.sending = AMQPSpace(options, exchange=exchange, replicated=replicated)
        self.receiving = AMQPSpace(options, exchange=exchange, replicated=replicated)
        self.gate = threading.Event()
        self.gate.set()
        self.receiving.add(Gated, "bob", path, self.gate)
        self.ann = self.sending.join("ann")
        self.number = 0
        for space in (self.sending, self.receiving):
            space.dead_letters.listen(ledger.dead)

    def send(self, count: int) -> None:
        """The next so many."""
        numbers = range(self.number, self.number + count)
        send_notes(self.ledger, self.ann, "bob", numbers)
        self.number += count

    def send_to_wait(self, count: int) -> None:
        """The next so many; returns when bob stays at the first of them, before the closed gate."""
        eventually(lambda: not self.ledger.verdict().lost, lambda: str(self.ledger.verdict()))
        before = self.ledger.count("begun")
        self.gate.clear()
        self.send(count)
        eventually(lambda: self.ledger.count("begun") == before + 1)

    def waiting(self, broker: BrokerAddress) -> int:
        """How many messages bob's mailbox holds, as the broker says; those that he has not acknowledged
        too.
        """
        return queues_of(broker)[self.mailbox]

    def destroy(self) -> None:
        """Both ends."""
        self.gate.set()
        self.figures.stop(self.sending)
        self.figures.stop(self.receiving)

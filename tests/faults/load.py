"""What is sent while faults happen: notes with rising numbers, each in the ledger."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from agency import Agent, AMQPOptions, AMQPSpace
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.members import Recorder

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
    """Of a new `AMQPSpace`: ann in one sends to bob in the other, who notes."""

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
        self.ledger, self.figures, self.replicated = ledger, figures, replicated
        self.sending = AMQPSpace(options, exchange=exchange, replicated=replicated)
        self.receiving = AMQPSpace(options, exchange=exchange, replicated=replicated)
        self.receiving.add(Recorder, "bob", path)
        self.ann = self.sending.join("ann")
        self.number = 0
        for space in (self.sending, self.receiving):
            space.dead_letters.listen(ledger.dead)

    def send(self, count: int) -> None:
        """The next so many."""
        numbers = range(self.number, self.number + count)
        send_notes(self.ledger, self.ann, "bob", numbers)
        self.number += count

    def destroy(self) -> None:
        """Both ends."""
        self.figures.stop(self.sending)
        self.figures.stop(self.receiving)

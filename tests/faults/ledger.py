"""The ledger: who sent what, who began what, what was lost in the open; and the verdict on it.

    ledger = Ledger(path)
    with ledger.sending("ann", "bob", 7):      # attempted; then accepted, refused or unknown
        ann.send(...)
    ledger.fault("bob killed")
    ledger.begun("ann", "bob", 7)              # bob, as the first thing in his action
    verdict = ledger.verdict()

`python -m tests.faults.ledger FILE` prints the verdict on a file.

One line an event in a file that is opened to append: any process may write, and what was written
survives the death of its writer. Nothing is read before the end. This is the checker that the
RabbitMQ team uses with Jepsen (`total-queue`), with order added.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agency import DeadLetter, NotAccepted, OutcomeUnknown

__all__ = ["Item", "Ledger", "Verdict"]


class Item(NamedTuple):
    """One message: the number is its place among those of this sender to this receiver."""

    sender: str
    receiver: str
    number: int


@dataclass(frozen=True)
class Verdict:
    """What the ledger says. The first six are the failures; all are empty when all is well."""

    lost: list[Item] = field(default_factory=list)
    """Accepted, and never begun."""
    phantom: list[Item] = field(default_factory=list)
    """Begun, although it was never sent or was refused."""
    duplicated: list[Item] = field(default_factory=list)
    """Begun more than once."""
    reordered: list[Item] = field(default_factory=list)
    """First begun after a later one of the same sender and receiver."""
    late: list[Item] = field(default_factory=list)
    """Of those out of order, the ones of which the sender had been told that nobody knows the outcome."""
    silent: list[Item] = field(default_factory=list)
    """Accepted, never begun, and not among the dead letters either."""
    attempted: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    begun: int = 0
    dead: dict[str, int] = field(default_factory=dict)
    """Dead letters by reason."""
    faults: dict[str, int] = field(default_factory=dict)
    """What was done to the load, and how often."""
    longest_gap: float = 0.0
    """Seconds for which there were messages to begin with, and none was begun."""
    longest_wait: float = 0.0
    """Seconds for which one `send` kept its caller."""
    duration: float = 0.0
    """Seconds from the first attempt to the last event."""

    def __str__(self) -> str:
        figures = {
            name: len(value) if isinstance(value, list) else value
            for name, value in vars(self).items()
        }
        rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in figures.items()}
        return ", ".join(f"{name} {value}" for name, value in rounded.items())

    def is_clean(
        self,
        *,
        duplicates_allowed: bool = False,
        losses_told: bool = False,
        lateness_told: bool = False,
    ) -> bool:
        """Whether nothing failed.

        Args:
            duplicates_allowed: a message may be begun twice, as after the death of a receiver on AMQP.
            losses_told: an accepted message may be a dead letter, as after the death of a worker.
            lateness_told: a message of which nobody knows the outcome may be begun after later ones.
        """
        failed = [self.phantom, self.silent]
        failed += (
            [self.reordered] if not lateness_told else [sorted({*self.reordered} - {*self.late})]
        )
        failed += [] if duplicates_allowed else [self.duplicated]
        failed += [] if losses_told else [self.lost]
        return not any(failed)


class Ledger:
    """Where events are written down. Every process opens the same path for itself."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Write no more; `verdict` may still be asked."""
        os.close(self._file)

    @contextmanager
    def sending(self, sender: str, receiver: str, number: int) -> Iterator[None]:
        """Around a `send`: notes the attempt, and what its end says. `NotAccepted` and
        `OutcomeUnknown` are noted and go no further.
        """
        item = Item(sender, receiver, number)
        self._write("attempted", item)
        try:
            yield
        except NotAccepted:
            self._write("refused", item)
        except OutcomeUnknown:
            self._write("unknown", item)
        else:
            self._write("accepted", item)

    def begun(self, sender: str, receiver: str, number: int, *, by: str = "") -> None:
        """The receiver has the message. `by` tells apart those who have the same id one after the other."""
        self._write("begun", Item(sender, receiver, number), by)

    def dead(self, letter: DeadLetter) -> None:
        """A listener for `Space.dead_letters`: notes those messages that have a `number`."""
        message = letter.message or {}
        number = message.get("action", {}).get("args", {}).get("number")
        if number is not None:
            item = Item(message["from"], message["to"], number)
            self._write("dead", item, letter.reason.value)

    def fault(self, name: str) -> None:
        """What is done to senders, receivers or their surroundings."""
        self._write("fault", Item("", "", 0), name)

    def count(self, kind: str) -> int:
        """How many different messages have been `attempted`, `accepted`, `begun` and so on so far."""
        return len({event.item for event in self._events() if event.kind == kind})

    def times_begun(self, sender: str, receiver: str, number: int) -> int:
        """How often this message has been begun so far."""
        item = Item(sender, receiver, number)
        return sum(event[:2] == ("begun", item) for event in self._events())

    def begun_by(self, name: str) -> list[Item]:
        """What the one of this name has begun with so far."""
        return [
            event.item for event in self._events() if (event.kind, event.detail) == ("begun", name)
        ]

    def verdict(self) -> Verdict:
        """Read it all."""
        events = list(self._events())

        def items(kind: str) -> list[Item]:
            return [event.item for event in events if event.kind == kind]

        def details(kind: str) -> dict[str, int]:
            return dict(Counter(event.detail for event in events if event.kind == kind))

        attempted, accepted = items("attempted"), items("accepted")
        begun, dead = Counter(items("begun")), set(items("dead"))
        lost = [item for item in accepted if item not in begun]
        reordered, unknown = _reordered(list(begun)), set(items("unknown"))
        may_exist = set(attempted) - set(items("refused"))
        since = {event.item: event.when for event in events if event.kind == "attempted"}
        waits = [event.when - since[event.item] for event in events if event.kind in _ENDS]
        return Verdict(
            lost=lost,
            phantom=[item for item in begun if item not in may_exist],
            duplicated=[item for item, times in begun.items() if times > 1],
            reordered=reordered,
            late=[item for item in reordered if item in unknown],
            silent=[item for item in lost if item not in dead],
            attempted=len(set(attempted)),
            accepted=len(set(accepted)),
            refused=len(set(items("refused"))),
            unknown=len(unknown),
            begun=len(begun),
            dead=details("dead"),
            faults=details("fault"),
            longest_gap=_longest_gap(events),
            longest_wait=max(waits, default=0.0),
            duration=events[-1].when - events[0].when if events else 0.0,
        )

    def _write(self, kind: str, item: Item, detail: str = "") -> None:
        line = json.dumps([kind, *item, time.monotonic(), detail]) + "\n"
        os.write(self._file, line.encode())

    def _events(self) -> Iterator[_Event]:
        # What stands behind the last end of a line is being written at this moment.
        for line in self._path.read_text(encoding="utf-8").split("\n")[:-1]:
            kind, sender, receiver, number, when, detail = json.loads(line)
            yield _Event(kind, Item(sender, receiver, number), when, detail)


_ENDS = {"accepted", "refused", "unknown"}
"""What may become of an attempt."""
_WITHOUT_BEGINNING = {"refused", "unknown", "dead"}
"""What may become of a message that is not begun with."""


class _Event(NamedTuple):
    """A line of the ledger."""

    kind: str
    item: Item
    when: float
    detail: str


def _longest_gap(events: list[_Event]) -> float:
    """See `Verdict.longest_gap`."""
    waiting: set[Item] = set()
    longest = since = 0.0
    for event in events:
        if event.kind == "attempted":
            since = since if waiting else event.when
            waiting.add(event.item)
        elif event.kind == "begun" and event.item in waiting:
            longest, since = max(longest, event.when - since), event.when
            waiting.discard(event.item)
        elif event.kind in _WITHOUT_BEGINNING:
            waiting.discard(event.item)
    return longest


def _reordered(begun: list[Item]) -> list[Item]:
    """Those that began after a later one. Takes the items in the order of their first beginnings."""
    latest: dict[tuple[str, str], int] = {}
    late = []
    for item in begun:
        pair = (item.sender, item.receiver)
        if item.number < latest.get(pair, -1):
            late.append(item)
        latest[pair] = max(item.number, latest.get(pair, -1))
    return late


if __name__ == "__main__":
    sys.stdout.write(f"{Ledger(sys.argv[1]).verdict()}\n")

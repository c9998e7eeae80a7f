"""The ledger: who sent what, who began what, what was lost in the open; and the verdict on it.

    ledger = Ledger(path)
    with ledger.sending("ann", "bob", 7):      # attempted; then accepted, refused or unknown
        ann.send(...)
    ledger.begun("ann", "bob", 7)              # bob, as the first thing in his action
    verdict = ledger.verdict()

One line an event in a file that is opened to append: any process may write, and what was written
survives the death of its writer. Nothing is read before the end. This is the checker that the
RabbitMQ team uses with Jepsen (`total-queue`), with order added.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from agency import DeadLetter, NotAccepted, OutcomeUnknown

__all__ = ["Item", "Ledger", "Verdict"]


class Item(NamedTuple):
    """One message: the number is its place among those of this sender to this receiver."""

    sender: str
    receiver: str
    number: int


@dataclass(frozen=True)
class Verdict:
    """What the ledger says. The first five are the failures; all are empty when all is well."""

    lost: list[Item]
    """Accepted, and never begun."""
    phantom: list[Item]
    """Begun, although it was never sent or was refused."""
    duplicated: list[Item]
    """Begun more than once."""
    reordered: list[Item]
    """First begun after a later one of the same sender and receiver."""
    silent: list[Item]
    """Accepted, never begun, and not among the dead letters either."""
    attempted: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    begun: int = 0
    dead: dict[str, int] = field(default_factory=dict)
    """Dead letters by reason."""
    longest_gap: float = 0.0
    """Seconds for which no message was begun, between the first and the last."""

    def __str__(self) -> str:
        figures = {
            name: len(value) if isinstance(value, list) else value
            for name, value in vars(self).items()
        }
        figures["longest_gap"] = round(self.longest_gap, 2)
        return ", ".join(f"{name} {value}" for name, value in figures.items())

    def is_clean(self, *, duplicates_allowed: bool = False, losses_told: bool = False) -> bool:
        """Whether nothing failed.

        Args:
            duplicates_allowed: a message may be begun twice, as after the death of a receiver on AMQP.
            losses_told: an accepted message may be a dead letter, as after the death of a worker.
        """
        failed = [self.phantom, self.reordered, self.silent]
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

    def begun(self, sender: str, receiver: str, number: int) -> None:
        """The receiver has the message."""
        self._write("begun", Item(sender, receiver, number))

    def dead(self, letter: DeadLetter) -> None:
        """A listener for `Space.dead_letters`: notes those messages that have a `number`."""
        message = letter.message or {}
        number = message.get("action", {}).get("args", {}).get("number")
        if number is not None:
            item = Item(message["from"], message["to"], number)
            self._write("dead", item, letter.reason.value)

    def count(self, kind: str) -> int:
        """How many different messages have been `attempted`, `accepted`, `begun` and so on so far."""
        return len({item for what, item, _, _ in self._events() if what == kind})

    def times_begun(self, sender: str, receiver: str, number: int) -> int:
        """How often this message has been begun so far."""
        item = Item(sender, receiver, number)
        return sum(what == "begun" and which == item for what, which, _, _ in self._events())

    def verdict(self) -> Verdict:
        """Read it all."""
        noted: dict[str, list[Item]] = {
            kind: [] for kind in ("attempted", "accepted", "refused", "unknown", "begun", "dead")
        }
        reasons: Counter[str] = Counter()
        times: list[float] = []
        for kind, item, when, detail in self._events():
            noted[kind].append(item)
            if kind == "begun":
                times.append(when)
            elif kind == "dead":
                reasons[detail] += 1
        begun = set(noted["begun"])
        lost = [item for item in noted["accepted"] if item not in begun]
        may_exist = set(noted["attempted"]) - set(noted["refused"])
        dead = set(noted["dead"])
        return Verdict(
            lost=lost,
            phantom=[item for item in begun if item not in may_exist],
            duplicated=[item for item, times in Counter(noted["begun"]).items() if times > 1],
            reordered=_reordered(noted["begun"]),
            silent=[item for item in lost if item not in dead],
            **{k: len(set(noted[k])) for k in ("attempted", "accepted", "refused", "unknown")},
            begun=len(begun),
            dead=dict(reasons),
            longest_gap=max((b - a for a, b in pairwise(times)), default=0.0),
        )

    def _write(self, kind: str, item: Item, detail: str = "") -> None:
        line = json.dumps([kind, *item, time.monotonic(), detail]) + "\n"
        os.write(self._file, line.encode())

    def _events(self) -> Iterator[tuple[str, Item, float, str]]:
        # What stands behind the last end of a line is being written at this moment.
        for line in self._path.read_text(encoding="utf-8").split("\n")[:-1]:
            event: list[Any] = json.loads(line)
            yield event[0], Item(*event[1:4]), event[4], event[5]


def _reordered(begun: list[Item]) -> list[Item]:
    """Those whose first beginning came after that of a later one."""
    latest: dict[tuple[str, str], int] = {}
    late = []
    for item in dict.fromkeys(begun):
        pair = (item.sender, item.receiver)
        if item.number < latest.get(pair, -1):
            late.append(item)
        latest[pair] = max(item.number, latest.get(pair, -1))
    return late

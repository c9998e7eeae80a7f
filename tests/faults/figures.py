"""The figures of a run under faults: `make faults` and `make soak` end with them, and they stand in `docs/promises.md`.

figures = Figures("two hundred kills")
with figures.stopping(LocalSpace()):       # how long `destroy` takes
    ...
figures.add(ledger.verdict())
print(table(figures.rows()))
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from typing import TypeVar

from agency import Space
from tests.faults.ledger import Verdict
from tests.faults.tools import ends

__all__ = ["Figures", "Row", "table"]

_Space = TypeVar("_Space", bound=Space)


@dataclass(frozen=True)
class Row:
    """What became of one load. The fields are the columns; times are in seconds."""

    run: str
    space: str
    faults: int
    accepted: int
    a_second: float
    refused: int
    unknown: int
    lost: int
    dead_letters: int
    phantom: int
    begun_twice: int
    reordered: int
    silent: int
    longest_gap: float
    longest_wait: float
    longest_stop: float


class Figures:
    """Gathers what one test has to tell: its verdicts, and how long its spaces took to stop."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._verdicts: list[tuple[str, Verdict]] = []
        self._stops: dict[str, float] = {}

    def add(self, verdict: Verdict, space: type[Space] | None = None) -> None:
        """One more verdict, on a load in such a space; without one, in those that the test stops."""
        self._verdicts.append((space.__name__ if space else "", verdict))

    def stop(self, space: Space) -> None:
        """Destroy the space; note how long that took. Fails if it does not end."""
        began = time.monotonic()
        ends(space.destroy)
        kind = type(space).__name__
        self._stops[kind] = max(time.monotonic() - began, self._stops.get(kind, 0.0))

    @contextmanager
    def stopping(self, space: _Space) -> Iterator[_Space]:
        """`with space`, and its end is noted."""
        try:
            yield space
        finally:
            self.stop(space)

    def rows(self) -> list[Row]:
        """A row for each verdict; to be asked when the spaces have stopped."""
        return [self._row(kind, verdict) for kind, verdict in self._verdicts]

    def _row(self, kind: str, verdict: Verdict) -> Row:
        stops = [stop for name, stop in self._stops.items() if kind in {"", name}]
        return Row(
            run=self._run,
            space=kind or ", ".join(sorted(self._stops)),
            faults=sum(verdict.faults.values()),
            accepted=verdict.accepted,
            a_second=verdict.accepted / verdict.duration if verdict.duration else 0.0,
            refused=verdict.refused,
            unknown=verdict.unknown,
            lost=len(verdict.lost),
            dead_letters=sum(verdict.dead.values()),
            phantom=len(verdict.phantom),
            begun_twice=len(verdict.duplicated),
            reordered=len(verdict.reordered),
            silent=len(verdict.silent),
            longest_gap=verdict.longest_gap,
            longest_wait=verdict.longest_wait,
            longest_stop=max(stops, default=0.0),
        )


def table(rows: Sequence[Row]) -> str:
    """In Markdown."""
    heads = [field.name.replace("_", " ") for field in fields(Row)]
    lines = [
        heads,
        ["---"] * len(heads),
        *([_shown(cell) for cell in astuple(row)] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(cell: str | float) -> str:
    match cell:
        case str():
            return cell
        case int():
            return f"{cell:,}"
        case _:
            return f"{cell:,.1f}"

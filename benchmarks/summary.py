"""Medians, ratios, verdicts, and the tables that show them. Pure: text out of numbers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.common import Figures
from benchmarks.goals import GOALS, UNITS, Goal, Subject

__all__ = ["Results", "Spread", "Verdict", "goals_table", "judge", "ratio", "shown", "works_table"]

WHY: Final = "[what limits it](costs.md)"

Results = dict[Subject, list[Figures]]
"""The figures of each round, for each subject; none of a run that failed. Rounds of one sitting stand at
the same index.
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Raises `ValueError` if there are none."""
        known = list(values)
        if not known:
            raise ValueError("no runs")
        return cls(statistics.median(known), min(known), max(known))

    def __str__(self) -> str:
        if self.low == self.high:
            return shown(self.median)
        return f"{shown(self.median)} ({shown(self.low)} to {shown(self.high)})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a goal is met; `value` is None if it was not measured."""

    goal: Goal
    value: Spread | None

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.goal.met_by(self.value.median)

    @property
    def clear(self) -> bool:
        """Whether every round says the same; if not, the runs are too noisy to tell."""
        return self.value is None or (
            self.goal.met_by(self.value.low) == self.goal.met_by(self.value.high)
        )


def shown(value: float) -> str:
    """Three digits that count, and no more: 12,345 → 12,300; 1.2345 → 1.23."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:
        return f"{rounded:,.0f}"
    return f"{rounded:.3g}"


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures], figure: str) -> Spread | None:
    """Ours to theirs: the ratio of the medians, and the least and greatest of any round."""
    rounds = [
        (one[figure], other[figure])
        for one, other in zip(ours, theirs, strict=False)
        if figure in one and other.get(figure)
    ]
    if not rounds:
        return None
    each = [one / other for one, other in rounds]
    median = statistics.median(one for one, _ in rounds) / statistics.median(
        other for _, other in rounds
    )
    return Spread(median, min(each), max(each))


def judge(results: Results, goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """The goals of the works that were run."""
    works = {(subject.work, subject.space) for subject in results}
    verdicts = []
    for goal in goals:
        if (goal.work, goal.space) not in works:
            continue
        ours = results.get(Subject(goal.work, goal.space), [])
        value: Spread | None
        if goal.peer:
            theirs = results.get(Subject(goal.work, goal.space, goal.peer), [])
            value = ratio(ours, theirs, goal.figure)
        else:
            values = [figures[goal.figure] for figures in ours if goal.figure in figures]
            value = Spread.of(values) if values else None
        verdicts.append(Verdict(goal, value))
    return verdicts


def goals_table(verdicts: Sequence[Verdict]) -> str:
    """One line a goal."""
    words = {True: "yes", False: f"**no**: {WHY}", None: "not measured"}
    rows = [
        (
            v.goal.space,
            v.goal.work,
            UNITS.get(v.goal.figure, v.goal.figure),
            v.goal.bound,
            "" if v.value is None else str(v.value),
            words[v.met] + ("" if v.clear else ", unclear: rounds differ"),
        )
        for v in verdicts
    ]
    return table(("space", "work", "figure", "goal", "reached", "met"), rows)


def works_table(results: Results) -> str:
    """Every figure, ours beside its peers'."""
    rows = []
    for subject, runs in results.items():
        if subject.peer or subject.work == "growth":
            continue
        peers = [
            other
            for other in results
            if other.peer and (other.work, other.space) == (subject.work, subject.space)
        ]
        for figure in dict.fromkeys(name for run in runs for name in run):
            ours = Spread.of(run[figure] for run in runs if figure in run)
            beside = []
            for peer in peers:
                values = [run[figure] for run in results[peer] if figure in run]
                factor = ratio(runs, results[peer], figure)
                if values and factor is not None:
                    beside.append(f"{peer.peer} {Spread.of(values)}: {shown(factor.median)} times")
            unit = UNITS.get(figure, figure)
            rows.append((subject.work, subject.space, unit, str(ours), "; ".join(beside)))
    return table(("work", "space", "figure", "agency", "peer: agency is … times that"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""Does an agent that computes in pure Python, in the application's own process, slow the others?

Each work is done in the same space quiet, and while a foreground agent computes, in turn and several
times; the medians count. `start` is ten agents that this process adds, until each has given its first
answer: ten processes on LocalSpace. `slowdown` is the ratio (1.3: a third slower). `control` is the same ratio
while an unrelated *process* computes instead: what the machine's cores alone cost, which no library
can win back.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from agency import Agent, action
from benchmarks.agents import AsyncDriver, Driver, Echo, Sink
from benchmarks.common import (
    CONTENT,
    OUTSTANDING,
    RECEIVERS,
    Figures,
    main,
    megabyte,
    milliseconds_since,
    percentile,
)
from benchmarks.houses import SPACES, House, house

LIMIT = 120.0  # seconds after which a computation ends, whatever happens
COUNTS = {"native": (500, 10_000), "local": (500, 5_000), "amqp": (100, 1_000)}
"""Round trips, and messages."""

TIMES = ("p50", "large", "start")
"""The figures that are better if they are less; the others are rates."""

TURNS = 3
SINKS = [f"sink-{number}" for number in range(RECEIVERS)]


class Thinker(Agent):
    """Computes until it is told to stop."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.stop = threading.Event()
        self.stopped = threading.Event()

    @action
    def think(self) -> None:
        compute(self.stop.is_set)
        self.stopped.set()


def compute(stop: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT
    total = 0
    while not stop() and time.monotonic() < limit:
        for number in range(10_000):
            total += number * number


def never() -> bool:
    return False


@contextmanager
def thinking_agent(home: House) -> Iterator[None]:
    thinker = home.space.add_foreground(Thinker, "thinker")
    other = home.space.join()
    other.send({"to": "thinker", "action": {"name": "think"}})
    try:
        yield
    finally:
        thinker.stop.set()
        assert thinker.stopped.wait(LIMIT)
        home.space.remove("thinker")


@contextmanager
def thinking_process() -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(
        target=compute, args=(never,), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def measure(kind: str, quick: bool) -> Figures:
    divisor = 5 if quick else 1
    trips, messages = (count // divisor for count in COUNTS[kind])
    with house(kind) as home:
        home.there(Echo, "echo")
        home.there(Sink, *SINKS)
        home.here(Driver, "driver")
        home.here(AsyncDriver, "async driver")
        quiet, busy, control = [], [], []
        for _ in range(1 if quick else TURNS):
            quiet.append(works(home, trips, messages, nullcontext()))
            busy.append(works(home, trips, messages, thinking_agent(home)))
            control.append(works(home, trips, messages, thinking_process()))
    figures = {}
    for name in quiet[0]:
        value = median(quiet, name)
        for column, runs in (("slowdown", busy), ("control", control)):
            other = median(runs, name)
            slower = other / value if name in TIMES else value / other
            figures[f"{column}_{name}"] = round(slower, 3)
    return figures


def median(runs: list[Figures], name: str) -> float:
    return percentile([run[name] for run in runs], 0.5)


def works(
    home: House, trips: int, messages: int, meanwhile: AbstractContextManager[None]
) -> Figures:
    with meanwhile:
        trip = home.run("driver", "round_trips", to="echo", count=trips, content=CONTENT)
        flood = home.run("driver", "flood", to=SINKS[:1], count=messages, content=CONTENT)
        many = {"to": "echo", "count": messages, "window": OUTSTANDING, "content": CONTENT}
        outstanding = home.run("async driver", "outstanding", **many)
        all_of = {"receivers": SINKS, "count": messages // RECEIVERS, "content": CONTENT}
        broadcast = home.run("driver", "broadcast", **all_of)
        large = home.run("driver", "round_trips", to="echo", count=trips // 5, content=megabyte())
        return {
            "p50": trip["p50"],
            "one_way": flood["rate"],
            "outstanding": outstanding["rate"],
            "broadcast": broadcast["rate"],
            "large": large["p50"],
            "start": start(home),
        }


def start(home: House) -> float:
    names = [f"new-{number}" for number in range(RECEIVERS)]
    begin = time.perf_counter()
    for name in names:
        home.here(Echo, name)
    for name in names:
        home.run("driver", "round_trips", to=name, count=1, content=CONTENT)
    took = milliseconds_since(begin)
    for name in names:
        home.space.remove(name)
    return took


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

"""Does an agent that computes in pure Python, in the application's own process, slow the others?

Each work is done in the same space quiet, and while a foreground agent computes, in turn and several
times; the medians count. `slowdown` is the ratio (1.3: a third slower). `control` is the same ratio
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
from benchmarks.common import CONTENT, OUTSTANDING, Figures, main, percentile
from benchmarks.houses import SPACES, House, house

LIMIT = 120.0  # seconds after which a computation ends, whatever happens
COUNTS = {"native": (500, 10_000), "local": (500, 5_000), "amqp": (100, 200)}
"""Round trips, and messages."""

TURNS = 3


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
        home.there(Sink, "sink")
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
            slower = other / value if name == "p50" else value / other
            figures[f"{column}_{name}"] = round(slower, 3)
    return figures


def median(runs: list[Figures], name: str) -> float:
    return percentile([run[name] for run in runs], 0.5)


def works(
    home: House, trips: int, messages: int, meanwhile: AbstractContextManager[None]
) -> Figures:
    with meanwhile:
        trip = home.run("driver", "round_trips", to="echo", count=trips, content=CONTENT)
        flood = home.run("driver", "flood", to=["sink"], count=messages, content=CONTENT)
        args = {"to": "echo", "count": messages, "window": OUTSTANDING, "content": CONTENT}
        outstanding = home.run("async driver", "outstanding", **args)
    return {"p50": trip["p50"], "one_way": flood["rate"], "outstanding": outstanding["rate"]}


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

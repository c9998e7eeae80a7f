"""Pykka: actors on threads of one process. The peer of NativeSpace. It copies and checks nothing."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any

import pykka

from benchmarks.common import (
    CONTENT,
    OUTSTANDING,
    RECEIVERS,
    Figures,
    main,
    megabyte,
    milliseconds_since,
    p50_and_p99,
    proportional_kib,
    rate,
)

COUNT = {"round_trip": 20_000, "one_way": 100_000, "outstanding": 20_000, "broadcast": 10_000}


def message(content: str) -> dict[str, Any]:
    return {"from": "driver", "to": "echo", "action": {"name": "e", "args": {"content": content}}}


class Echo(pykka.ThreadingActor):
    def on_receive(self, message: dict[str, Any]) -> Any:
        return message["action"]["args"]["content"]


class Sink(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: dict[str, Any]) -> Any:
        if "seen" in message:
            count, self.count = self.count, 0
            return count, time.perf_counter()
        self.count += 1
        return None


class Driver(pykka.ThreadingActor):
    """Measures from inside an actor, as ours does."""

    def on_receive(self, message: Any) -> Figures:
        function, args = message["call"]
        figures: Figures = function(*args)
        return figures


def round_trips(echo: Any, count: int, content: str) -> Figures:
    told = message(content)
    for _ in range(count // 10):
        echo.ask(told)
    seconds = []
    clock = time.perf_counter
    for _ in range(count):
        begin = clock()
        echo.ask(told)
        seconds.append(clock() - begin)
    return p50_and_p99(seconds)


def flood(sinks: list[Any], count: int) -> Figures:
    tell_all(sinks, count // 10)  # to warm up
    begin = time.perf_counter()
    end = tell_all(sinks, count)
    return rate(count * len(sinks), begin, end)


def tell_all(sinks: list[Any], count: int) -> float:
    """Returns when the last one was handled."""
    told = message(CONTENT)
    for _ in range(count):
        for sink in sinks:
            sink.tell(told)
    seen = [sink.ask({"seen": True}) for sink in sinks]
    assert all(arrived == count for arrived, _ in seen)
    return float(max(at for _, at in seen))


def many_outstanding(echo: Any, count: int) -> Figures:
    ask_all(echo, count // 10)  # to warm up
    begin = time.perf_counter()
    ask_all(echo, count)
    return rate(count, begin, time.perf_counter())


def ask_all(echo: Any, count: int) -> None:
    told = message(CONTENT)
    waiting = deque(echo.ask(told, block=False) for _ in range(OUTSTANDING))
    for _ in range(count - OUTSTANDING):
        waiting.popleft().get()
        waiting.append(echo.ask(told, block=False))
    while waiting:
        waiting.popleft().get()


def measure(work: str, quick: bool) -> Figures:
    count = COUNT.get(work, 1_000) // (10 if quick else 1)
    try:
        driver = Driver.start()
        call: tuple[Any, ...]
        if work in {"round_trip", "large"}:
            content = CONTENT if work == "round_trip" else megabyte()
            call = (round_trips, (Echo.start(), count, content))
        elif work == "outstanding":
            call = (many_outstanding, (Echo.start(), count))
        else:
            receivers = RECEIVERS if work == "broadcast" else 1
            call = (flood, ([Sink.start() for _ in range(receivers)], count))
        figures: Figures = driver.ask({"call": call})
        return figures
    finally:
        pykka.ActorRegistry.stop_all()


def start_and_memory(quick: bool) -> Figures:
    del quick
    told = message(CONTENT)
    before = proportional_kib()
    begin = time.perf_counter()
    try:
        actors = [Echo.start() for _ in range(1_000)]
        for actor in actors:
            actor.ask(told)
        took = milliseconds_since(begin)
        return {
            "ms_1000": took,
            "kib_per_idle_agent": round((proportional_kib() - before) / 1_000, 3),
        }
    finally:
        pykka.ActorRegistry.stop_all()


if __name__ == "__main__":
    works = ("round_trip", "one_way", "outstanding", "broadcast", "large")
    main({w: partial(measure, w) for w in works} | {"start_and_memory": start_and_memory})

"""xoscar: actors in a pool of processes on one machine. The peer of LocalSpace, the fastest known.

A pool of two processes, an actor in each; for `broadcast` ten, as ours has them. With its defaults,
which take uvloop where it is installed.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import xoscar

from benchmarks.common import (
    CONTENT,
    OUTSTANDING,
    RECEIVERS,
    Figures,
    family,
    main,
    megabyte,
    milliseconds_since,
    p50_and_p99,
    proportional_kib,
    rate,
)

COUNT = {"round_trip": 5_000, "one_way": 20_000, "outstanding": 10_000, "broadcast": 2_000}


def message(content: str) -> dict[str, Any]:
    return {"from": "driver", "to": "echo", "action": {"name": "e", "args": {"content": content}}}


class Echo(xoscar.Actor):
    def echo(self, message: dict[str, Any]) -> Any:
        return message["action"]["args"]["content"]


class Sink(xoscar.Actor):
    def __init__(self) -> None:
        self.count = 0

    def take(self, message: dict[str, Any]) -> None:
        self.count += 1

    def seen(self) -> tuple[int, float]:
        return self.count, time.perf_counter()

    def reset(self) -> None:
        self.count = 0


class Driver(xoscar.Actor):
    """Measures from inside an actor, as ours does."""

    async def round_trips(self, echo: Any, count: int, content: str) -> Figures:
        told = message(content)
        for _ in range(count // 10):
            await echo.echo(told)
        seconds = []
        clock = time.perf_counter
        for _ in range(count):
            begin = clock()
            await echo.echo(told)
            seconds.append(clock() - begin)
        return p50_and_p99(seconds)

    async def flood(self, sinks: list[Any], count: int) -> Figures:
        await self.tell_all(sinks, count // 10)  # to warm up
        begin = time.perf_counter()
        end = await self.tell_all(sinks, count)
        return rate(count * len(sinks), begin, end)

    async def tell_all(self, sinks: list[Any], count: int) -> float:
        told = message(CONTENT)
        for _ in range(count):
            for sink in sinks:
                await sink.take.tell(told)
        return max([await self.seen(sink, count) for sink in sinks])

    async def seen(self, sink: Any, count: int) -> float:
        while True:
            arrived, at = await sink.seen()
            if arrived >= count:
                await sink.reset()
                return float(at)

    async def outstanding(self, echo: Any, count: int) -> Figures:
        told = message(CONTENT)

        async def ask(times: int) -> None:
            for _ in range(times):
                await echo.echo(told)

        each = count // OUTSTANDING
        await asyncio.gather(*(ask(each // 10) for _ in range(OUTSTANDING)))  # to warm up
        begin = time.perf_counter()
        await asyncio.gather(*(ask(each) for _ in range(OUTSTANDING)))
        return rate(each * OUTSTANDING, begin, time.perf_counter())


async def create(actor: type[xoscar.Actor], address: str, process: int) -> Any:
    place = xoscar.allocate_strategy.ProcessIndex(process)
    return await xoscar.create_actor(actor, address=address, allocate_strategy=place)


async def measure(work: str, quick: bool) -> Figures:
    receivers = RECEIVERS if work == "broadcast" else 1
    count = COUNT.get(work, 300) // (5 if quick else 1)
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=1 + receivers)
    async with pool:
        address = pool.external_address
        driver = await create(Driver, address, 1)
        kind = Sink if work in {"one_way", "broadcast"} else Echo
        others = [await create(kind, address, 2 + number) for number in range(receivers)]
        figures: Figures
        if work == "outstanding":
            figures = await driver.outstanding(others[0], count)
        elif kind is Sink:
            figures = await driver.flood(others, count)
        else:
            content = CONTENT if work == "round_trip" else megabyte()
            figures = await driver.round_trips(others[0], count, content)
        return figures


async def start_and_memory(quick: bool) -> Figures:
    """Many actors packed into two processes: the pool's start counts, as our workers' does."""
    count = 200 if quick else 1_000
    before = proportional_kib()
    begin = time.perf_counter()
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=2)
    async with pool:
        address = pool.external_address
        actors = [await create(Echo, address, 1 + number % 2) for number in range(count)]
        told = message(CONTENT)
        for actor in actors:
            await actor.echo(told)
        took = milliseconds_since(begin)
        return {
            "ms": took,
            "kib_per_agent": round((proportional_kib(family()) - before) / count, 2),
        }


def run(work: str, quick: bool) -> Figures:
    if work == "start_and_memory":
        return asyncio.run(start_and_memory(quick))
    return asyncio.run(measure(work, quick))


if __name__ == "__main__":
    works = ("round_trip", "one_way", "outstanding", "broadcast", "large", "start_and_memory")
    main({work: partial(run, work) for work in works})

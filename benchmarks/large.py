"""Round trips with a payload of 1 MB each way: p50 and p99 in microseconds."""

from __future__ import annotations

from functools import partial

from benchmarks.agents import Driver, Echo
from benchmarks.common import Figures, main, megabyte
from benchmarks.houses import SPACES, house

COUNT = {"native": 1_000, "local": 300, "amqp": 100}


def measure(kind: str, quick: bool) -> Figures:
    with house(kind) as home:
        home.there(Echo, "echo")
        home.here(Driver, "driver")
        count = COUNT[kind] // (5 if quick else 1)
        return home.run("driver", "round_trips", to="echo", count=count, content=megabyte())


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

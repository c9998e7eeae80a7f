"""Request and answer between two agents, one at a time: p50 and p99 in microseconds."""

from __future__ import annotations

from functools import partial

from benchmarks.agents import Driver, Echo
from benchmarks.common import CONTENT, Figures, main
from benchmarks.houses import SPACES, house

COUNT = {"native": 20_000, "local": 10_000, "amqp": 1_000}


def measure(kind: str, quick: bool) -> Figures:
    with house(kind) as home:
        home.there(Echo, "echo")
        home.here(Driver, "driver")
        count = COUNT[kind] // (10 if quick else 1)
        return home.run("driver", "round_trips", to="echo", count=count, content=CONTENT)


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

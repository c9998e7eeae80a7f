"""One sender, one receiver, nobody answers: messages a second, counted at the receiver."""

from __future__ import annotations

from functools import partial

from benchmarks.agents import Driver, Sink
from benchmarks.common import CONTENT, Figures, main
from benchmarks.houses import SPACES, house

COUNT = {"native": 100_000, "local": 50_000, "amqp": 30_000}


def measure(kind: str, quick: bool) -> Figures:
    with house(kind) as home:
        home.there(Sink, "sink")
        home.here(Driver, "driver")
        count = COUNT[kind] // (10 if quick else 1)
        return home.run("driver", "flood", to=["sink"], count=count, content=CONTENT)


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

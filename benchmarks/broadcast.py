"""One sender, ten receivers, a broadcast to all of them: deliveries a second.

On LocalSpace each receiver is a process of its own.
"""

from __future__ import annotations

from functools import partial

from benchmarks.agents import Driver, Sink
from benchmarks.common import CONTENT, RECEIVERS, Figures, main
from benchmarks.houses import SPACES, house

COUNT = {"native": 10_000, "local": 5_000, "amqp": 3_000}
"""No more than a mailbox holds: a broadcast waits for nobody, so what is too many would be lost."""


def measure(kind: str, quick: bool) -> Figures:
    receivers = [f"sink-{number}" for number in range(RECEIVERS)]
    with house(kind) as home:
        home.there(Sink, *receivers)
        home.here(Driver, "driver")
        count = COUNT[kind] // (10 if quick else 1)
        return home.run("driver", "broadcast", receivers=receivers, count=count, content=CONTENT)


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

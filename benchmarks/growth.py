"""What a message costs as the work grows: it should be flat. Microseconds, plotted by `plots`.

Along five axes, named in the figures as axis/position/figure:

    agents    idle agents in the space besides the two that talk: a round trip (p50), a message one way
    depth     messages waiting in the receiver's mailbox: sending one, handling one when it catches up
    payload   bytes carried: a round trip (p50)
    log       records in the audit log: a round trip (p50) to an action that is permitted on request,
              which is recorded and on the disk before it begins
    time      messages sent so far, in one process that goes on: a message one way, memory in MB
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from benchmarks.agents import Driver, Echo, Gate, Guarded, Shelf, Sink
from benchmarks.common import CONTENT, Figures, family, main, proportional_kib
from benchmarks.houses import SPACES, House, house

AGENTS = {
    "native": (1, 10, 100, 1_000, 10_000),
    "local": (1, 10, 50, 200),
    "amqp": (1, 10, 50, 200),
}
DEPTHS = {
    "native": (1, 10, 100, 1_000, 10_000, 100_000),
    "local": (1, 10, 100, 1_000, 10_000, 100_000),
    "amqp": (1, 10, 100, 1_000, 10_000),  # more a mailbox does not hold on the server
}
PAYLOADS = (100, 1_000, 10_000, 100_000, 1_000_000)
RECORDS = (10, 1_000, 100_000)
COUNTS = {"native": (2_000, 100_000), "local": (1_000, 50_000), "amqp": (200, 5_000)}
"""Round trips, and messages, that one point is measured with."""

WORKERS = 4  # the idle agents of LocalSpace are packed, for 200 processes measure the machine
ROUNDS = 10  # points in time
PATIENCE = 120.0  # seconds after which no further point is begun


def measure(kind: str, quick: bool) -> Figures:
    limit = time.monotonic() + (40.0 if quick else PATIENCE)
    trips, messages = (count // (5 if quick else 1) for count in COUNTS[kind])
    figures: Figures = {}
    with house(kind) as home:
        home.there(Echo, "echo")
        home.there(Sink, "sink")
        home.there(Shelf, "shelf")
        home.here(Driver, "driver")
        home.space.add_foreground(Gate, "gate")
        for size in PAYLOADS:
            few = max(20, trips * 1_000 // (size + 1_000))
            figures[f"payload/{size}/round_trip"] = round_trip(home, few, "x" * size)
        for number in range(1, ROUNDS + 1):
            figures[f"time/{number * messages}/one_way"] = one_way(home, messages)
            figures[f"time/{number * messages}/MB"] = round(proportional_kib(family()) / 1000, 2)
        for depth in DEPTHS[kind][: -2 if quick else None]:
            if time.monotonic() < limit:
                for name, value in pile_up(home, depth).items():
                    figures[f"depth/{depth}/{name}"] = value
    figures |= as_the_log_grows(kind, trips // 5)
    with house(kind, max_workers=WORKERS) as home:
        home.there(Echo, "echo")
        home.there(Sink, "sink")
        home.here(Driver, "driver")
        there = 0
        for agents in AGENTS[kind][: -1 if quick else None]:
            if time.monotonic() < limit:
                home.there(Echo, *(f"idle-{number}" for number in range(there, agents)))
                there = agents
                figures[f"agents/{agents}/round_trip"] = round_trip(home, trips, CONTENT)
                figures[f"agents/{agents}/one_way"] = one_way(home, messages)
    return figures


def pile_up(home: House, depth: int) -> Figures:
    """The medians: a few messages are too few to measure once."""
    args = {"to": "shelf", "gate": "gate", "depth": depth, "content": CONTENT}
    runs = [home.run("driver", "pile_up", **args) for _ in range(min(25, 1 + 10_000 // depth))]
    return {name: median(run[name] for run in runs) for name in runs[0]}


def as_the_log_grows(kind: str, trips: int) -> Figures:
    """Between two points the log's own records are written into it again, until it is long enough."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "audit.jsonl")
        with house(kind, audit=log) as home:
            home.there(Guarded, "echo")
            home.here(Driver, "driver")
            round_trip(home, 5, CONTENT)  # writes the first records
            for records in RECORDS:
                lengthen(log, records)
                figures[f"log/{records}/asked"] = round_trip(home, trips, CONTENT)
    return figures


def lengthen(log: Path, records: int) -> None:
    written = log.read_bytes().splitlines(keepends=True)
    with log.open("ab") as file:
        file.writelines(islice(cycle(written), max(0, records - len(written))))
        file.flush()
        os.fsync(file.fileno())


def round_trip(home: House, count: int, content: str) -> float:
    return home.run("driver", "round_trips", to="echo", count=count, content=content)["p50"]


def one_way(home: House, count: int) -> float:
    flood = home.run("driver", "flood", to=["sink"], count=count, content=CONTENT)
    return round(1e6 / flood["rate"], 3)


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

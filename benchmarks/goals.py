"""What is compared with what, and what Agency is to reach: the table of the runs and of the goals.

Ratios are ours to the peer's in the same sitting. Above: `benchmarks.driver` runs the subjects and
judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["GOALS", "SUBJECTS", "UNITS", "Goal", "Subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One side of a work: a module to run, and with which word."""

    work: str
    space: str
    """The kind of space; for a peer the kind that it is the peer of."""
    peer: str = ""
    """The peer's name; empty for ours."""

    @property
    def name(self) -> str:
        return self.peer or "agency"

    @property
    def needs_broker(self) -> bool:
        return self.space == "amqp"

    def command(self) -> list[str]:
        """What follows `python -m`."""
        if self.peer:
            return [f"benchmarks.peers.{self.peer.replace('-', '_')}_peer", self.work]
        return [f"benchmarks.{self.work}", self.space]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one of our figures, or on its ratio to a peer's."""

    work: str
    space: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None
    peer: str = ""

    @property
    def bound(self) -> str:
        """In words."""
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return f"{bound} times {self.peer}" if self.peer else bound

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


AMQP_PEERS: Final = {
    "round_trip": ("", "pika", "py-amqp"),
    "one_way": ("", "pika", "faststream", "faststream-unordered", "celery", "dramatiq"),
    "outstanding": ("", "pika"),
    "broadcast": ("", "pika"),
    "large": ("", "pika", "py-amqp"),
}
LOCAL_PEERS: Final = {"round_trip": ("", "xoscar", "ray")}

SUBJECTS: Final = [
    *(
        Subject(work, space, peer)
        for work in ("round_trip", "one_way", "outstanding", "broadcast", "large")
        for space, peers in (
            ("native", ("", "pykka")),
            ("local", LOCAL_PEERS.get(work, ("", "xoscar"))),
            ("amqp", AMQP_PEERS[work]),
        )
        for peer in peers
    ),
    Subject("start_and_memory", "native"),
    Subject("start_and_memory", "native", "pykka"),
    Subject("start_and_memory", "local"),
    Subject("start_and_memory", "local", "ray"),
    Subject("start_and_memory", "local-packed"),
    Subject("start_and_memory", "local-packed", "xoscar"),
    Subject("start_and_memory", "amqp"),
    Subject("start_and_memory", "import"),
    *(Subject("busy_foreground", space) for space in ("native", "local", "amqp")),
    *(Subject("llm_call", space) for space in ("native", "local", "amqp")),
    *(Subject("growth", space) for space in ("native", "local", "amqp")),
]

GOALS: Final = [
    Goal("one_way", "native", "rate", at_least=1.5, peer="pykka"),
    Goal("round_trip", "native", "p50", at_most=1.2, peer="pykka"),
    Goal("round_trip", "native", "p99", at_most=2.0, peer="pykka"),
    Goal("outstanding", "native", "rate", at_least=0.8, peer="pykka"),
    Goal("broadcast", "native", "rate", at_least=0.5, peer="pykka"),
    Goal("start_and_memory", "native", "ms_1000", at_most=0.5, peer="pykka"),
    Goal("start_and_memory", "native", "kib_per_idle_agent", at_most=6),
    Goal("start_and_memory", "native", "answered_100000", at_least=1),
    Goal("start_and_memory", "native", "idle_ms_cpu_per_s", at_most=1),
    Goal("round_trip", "local", "p50", at_most=0.75, peer="xoscar"),
    Goal("round_trip", "local", "p50", at_most=0.25, peer="ray"),
    Goal("one_way", "local", "rate", at_least=8, peer="xoscar"),
    Goal("outstanding", "local", "rate", at_least=5, peer="xoscar"),
    Goal("broadcast", "local", "rate", at_least=3, peer="xoscar"),
    Goal("large", "local", "p50", at_most=round(1 / 1.5, 3), peer="xoscar"),
    Goal("start_and_memory", "local", "ms_100", at_most=2_000),
    Goal("start_and_memory", "local", "mb_per_agent", at_most=6),
    Goal("start_and_memory", "local-packed", "ms", at_most=1, peer="xoscar"),
    Goal("start_and_memory", "local-packed", "kib_per_agent", at_most=1, peer="xoscar"),
    *(
        Goal("busy_foreground", "local", f"slowdown_{name}", at_most=1.3)
        for name in ("p50", "one_way", "outstanding", "broadcast", "large", "start")
    ),
    Goal("one_way", "amqp", "rate", at_least=0.7, peer="pika"),
    Goal("one_way", "amqp", "rate", at_least=5, peer="faststream"),
    Goal("one_way", "amqp", "rate", at_least=5, peer="celery"),
    Goal("one_way", "amqp", "rate", at_least=5, peer="dramatiq"),
    Goal("round_trip", "amqp", "p50", at_most=1.8, peer="py-amqp"),
    Goal("start_and_memory", "import", "import_ms", at_most=200),
    Goal("start_and_memory", "import", "import_mb", at_most=25),
    *(
        Goal("llm_call", space, figure, at_most=1.1)
        for space in ("native", "local", "amqp")
        for figure in ("overhead", "overhead_50")
    ),
]

UNITS: Final = {
    "p50": "p50, µs",
    "p99": "p99, µs",
    "rate": "messages/s",
    "rate_send": "messages/s, `send` and `response`",
    "ms": "ms until all answered",
    "import_ms": "ms for `import agency`",
    "import_mb": "MB for `import agency`",
    "ms_1": "ms until 1 answered",
    "ms_10": "ms until 10 answered",
    "ms_30": "ms until 30 answered",
    "ms_100": "ms until 100 answered",
    "ms_1000": "ms until 1,000 answered",
    "kib_per_agent": "KiB an agent",
    "kib_per_idle_agent": "KiB an idle agent",
    "mb_per_agent": "MB an agent (PSS)",
    "answered_10000": "of 10,000 idle agents answered in the end, share",
    "answered_100000": "of 100,000 idle agents answered in the end, share",
    "us_per_add": "µs for `add`",
    "idle_ms_cpu_per_s": "ms of CPU a second, all idle",
    "slowdown_p50": "round trip slower by, times",
    "slowdown_one_way": "one way slower by, times",
    "slowdown_outstanding": "outstanding slower by, times",
    "slowdown_broadcast": "broadcast slower by, times",
    "slowdown_large": "round trip with 1 MB slower by, times",
    "slowdown_start": "10 agents start slower by, times",
    "control_p50": "round trip, unrelated process instead, times",
    "control_one_way": "one way, unrelated process instead, times",
    "control_outstanding": "outstanding, unrelated process instead, times",
    "control_broadcast": "broadcast, unrelated process instead, times",
    "control_large": "round trip with 1 MB, unrelated process instead, times",
    "control_start": "10 agents start, unrelated process instead, times",
    "overhead": "one call, through an agent to directly",
    "overhead_50": "50 calls at once, through an agent to directly",
    "added_ms": "ms that the agent adds to one call",
    "added_ms_50": "ms that the agent adds to 50 at once",
}
"""How a figure is called in a table."""

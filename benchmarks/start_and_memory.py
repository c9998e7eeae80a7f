"""How long agents take to start, until each has given its first answer, and what an agent costs.

    native          1,000 agents; 100,000 idle ones: memory of each, the CPU all of them use, and how
                    many answer afterwards
    local           1, 10, 100 agents in a process each; memory of each at 100, the shares of shared
                    pages counted (PSS)
    local, packed   1,000 agents in two processes
    amqp            100 agents of one application, on one connection
    import          `import agency` in a fresh interpreter, beyond an empty one

Times include making the space, and the processes that it needs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from agency import AMQPSpace, Guest, LocalSpace, NativeSpace, Space
from benchmarks.agents import Echo
from benchmarks.common import (
    CONTENT,
    Figures,
    family,
    main,
    milliseconds_since,
    percentile,
    proportional_kib,
)


def first_answers(space: Space, agent_ids: Sequence[str]) -> None:
    """Add the agents, then have an answer of each."""
    me = space.join()
    for agent_id in agent_ids:
        space.add(Echo, agent_id)
    assert answers(me, agent_ids) == len(agent_ids)


def answers(me: Guest, agent_ids: Sequence[str]) -> int:
    """How many of the agents answer."""
    asked = {"name": "echo", "args": {"content": CONTENT}}
    return sum(
        me.request({"to": agent_id, "action": asked}, timeout=60) == CONTENT
        for agent_id in agent_ids
    )


def names(count: int) -> list[str]:
    return [f"agent-{number}" for number in range(count)]


def native(quick: bool) -> Figures:
    with NativeSpace() as space:
        first_answers(space, names(1))  # imports and the like are not what is measured
    begin = time.perf_counter()
    with NativeSpace() as space:
        first_answers(space, names(1_000))
        took = milliseconds_since(begin)
    many = 10_000 if quick else 100_000
    before = proportional_kib()
    with NativeSpace() as space:
        begin = time.perf_counter()
        for agent_id in names(many):
            space.add(Echo, agent_id)
        added = time.perf_counter() - begin
        used = proportional_kib() - before
        cpu = time.process_time()
        time.sleep(1)
        idle = time.process_time() - cpu
        return {
            "ms_1000": took,
            "kib_per_idle_agent": round(used / many, 3),
            "us_per_add": round(added / many * 1e6, 2),
            "idle_ms_cpu_per_s": round(idle * 1e3, 3),
            f"answered_{many}": answers(space.join(), names(many)) / many,
        }


def local(quick: bool) -> Figures:
    figures: Figures = {}
    for count in (1, 10, 30 if quick else 100):
        before = proportional_kib()
        begin = time.perf_counter()
        with LocalSpace() as space:
            first_answers(space, names(count))
            figures[f"ms_{count}"] = milliseconds_since(begin)
            figures["mb_per_agent"] = round((proportional_kib(family()) - before) / count / 1000, 3)
    return figures


def local_packed(quick: bool) -> Figures:
    count = 200 if quick else 1_000
    before = proportional_kib()
    begin = time.perf_counter()
    with LocalSpace(max_workers=2) as space:
        first_answers(space, names(count))
        took = milliseconds_since(begin)
        return {
            "ms": took,
            "kib_per_agent": round((proportional_kib(family()) - before) / count, 2),
        }


def amqp(quick: bool) -> Figures:
    count = 20 if quick else 100
    before = proportional_kib()
    begin = time.perf_counter()
    with AMQPSpace(exchange=f"benchmark-start-{time.time_ns()}") as space:
        first_answers(space, names(count))
        return {
            "ms": milliseconds_since(begin),
            "kib_per_agent": round((proportional_kib() - before) / count, 2),
        }


def importing(quick: bool) -> Figures:
    program = (
        "import sys, time; sys.path.insert(0, '')\n"
        "def kib(): return int(open('/proc/self/smaps_rollup').read().split('Pss:')[1].split()[0])\n"
        "before = kib(); begin = time.perf_counter()\n"
        "import agency\n"
        "took = time.perf_counter() - begin\n"
        "print(took * 1000, (kib() - before) / 1000)\n"
    )
    runs = []
    for _ in range(3 if quick else 11):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        )
        runs.append([float(part) for part in done.stdout.split()])
    return {
        "import_ms": round(percentile([took for took, _ in runs], 0.5), 1),
        "import_mb": round(percentile([mb for _, mb in runs], 0.5), 2),
    }


if __name__ == "__main__":
    main(
        {
            "native": native,
            "local": local,
            "local-packed": local_packed,
            "amqp": amqp,
            "import": importing,
        }
    )

"""Ray: actors in processes of their own. The peer of LocalSpace's round trip and of its start.

With its defaults, but no dashboard and no statistics of its use, and on 127.0.0.1 alone. The one that
measures is an actor, as ours is an agent. The processes that Ray needs besides the actors count in its
start and in its memory, as ours do.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ |= {  # read at import
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 only; so it is called on all systems
}
import ray

from benchmarks.common import (
    CONTENT,
    Figures,
    family,
    main,
    milliseconds_since,
    p50_and_p99,
    proportional_kib,
)

COUNT = 2_000


def message(content: str) -> dict[str, Any]:
    return {"from": "driver", "to": "echo", "action": {"name": "e", "args": {"content": content}}}


class Echo:
    def echo(self, message: dict[str, Any]) -> Any:
        return message["action"]["args"]["content"]


class Driver:
    """Measures from inside an actor, as ours does."""

    def round_trips(self, echo: Any, count: int, content: str) -> Figures:
        told = message(content)
        for _ in range(count // 10):
            ray.get(echo.echo.remote(told))
        seconds = []
        clock = time.perf_counter
        for _ in range(count):
            begin = clock()
            ray.get(echo.echo.remote(told))
            seconds.append(clock() - begin)
        return p50_and_p99(seconds)


@contextmanager
def cluster() -> Iterator[None]:
    """Ray's processes; they end with this, or with the process that started them."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(
            _temp_dir=folder,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            yield
        finally:
            ray.shutdown()


def round_trip(quick: bool) -> Figures:
    with cluster():
        echo = ray.remote(Echo).remote()
        driver = ray.remote(Driver).remote()
        figures: Figures = ray.get(
            driver.round_trips.remote(echo, COUNT // (10 if quick else 1), CONTENT)
        )
        return figures


def start_and_memory(quick: bool) -> Figures:
    told = message(CONTENT)
    figures: Figures = {}
    for count in (1, 10) if quick else (1, 10, 100):
        before = proportional_kib()
        begin = time.perf_counter()
        with cluster():
            actors = [ray.remote(Echo).options(num_cpus=0).remote() for _ in range(count)]
            ray.get([actor.echo.remote(told) for actor in actors])
            figures[f"ms_{count}"] = milliseconds_since(begin)
            figures["mb_per_agent"] = round((proportional_kib(family()) - before) / count / 1000, 3)
    return figures


if __name__ == "__main__":
    main({"round_trip": round_trip, "start_and_memory": start_and_memory})

"""What every run shares, ours and a peer's: the payload, percentiles, memory, and how it reports.

A run is one process that does one work once and prints its figures as the last line of its output,
a JSON object of numbers. Only the standard library: peers import this too. Below: nothing. Above:
the works (one module each) and `benchmarks.peers`; `benchmarks.driver` starts them all.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

Figures = dict[str, float]

CONTENT: Final = "x" * 92
"""The text that a small message carries; with it the message is about 170 bytes as JSON."""

OUTSTANDING: Final = 100
RECEIVERS: Final = 10

TIME_LIMIT: Final = 300.0
"""Seconds after which a run ends itself, whatever it is doing."""


def megabyte() -> str:
    """The text that a large message carries. Not a constant: each of our workers imports this module."""
    return "x" * 1_000_000


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def p50_and_p99(seconds: Sequence[float]) -> Figures:
    """Of times in seconds, in microseconds."""
    return {
        "p50": round(percentile(seconds, 0.50) * 1e6, 2),
        "p99": round(percentile(seconds, 0.99) * 1e6, 2),
    }


def rate(count: int, begin: float, end: float) -> Figures:
    """Messages a second."""
    return {"rate": round(count / (end - begin), 1)}


def proportional_kib(pids: Sequence[int] = ()) -> float:
    """Memory of these processes (this one by default) in KiB, shared pages divided among sharers."""
    gc.collect()
    total = 0
    for pid in pids or [os.getpid()]:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return float(total)


def family(pid: int | None = None) -> list[int]:
    """The process (this one by default) and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue  # it has just ended
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid or os.getpid()]
    for each in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == each]
    return found


def milliseconds_since(begin: float) -> float:
    return round((time.perf_counter() - begin) * 1000, 2)


def main(works: dict[str, Callable[[bool], Figures]]) -> None:
    """Do the work that the command line names, bounded in time, and print its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("subject", choices=works)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    options = parser.parse_args()
    end_in_time()
    print(json.dumps(works[options.subject](options.quick)), flush=True)


def end_in_time() -> None:
    """See to it that this process ends after `TIME_LIMIT`, whatever it is doing."""
    alarm = threading.Timer(TIME_LIMIT, _give_up)
    alarm.daemon = True
    alarm.start()


def _give_up() -> None:
    sys.stderr.write(f"not done after {TIME_LIMIT:g} s\n")
    os._exit(3)  # whatever this process started ends with it

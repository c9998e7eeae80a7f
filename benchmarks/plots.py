"""Draws the growth work: `python -m benchmarks.plots benchmarks.json FOLDER`, with the peers' Python,
which has matplotlib. Prints the names of the files written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

AXES = {
    "agents": "idle agents in the space",
    "depth": "messages waiting in the mailbox",
    "payload": "bytes carried",
    "time": "messages sent so far",
}
LABELS = {
    "round_trip": "round trip p50, µs",
    "one_way": "one way, µs a message",
    "send": "sending, µs a message",
    "handle": "handling, µs a message",
    "MB": "memory of all processes, MB",
}

Points = list[tuple[float, float]]


def curves(runs: list[dict[str, object]]) -> dict[str, dict[str, dict[str, Points]]]:
    """By axis, figure and space."""
    found: dict[str, dict[str, dict[str, Points]]] = {}
    for run in runs:
        if run["work"] != "growth":
            continue
        rounds = run["rounds"]
        assert isinstance(rounds, list)
        for name, value in rounds[0].items():
            axis, position, figure = name.split("/")
            lines = found.setdefault(axis, {}).setdefault(figure, {})
            lines.setdefault(str(run["space"]), []).append((float(position), value))
    return found


def draw(axis: str, figures: dict[str, dict[str, Points]], target: Path) -> None:
    picture, places = plt.subplots(
        1, len(figures), figsize=(5 * len(figures), 3.5), squeeze=False, layout="constrained"
    )
    for place, (figure, lines) in zip(places[0], figures.items(), strict=True):
        for space, points in lines.items():
            place.plot(*zip(*points, strict=True), marker="o", markersize=3, label=space)
        if axis != "time":
            place.set_xscale("log")
        place.set_yscale("log")
        place.set_xlabel(AXES[axis])
        place.set_title(LABELS[figure], fontsize=10)
        place.grid(visible=True, alpha=0.3)
        place.legend(fontsize=8)
    picture.savefig(target, dpi=110)
    plt.close(picture)


def main(figures: Path, folder: Path) -> None:
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for axis, found in curves(json.loads(figures.read_text())["runs"]).items():
        name = f"growth-{axis}.png"
        draw(axis, found, folder / name)
        print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

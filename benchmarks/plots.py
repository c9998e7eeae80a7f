"""Draws the growth work: `python -m benchmarks.plots benchmarks.json FOLDER`, with the peers' Python,
which has matplotlib. Prints the names of the files written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

AXES = {
    "agents": "idle agents in the space",
    "depth": "messages waiting in the mailbox",
    "payload": "bytes carried",
    "log": "records in the audit log",
    "time": "messages sent so far",
}
LABELS = {
    "round_trip": "round trip p50, µs",
    "one_way": "one way, µs a message",
    "asked": "round trip p50, permitted on request, µs",
    "send": "sending, µs a message",
    "handle": "handling, µs a message",
    "MB": "memory of all processes, MB",
}
COLOURS = {"native": "tab:green", "local": "tab:blue", "amqp": "tab:orange"}

Points = dict[float, list[float]]
"""What was measured in each round, by the position."""


def curves(runs: list[dict[str, object]]) -> dict[str, dict[str, dict[str, Points]]]:
    """By axis, figure and space."""
    found: dict[str, dict[str, dict[str, Points]]] = {}
    for run in runs:
        if run["work"] != "growth":
            continue
        rounds = run["rounds"]
        assert isinstance(rounds, list)
        for name, value in [item for figures in rounds for item in figures.items()]:
            axis, position, figure = name.split("/")
            lines = found.setdefault(axis, {}).setdefault(figure, {})
            points = lines.setdefault(str(run["space"]), {})
            points.setdefault(float(position), []).append(value)
    return found


def draw(axis: str, figures: dict[str, dict[str, Points]], target: Path) -> None:
    picture, places = plt.subplots(
        1, len(figures), figsize=(5 * len(figures), 3.6), squeeze=False, layout="constrained"
    )
    for place, (figure, lines) in zip(places[0], figures.items(), strict=True):
        for space, points in lines.items():
            draw_line(place, space, points)
        scale(place)
        place.set_xlabel(AXES[axis])
        place.set_title(LABELS[figure], fontsize=10)
        place.grid(visible=True, alpha=0.3)
    places[0][0].legend(fontsize=8)
    picture.savefig(target, dpi=110)
    plt.close(picture)


def draw_line(place: Axes, space: str, points: Points) -> None:
    """The medians, and in a lighter shade from the least to the greatest."""
    positions = sorted(points)
    middle = [median(points[each]) for each in positions]
    least, greatest = ([end(points[each]) for each in positions] for end in (min, max))
    colour = COLOURS[space]
    place.plot(positions, middle, marker="o", markersize=3, color=colour, label=space)
    place.fill_between(positions, least, greatest, color=colour, alpha=0.2, linewidth=0)


def scale(place: Axes) -> None:
    """Logarithmic, in plain numbers; over a factor of ten at least, so that noise is not seen as a slope."""
    place.set_xscale("log")
    place.set_yscale("log")
    bottom, top = place.get_ylim()
    room = max(1.0, (10 * bottom / top) ** 0.5)
    place.set_ylim(bottom / room, top * room)
    place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if top / bottom < 100 else (1,)))
    for line in (place.xaxis, place.yaxis):
        line.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        line.set_minor_formatter(NullFormatter())


def main(figures: Path, folder: Path) -> None:
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for axis, found in curves(json.loads(figures.read_text())["runs"]).items():
        name = f"growth-{axis}.png"
        draw(axis, found, folder / name)
        print(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""What a call of a language model that takes 200 ms costs more if an agent makes it, with 1,000 agents
in the space.

The same call is made directly, as a function, and through a `request` to an agent whose action makes
it, in turn: one at a time (plain `def`), and 50 at once (`async`). `overhead` is the ratio of the
medians, of the 50 that of the time until all are answered.
"""

from __future__ import annotations

from functools import partial

from benchmarks.agents import Echo
from benchmarks.common import Figures, main
from benchmarks.houses import SPACES, house
from benchmarks.language_model import AT_ONCE, Caller, Model, endpoint

AGENTS = 1_000
WORKERS = 4
TURNS = 15


def measure(kind: str, quick: bool) -> Figures:
    figures: Figures = {}
    with endpoint(), house(kind, max_workers=WORKERS) as home:
        home.there(Model, "model")
        home.here(Caller, "caller")
        home.there(Echo, *(f"idle-{number}" for number in range(AGENTS - 2)))
        for name, ending in (("one_at_a_time", ""), ("at_once", f"_{AT_ONCE}")):
            found = home.run("caller", name, to="model", turns=3 if quick else TURNS)
            figures |= {figure + ending: value for figure, value in found.items()}
    return figures


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

"""100 requests outstanding between two agents: answers a second.

`rate` is `arequest` from 100 tasks of one async action. `rate_send` is the same without waiting
calls: 100 messages under way, each `response` makes its agent send the next (on AMQP left out, it
says nothing there that `one_way` does not). They cause each other, so there is a limit to how many
may follow: `agency.envelope.HOP_LIMIT`.
"""

from __future__ import annotations

import time
from functools import partial

from benchmarks.agents import PATIENCE, AsyncDriver, Echo, Replier
from benchmarks.common import CONTENT, OUTSTANDING, Figures, main, rate
from benchmarks.houses import SPACES, House, house

COUNT = {"native": 20_000, "local": 20_000, "amqp": 10_000}
MOST_BY_SENDING = 100 * OUTSTANDING


def measure(kind: str, quick: bool) -> Figures:
    count = COUNT[kind] // (10 if quick else 1)
    with house(kind) as home:
        home.there(Echo, "echo")
        home.here(AsyncDriver, "driver")
        figures = home.run(
            "driver", "outstanding", to="echo", count=count, window=OUTSTANDING, content=CONTENT
        )
        return figures | ({} if kind == "amqp" else by_sending(home, min(count, MOST_BY_SENDING)))


def by_sending(home: House, count: int) -> Figures:
    replier = home.space.add_foreground(Replier, "replier")
    args = {"to": "echo", "window": OUTSTANDING, "content": CONTENT}
    home.run("replier", "start", count=max(OUTSTANDING, count // 10), **args)  # to warm up
    assert replier.all_done.wait(PATIENCE)
    replier.all_done.clear()
    begin = time.perf_counter()
    home.run("replier", "start", count=count, **args)
    assert replier.all_done.wait(PATIENCE)
    return {"rate_send": rate(count, begin, time.perf_counter())["rate"]}


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

"""100 requests outstanding between two agents: answers a second.

`rate` is `arequest` from 100 tasks of one async action. `rate_send` is the same without waiting
calls: 100 messages under way, each `response` makes its agent send the next (on AMQP left out, it
says nothing there that `one_way` does not).
"""

from __future__ import annotations

import time
from functools import partial

from benchmarks.agents import PATIENCE, AsyncDriver, Echo, Replier
from benchmarks.common import CONTENT, OUTSTANDING, Figures, main, rate
from benchmarks.houses import SPACES, House, house

COUNT = {"native": 20_000, "local": 20_000, "amqp": 5_000}


def measure(kind: str, quick: bool) -> Figures:
    count = COUNT[kind] // (10 if quick else 1)
    with house(kind) as home:
        home.there(Echo, "echo")
        home.here(AsyncDriver, "driver")
        figures = home.run(
            "driver", "outstanding", to="echo", count=count, window=OUTSTANDING, content=CONTENT
        )
        return figures | ({} if kind == "amqp" else by_sending(home, count))


def by_sending(home: House, count: int) -> Figures:
    replier = home.space.add_foreground(Replier, "replier")
    for size in (count // 10, count):  # the first is to warm up
        begin = time.perf_counter()
        args = {"to": "echo", "count": size, "window": OUTSTANDING, "content": CONTENT}
        home.run("replier", "start", **args)
        assert replier.all_done.wait(PATIENCE)
        end = time.perf_counter()
        replier.all_done.clear()
    return {"rate_send": rate(count, begin, end)["rate"]}


if __name__ == "__main__":
    main({kind: partial(measure, kind) for kind in SPACES})

"""FastStream with 100 publishes under way at once, each in a task that waits for its own confirm.

Faster than `faststream_peer`, and the messages arrive in any order: shown beside ours, which keeps the
order, but no goal is measured against it.
"""

from __future__ import annotations

from functools import partial

from benchmarks.common import main
from benchmarks.peers.faststream_peer import sender, serve
from benchmarks.peers.task_queue import measure

UNDER_WAY = 100

if __name__ == "__main__":
    main({"one_way": partial(measure, serve, partial(sender, under_way=UNDER_WAY))})

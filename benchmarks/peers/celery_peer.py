"""Celery over RabbitMQ: one task, nobody waits for a result. A peer of AMQPSpace's one-way rate.

The worker runs tasks in its own process (`solo`), which is fastest for such small ones, and
acknowledges late. Publishing waits for each confirm (`confirm_publish`), so it is done from several
threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from benchmarks.common import main
from benchmarks.peers.task_queue import MESSAGE, PREFETCH, URL, SendAll, Sink, measure

THREADS = 4


def application(queue: str) -> Celery:
    app = Celery("peer", broker=URL)
    app.conf.update(
        broker_transport_options={"confirm_publish": True},
        broker_pool_limit=THREADS,
        task_default_queue=queue,
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=PREFETCH,
        worker_hijack_root_logger=False,
    )
    return app


def serve(sink: Sink) -> None:
    app = application(sink.queue)

    @app.task(name="take")  # type: ignore[untyped-decorator]
    def take(message: dict[str, Any]) -> None:
        sink.take(message)

    worker_ready.connect(lambda **_: sink.ready(), weak=False)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    app.worker_main(["--quiet", "worker", "--pool=solo", "--concurrency=1", *quiet])


@contextmanager
def sender(queue: str) -> Iterator[SendAll]:
    app = application(queue)

    def send(_number: int) -> None:
        app.send_task("take", (MESSAGE,))

    with ThreadPoolExecutor(THREADS) as pool:
        yield lambda count: deque(pool.map(send, range(count)), maxlen=0).clear()


if __name__ == "__main__":
    main({"one_way": partial(measure, serve, sender)})

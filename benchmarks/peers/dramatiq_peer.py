"""Dramatiq over RabbitMQ: one actor. A peer of AMQPSpace's one-way rate.

Without middleware (no retries, no limits of age or time), one worker thread, acknowledged after the
work as always. Publishing waits for each confirm (`confirm_delivery`), so it is done from several
threads, each of which Dramatiq gives a connection of its own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

from benchmarks.common import main
from benchmarks.peers.task_queue import MESSAGE, PREFETCH, URL, SendAll, Sink, measure

os.environ["dramatiq_queue_prefetch"] = str(PREFETCH)  # noqa: SIM112  # its name; read at import
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

THREADS = 4


def broker() -> RabbitmqBroker:
    return RabbitmqBroker(url=URL, confirm_delivery=True, middleware=[])


def serve(sink: Sink) -> None:
    def take(message: dict[str, Any]) -> None:
        sink.take(message)

    own = broker()
    dramatiq.actor(take, broker=own, queue_name=sink.queue)
    dramatiq.Worker(own, worker_threads=1).start()
    own.join(sink.queue)
    sink.ready()
    Event().wait()


@contextmanager
def sender(queue: str) -> Iterator[SendAll]:
    own = broker()

    def take(message: dict[str, Any]) -> None:
        raise AssertionError(f"this process only sends: {message}")

    actor = dramatiq.actor(take, broker=own, queue_name=queue)

    def send(_number: int) -> None:
        actor.send(MESSAGE)

    with ThreadPoolExecutor(THREADS) as pool:
        yield lambda count: deque(pool.map(send, range(count)), maxlen=0).clear()


if __name__ == "__main__":
    main({"one_way": partial(measure, serve, sender)})

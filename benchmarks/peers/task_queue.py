"""What the frameworks for tasks over RabbitMQ have in common here: the one-way work.

`celery_peer`, `dramatiq_peer` and `faststream_peer` each bring a `serve` for the receiving process
and a `sender` for this one. They give what `AMQPSpace` gives on the way: a durable queue, persistent
messages, publisher confirms, acknowledgement after the work; beyond that each has the settings at
which it was fastest. None checks the form of a message. FastStream awaits each publish before the
next. The senders of the others, and of `faststream_unordered_peer`, have several publishes under way,
each waiting for its own confirm, and so keep no order, which ours does.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

import pika

from benchmarks.common import CONTENT, Figures, end_in_time, rate

__all__ = ["MESSAGE", "PREFETCH", "URL", "SendAll", "Sink", "measure"]

COUNT = 5_000
PREFETCH = 1_000
PATIENCE = 200.0
URL = os.environ["AMQP_URL"]
MESSAGE: dict[str, Any] = {
    "from": "driver",
    "to": "sink",
    "action": {"name": "take", "args": {"content": CONTENT}},
}

SendAll = Callable[[int], None]


class Sink:
    """Counts, and tells the sending process when as many have come as it expects."""

    def __init__(self, queue: str, pipe: Connection) -> None:
        self.queue = queue
        self._pipe = pipe
        self._missing = 0

    def ready(self) -> None:
        """To be called when the queue is there and consumed."""
        self._pipe.send("ready")
        self._missing = self._pipe.recv()

    def take(self, message: dict[str, Any]) -> None:
        assert message["to"] == "sink"
        self._missing -= 1
        if not self._missing:
            self._pipe.send(time.perf_counter())
            self._missing = self._pipe.recv()


def measure(
    serve: Callable[[Sink], None],
    sender: Callable[[str], AbstractContextManager[SendAll]],
    quick: bool,
) -> Figures:
    """`serve` runs in a process of its own; `sender` gets the name of the queue."""
    queue = f"benchmark-{os.urandom(6).hex()}"
    count = COUNT // (5 if quick else 1)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(serve, queue, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(60), "the other process does not answer"
        ours.recv()
        with sender(queue) as send_all:
            ours.send(count // 10)
            _all_arrived(send_all, count // 10, ours)  # to warm up
            ours.send(count)
            begin = time.perf_counter()
            return rate(count, begin, _all_arrived(send_all, count, ours))
    finally:
        process.kill()
        process.join(10)
        _delete(queue)


def _serve(serve: Callable[[Sink], None], queue: str, pipe: Connection) -> None:
    end_in_time()
    serve(Sink(queue, pipe))


def _all_arrived(send_all: SendAll, count: int, receiver: Connection) -> float:
    """Returns when the last one was handled."""
    send_all(count)
    assert receiver.poll(PATIENCE), "messages are missing"
    return float(receiver.recv())


def _delete(queue: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(URL))
    for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):  # Dramatiq's have two beside them
        connection.channel().queue_delete(name)
    connection.close()

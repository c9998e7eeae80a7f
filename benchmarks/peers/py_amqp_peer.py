"""py-amqp: the raw AMQP client with the shortest round trip, with the guarantees of AMQPSpace.

As `pika_peer`: durable, persistent, mandatory, confirmed, acknowledged by hand after the answer is
confirmed. One thread and one channel to a process; confirms are read along with the answers, not
waited for. Times are until the answer is there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

from benchmarks.common import CONTENT, Figures, end_in_time, main, megabyte, p50_and_p99

COUNT = {"round_trip": 1_000, "large": 100}
LIMIT = 60.0  # seconds to wait for the next frame


class Node:
    """One connection with one channel, which consumes one queue."""

    def __init__(self, queue: str, on_message: Callable[[Any], None]) -> None:
        url = urlsplit(os.environ["AMQP_URL"])
        self.connection = amqp.Connection(
            f"{url.hostname}:{url.port}",
            unquote(url.username or "guest"),
            unquote(url.password or "guest"),
            virtual_host=unquote(url.path[1:]) or "/",
        )
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.confirm_select()
        self.channel.events["basic_ack"].add(self.confirmed)
        self.channel.events["basic_return"].add(returned)
        self.channel.basic_qos(0, 100, False)
        self.channel.queue_declare(
            queue, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"}
        )
        self.tag = self.channel.basic_consume(queue, callback=on_message)
        self.published = 0
        self.unconfirmed: dict[int, Callable[[], None] | None] = {}

    def publish(self, queue: str, data: bytes, then: Callable[[], None] | None = None) -> None:
        self.published += 1
        self.unconfirmed[self.published] = then
        message = amqp.Message(data, delivery_mode=2, content_type="application/json")
        self.channel.basic_publish(message, "", queue, mandatory=True)

    def confirmed(self, tag: int, multiple: bool) -> None:
        for each in [t for t in self.unconfirmed if t <= tag] if multiple else [tag]:
            then = self.unconfirmed.pop(each)
            if then is not None:
                then()

    def read(self) -> None:
        self.connection.drain_events(timeout=LIMIT)


def returned(*_: Any) -> None:
    raise RuntimeError("a message was returned: its queue is missing")


def serve(space: str, pipe: Connection) -> None:
    """Process: send everything back, until it is killed."""
    end_in_time()

    def on_message(message: Any) -> None:
        acknowledge = partial(node.channel.basic_ack, message.delivery_tag)
        node.publish(f"{space}/driver", message.body, acknowledge)

    node = Node(f"{space}/echo", on_message)
    pipe.send("ready")
    while True:
        node.read()


def drive(space: str, count: int, data: bytes) -> list[float]:
    arrived = 0

    def on_message(message: Any) -> None:
        nonlocal arrived
        arrived += 1
        node.channel.basic_ack(message.delivery_tag)

    node = Node(f"{space}/driver", on_message)
    seconds = []
    for number in range(1, count + 1):
        begin = time.perf_counter()
        node.publish(f"{space}/echo", data)
        while arrived < number:
            node.read()
        seconds.append(time.perf_counter() - begin)
    node.channel.basic_cancel(node.tag)
    for name in ("driver", "echo"):
        node.channel.queue_delete(f"{space}/{name}")
    return seconds[count // 10 :]


def measure(work: str, quick: bool) -> Figures:
    space = f"benchmark-{os.urandom(6).hex()}"
    args = {"content": CONTENT if work == "round_trip" else megabyte()}
    told = {"from": "driver", "to": "echo", "action": {"name": "echo", "args": args}}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(space, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(60), "the other process does not answer"
        ours.recv()
        count = COUNT[work] // (5 if quick else 1)
        return p50_and_p99(drive(space, count, json.dumps(told).encode()))
    finally:
        process.kill()
        process.join(10)


if __name__ == "__main__":
    main({work: partial(measure, work) for work in COUNT})

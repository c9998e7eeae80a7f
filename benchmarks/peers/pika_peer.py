"""pika, non-blocking: a raw AMQP client with the guarantees of AMQPSpace. The peer of its rates.

Durable classic queues, persistent and mandatory messages, publisher confirms, one acknowledgement a
message after it was handled and its answer, if any, was confirmed. Nothing is held back: one thread
to a process, everything in pika's own callbacks, up to 1,000 messages unconfirmed and as many
unacknowledged, the body encoded once. Sender and receivers are two processes, as ours are two
applications. It has no agents, checks nothing, and bodies are not even parsed.
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

import pika

from benchmarks.common import (
    CONTENT,
    OUTSTANDING,
    RECEIVERS,
    Figures,
    end_in_time,
    main,
    megabyte,
    p50_and_p99,
    rate,
)

WINDOW = 1_000
COUNT = {
    "round_trip": 1_000,
    "one_way": 50_000,
    "outstanding": 20_000,
    "broadcast": 5_000,
    "large": 100,
}
PROPERTIES = pika.BasicProperties(delivery_mode=2, content_type="application/json")


def body(content: str) -> bytes:
    args = {"content": content}
    told = {"from": "driver", "to": "echo", "action": {"name": "echo", "args": args}}
    return json.dumps(told).encode()


class Node:
    """One connection with one channel; `on_ready` when its queues are there and consumed."""

    def __init__(
        self,
        queues: list[str],
        on_message: Callable[[Any, bytes], None],
        on_ready: Callable[[], None],
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.queues, self.on_message, self.on_ready, self.on_room = (
            queues,
            on_message,
            on_ready,
            on_room,
        )
        self.missing = len(queues)
        self.published = 0
        self.unconfirmed: dict[int, Callable[[], None] | None] = {}
        self.connection = pika.SelectConnection(
            pika.URLParameters(os.environ["AMQP_URL"]),
            on_open_callback=lambda c: c.channel(on_open_callback=self.opened),
        )

    def run(self) -> None:
        self.connection.ioloop.start()

    def stop(self) -> None:
        self.connection.ioloop.stop()

    def opened(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_return_callback(returned)
        channel.confirm_delivery(self.confirmed)
        channel.basic_qos(prefetch_count=WINDOW)
        if not self.queues:
            self.on_ready()
        for name in self.queues:
            declared = partial(self.declared, name)
            channel.queue_declare(
                name, durable=True, arguments={"x-queue-type": "classic"}, callback=declared
            )

    def declared(self, name: str, _frame: Any) -> None:
        self.channel.queue_bind(name, "amq.direct", name.partition("/")[0] + "/*")
        self.channel.basic_consume(name, self.delivered, callback=self.consuming)

    def consuming(self, _frame: Any) -> None:
        self.missing -= 1
        if not self.missing:
            self.on_ready()

    def delivered(self, _channel: Any, method: Any, _properties: Any, data: bytes) -> None:
        self.on_message(method, data)

    def publish(
        self, key: str, data: bytes, then: Callable[[], None] | None = None, exchange: str = ""
    ) -> None:
        self.published += 1
        self.unconfirmed[self.published] = then
        self.channel.basic_publish(exchange, key, data, PROPERTIES, mandatory=True)

    def confirmed(self, frame: Any) -> None:
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        tag = frame.method.delivery_tag
        done = [t for t in self.unconfirmed if t <= tag] if frame.method.multiple else [tag]
        for each in done:
            then = self.unconfirmed.pop(each)
            if then is not None:
                then()
        self.on_room()


def returned(*_: Any) -> None:
    raise RuntimeError("a message was returned: its queue is missing")


def serve(space: str, receivers: int, expected: int, answers: bool, pipe: Connection) -> None:
    """Process: count or answer what arrives, acknowledge each; report when `expected` have come."""
    end_in_time()
    count = 0

    def on_message(method: Any, data: bytes) -> None:
        nonlocal count
        acknowledge = partial(node.channel.basic_ack, method.delivery_tag)
        if answers:
            node.publish(f"{space}/driver", data, acknowledge)
        else:
            acknowledge()
            count += 1
            if count == expected:
                count = 0
                pipe.send(time.perf_counter())

    names = [f"{space}/{number}" for number in range(receivers)]
    node = Node(names, on_message, lambda: pipe.send("ready"))
    node.run()


def drive_answers(space: str, count: int, window: int, data: bytes) -> tuple[list[float], float]:
    """Keep `window` requests outstanding; the times of each, and how long all took."""
    seconds: list[float] = []
    began: list[float] = []
    clock = time.perf_counter

    def ask() -> None:
        began.append(clock())
        node.publish(f"{space}/0", data)

    def start() -> None:
        for _ in range(window):
            ask()

    def on_message(method: Any, _data: bytes) -> None:
        seconds.append(clock() - began[len(seconds)])
        node.channel.basic_ack(method.delivery_tag)
        if len(began) < count:
            ask()
        elif len(seconds) == count:
            node.stop()

    node = Node([f"{space}/driver"], on_message, start)
    node.run()
    warm = count // 10
    return seconds[warm:], began[-1] + seconds[-1] - began[warm]


def drive_flood(count: int, key: str, exchange: str) -> float:
    """Publish `count` messages as fast as confirms come; returns when the first was published."""
    data = body(CONTENT)
    begin = 0.0

    def fill() -> None:
        nonlocal begin
        begin = begin or time.perf_counter()
        while node.published < count and len(node.unconfirmed) < WINDOW:
            node.publish(key, data, None, exchange)
        if not node.unconfirmed:
            node.stop()

    node = Node([], lambda _method, _data: None, fill, fill)
    node.run()
    return begin


def measure(work: str, quick: bool) -> Figures:
    count = COUNT[work] // (5 if quick else 1)
    space = f"benchmark-{os.urandom(6).hex()}"
    receivers = RECEIVERS if work == "broadcast" else 1
    floods = work in {"one_way", "broadcast"}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=serve, args=(space, receivers, count * receivers, not floods, theirs), daemon=True
    )
    process.start()
    try:
        assert ours.poll(60), "the other process does not answer"
        ours.recv()
        if not floods:
            window = OUTSTANDING if work == "outstanding" else 1
            data = body(megabyte() if work == "large" else CONTENT)
            seconds, took = drive_answers(space, count, window, data)
            return rate(len(seconds), 0, took) if window > 1 else p50_and_p99(seconds)
        key, exchange = (f"{space}/*", "amq.direct") if receivers > 1 else (f"{space}/0", "")
        begin = drive_flood(count, key, exchange)
        assert ours.poll(60), "messages are missing"
        return rate(count * receivers, begin, ours.recv())
    finally:
        process.kill()
        process.join(10)
        delete(space, receivers)


def delete(space: str, receivers: int) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
    channel = connection.channel()
    for name in ("driver", *range(receivers)):
        channel.queue_delete(f"{space}/{name}")
    connection.close()


if __name__ == "__main__":
    main({work: partial(measure, work) for work in COUNT})

"""FastStream over RabbitMQ (aio-pika), on uvloop. A peer of AMQPSpace's one-way rate.

Persistent, mandatory, confirmed; acknowledged after the work. Used as its documentation shows: each
publish is awaited before the next, which keeps the order, as ours does. What it reaches if the order is
given up: `faststream_unordered_peer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvloop
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from benchmarks.common import main
from benchmarks.peers.task_queue import MESSAGE, PREFETCH, URL, SendAll, Sink, measure


def broker() -> RabbitBroker:
    channel = Channel(prefetch_count=PREFETCH, on_return_raises=True)
    return RabbitBroker(URL, default_channel=channel, logger=None)


def serve(sink: Sink) -> None:
    uvloop.run(_serve(sink))


async def _serve(sink: Sink) -> None:
    own = broker()

    @own.subscriber(RabbitQueue(sink.queue, durable=True), ack_policy=AckPolicy.REJECT_ON_ERROR)  # type: ignore[untyped-decorator]
    async def take(message: dict[str, Any]) -> None:
        sink.take(message)

    async with own:
        await own.start()
        sink.ready()
        await asyncio.Event().wait()


@contextmanager
def sender(queue: str, under_way: int = 1) -> Iterator[SendAll]:
    """Sends with so many publishes under way at once."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        own = broker()
        runner.run(own.connect())

        async def send(count: int) -> None:
            for _ in range(count):
                await own.publish(MESSAGE, queue, mandatory=True, persist=True)

        async def send_all(count: int) -> None:
            await asyncio.gather(*(send(count // under_way) for _ in range(under_way)))

        yield lambda count: runner.run(send_all(count))
        runner.run(own.stop())


if __name__ == "__main__":
    main({"one_way": partial(measure, serve, sender)})

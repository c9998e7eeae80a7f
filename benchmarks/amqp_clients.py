"""Which AMQP client library carries our messages best: pika, aiormq or py-amqp?

Every client does the same work with the same guarantees, in the shape `agency.spaces.amqp_link`
has: one I/O thread, user threads that hand it publishes and acknowledgements through a deque, a
durable classic queue, persistent and mandatory messages, publisher confirms (at most `WINDOW`
outstanding), manual acknowledgement of each message by a worker thread. Sender and receiver are two
processes. Rounds are interleaved over the clients; the table shows medians and ranges.

    python benchmarks/amqp_clients.py --url amqp://guest:guest@localhost:5672/ --rounds 5

Needs `pip install pika aiormq amqp` and any RabbitMQ; it cleans up behind itself.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import multiprocessing
import os
import queue
import select
import statistics
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

WINDOW = 256
BODY = (
    b'{"from": "sender", "to": "receiver", "action": {"name": "say", "args": {"content": "%s"}}}'
    % (b"x" * 84)
)


class Client:
    """One wrapped library. User threads call `publish`, `ack`; the I/O thread calls `handle_*`."""

    def __init__(self, url: str, queue_name: str, consuming: bool) -> None:
        self.url, self.queue_name, self.consuming = url, queue_name, consuming
        self.work: deque[tuple[str, Any, Any]] = deque()
        self.deliveries: queue.SimpleQueue[tuple[bytes, Any]] = queue.SimpleQueue()
        self.window = threading.Semaphore(WINDOW)
        self.unconfirmed: dict[int, bool] = {}
        self.last_tag = 0
        self.returned = 0
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self) -> None:
        self.thread.start()
        if not self.ready.wait(30):
            raise TimeoutError("no connection within 30 s")

    def publish(self, queue_name: str, body: bytes) -> None:
        self.window.acquire()
        self.work.append(("publish", queue_name, body))
        self.wake()

    def ack(self, tag: Any) -> None:
        self.work.append(("ack", tag, None))
        self.wake()

    def flush(self) -> None:
        for _ in range(WINDOW):
            self.window.acquire()
        self.window.release(WINDOW)

    def sent(self) -> None:
        self.last_tag += 1
        self.unconfirmed[self.last_tag] = True

    def handle_confirm(self, tag: int, multiple: bool) -> None:
        done = [t for t in self.unconfirmed if t <= tag] if multiple else [tag]
        for each in done:
            del self.unconfirmed[each]
        self.window.release(len(done))

    def handle_return(self, *_: Any) -> None:
        self.returned += 1

    def wake(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        raise NotImplementedError


class Pika(Client):
    """`SelectConnection`; one callback drains the whole deque, many frames leave at once."""

    scheduled = False

    def wake(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.connection.ioloop.add_callback_threadsafe(self.drain)

    def drain(self) -> None:
        self.scheduled = False
        while self.work:
            kind, first, second = self.work.popleft()
            if kind == "publish":
                self.sent()
                self.channel.basic_publish("", first, second, self.properties, mandatory=True)
            else:
                self.channel.basic_ack(first)

    def run(self) -> None:
        import pika

        self.properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        self.connection = pika.SelectConnection(
            pika.URLParameters(self.url), on_open_callback=self.opened
        )
        self.connection.ioloop.start()

    def opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self.channel_opened)

    def channel_opened(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_return_callback(self.handle_return)
        channel.confirm_delivery(self.confirmed)
        channel.basic_qos(prefetch_count=WINDOW)
        channel.queue_declare(
            self.queue_name,
            durable=True,
            arguments={"x-queue-type": "classic"},
            callback=self.declared,
        )

    def declared(self, _frame: Any) -> None:
        if not self.consuming:
            self.ready.set()
            return
        self.channel.basic_consume(
            self.queue_name, self.delivered, callback=lambda _frame: self.ready.set()
        )

    def delivered(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self.deliveries.put((body, method.delivery_tag))

    def confirmed(self, frame: Any) -> None:
        self.handle_confirm(frame.method.delivery_tag, frame.method.multiple)


class Aiormq(Client):
    """aiormq on its own event loop; a task per publish, which awaits its confirm."""

    scheduled = False

    def wake(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        self.scheduled = False
        while self.work:
            kind, first, second = self.work.popleft()
            self.tasks.add(
                task := self.loop.create_task(
                    self.publish_one(first, second) if kind == "publish" else self.ack_one(first)
                )
            )
            task.add_done_callback(self.tasks.discard)

    async def ack_one(self, tag: int) -> None:
        await self.channel.basic_ack(tag, wait=False)

    async def publish_one(self, queue_name: str, body: bytes) -> None:
        properties = self.spec.Basic.Properties(delivery_mode=2, content_type="application/json")
        await self.channel.basic_publish(
            body, routing_key=queue_name, properties=properties, mandatory=True, wait=False
        )
        self.window.release()

    def run(self) -> None:
        asyncio.run(self.main())

    async def main(self) -> None:
        aiormq: Any = importlib.import_module("aiormq")

        self.spec = aiormq.spec
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        connection = await aiormq.connect(self.url)
        self.channel = await connection.channel(publisher_confirms=True)
        self.channel.on_return_callbacks.add(self.handle_return)
        await self.channel.basic_qos(prefetch_count=WINDOW)
        await self.channel.queue_declare(
            self.queue_name, durable=True, arguments={"x-queue-type": "classic"}
        )
        if self.consuming:
            await self.channel.basic_consume(self.queue_name, self.delivered)
        self.ready.set()
        await asyncio.Event().wait()

    async def delivered(self, message: Any) -> None:
        self.deliveries.put((message.body, message.delivery_tag))


class PyAmqp(Client):
    """py-amqp in a select loop; a window replaces its own confirm wait (one at a time)."""

    signalled = False

    def wake(self) -> None:
        if not self.signalled:
            self.signalled = True
            os.write(self.signal_write, b"x")

    def run(self) -> None:
        import amqp

        self.signal_read, self.signal_write = os.pipe()
        host, port, user, password, virtual_host = parts(self.url)
        connection = amqp.Connection(
            f"{host}:{port}", user, password, virtual_host=virtual_host, confirm_publish=False
        )
        connection.connect()
        channel = connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self.handle_confirm)
        channel.events["basic_return"].add(self.handle_return)
        channel.basic_qos(0, WINDOW, False)
        channel.queue_declare(
            self.queue_name, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"}
        )
        if self.consuming:
            channel.basic_consume(self.queue_name, callback=self.delivered)
        self.ready.set()
        sock = connection.transport.sock
        while True:
            readable, _, _ = select.select([sock, self.signal_read], [], [])
            if self.signal_read in readable:
                os.read(self.signal_read, 4096)
                self.signalled = False
                while self.work:
                    kind, first, second = self.work.popleft()
                    if kind == "publish":
                        self.sent()
                        message = amqp.Message(
                            second, delivery_mode=2, content_type="application/json"
                        )
                        channel.basic_publish(message, "", first, mandatory=True)
                    else:
                        channel.basic_ack(first)
            if sock in readable:
                try:
                    while True:
                        connection.drain_events(timeout=0)
                except OSError:
                    pass  # nothing more to read

    def delivered(self, message: Any) -> None:
        self.deliveries.put(
            (
                message.body.encode() if isinstance(message.body, str) else message.body,
                message.delivery_tag,
            )
        )


CLIENTS: dict[str, type[Client]] = {"pika": Pika, "aiormq": Aiormq, "py-amqp": PyAmqp}


def parts(url: str) -> tuple[str, int, str, str, str]:
    from urllib.parse import unquote, urlsplit

    split = urlsplit(url)
    return (
        split.hostname or "localhost",
        split.port or 5672,
        unquote(split.username or "guest"),
        unquote(split.password or "guest"),
        unquote(split.path[1:]) or "/",
    )


def connected(name: str, url: str, queue_name: str, *, consume: bool) -> Client:
    client = CLIENTS[name](url, queue_name, consume)
    client.start()
    return client


def receive(name: str, url: str, names: list[str], messages: int, pipe: Any) -> None:
    """Process: take and acknowledge `messages` messages, then report rate and CPU a message."""
    client = connected(name, url, names[0], consume=True)
    cpu = time.process_time()
    pipe.send("ready")
    first = 0.0
    for index in range(messages):
        _, tag = client.deliveries.get(timeout=60)
        if index == 0:
            first = time.perf_counter()
        client.ack(tag)
    pipe.send(
        (messages / (time.perf_counter() - first), (time.process_time() - cpu) / messages * 1e6)
    )
    pipe.recv()
    os._exit(0)


def send(name: str, url: str, names: list[str], messages: int, pipe: Any) -> None:
    """Process: publish `messages` messages and wait for the last confirm."""
    client = connected(name, url, names[0], consume=False)
    cpu = time.process_time()
    for _ in range(messages):
        client.publish(names[0], BODY)
    client.flush()
    assert client.returned == 0
    pipe.send(((time.process_time() - cpu) / messages * 1e6,))
    pipe.recv()
    os._exit(0)


def echo(name: str, url: str, names: list[str], messages: int, pipe: Any) -> None:
    """Process: answer every message on the second queue, then acknowledge it."""
    outgoing = connected(name, url, names[1], consume=False)
    client = connected(name, url, names[0], consume=True)
    pipe.send("ready")
    for _ in range(messages):
        body, tag = client.deliveries.get(timeout=60)
        outgoing.publish(names[1], body)
        client.ack(tag)
    pipe.send(())
    pipe.recv()
    os._exit(0)


def ask(name: str, url: str, names: list[str], messages: int, pipe: Any) -> None:
    """Process: send, wait for the answer, send the next; report p50 and p99 in microseconds."""
    outgoing = connected(name, url, names[0], consume=False)
    client = connected(name, url, names[1], consume=True)
    times = []
    for _ in range(messages):
        begin = time.perf_counter()
        outgoing.publish(names[0], BODY)
        _, tag = client.deliveries.get(timeout=60)
        times.append((time.perf_counter() - begin) * 1e6)
        client.ack(tag)
    settled = sorted(times[messages // 10 :])
    pipe.send((settled[len(settled) // 2], settled[int(len(settled) * 0.99)]))
    pipe.recv()
    os._exit(0)


def measure(
    url: str, name: str, first: Callable[..., None], second: Callable[..., None], messages: int
) -> tuple[float, ...]:
    """Run `first` and, once it is ready, `second`, each in a new process; return their reports."""
    names = [f"bench-{uuid.uuid4().hex}" for _ in range(2)]
    context = multiprocessing.get_context("spawn")
    running = []
    for target in (first, second):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=target, args=(name, url, names, messages, theirs), daemon=True
        )
        process.start()
        theirs.close()
        running.append((process, ours))
        if target is first:
            ours.recv()
    report = tuple(value for _, pipe in running for value in pipe.recv())
    for process, pipe in running:
        pipe.send("stop")
        process.join(10)
    delete_queues(url, names)
    return report


def delete_queues(url: str, names: list[str]) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for name in names:
        channel.queue_delete(name)
    connection.close()


def median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--url", default=os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--round-trips", type=int, default=1_000)
    options = parser.parse_args()
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in CLIENTS}
    for _ in range(options.rounds):
        for name, collected in results.items():
            rate = measure(options.url, name, receive, send, options.messages)
            collected.append((*rate, *measure(options.url, name, echo, ask, options.round_trips)))
    print(
        "| client | one way, messages/s | CPU receiver, µs/message | CPU sender "
        "| round trip p50, µs | p99 |"
    )
    print("|---|---|---|---|---|---|")
    for name, collected in results.items():
        print(
            "|",
            name,
            "|",
            " | ".join(median_and_range(list(column)) for column in zip(*collected, strict=True)),
            "|",
        )


if __name__ == "__main__":
    main()

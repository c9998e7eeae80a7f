"""What an agent is given of its mailbox is begun once and acknowledged once, whoever disturbs it."""

from __future__ import annotations

import json
import os
import queue
import threading
from pathlib import Path
from typing import Any

import amqp
import psutil
import pytest

from agency import Agent, AMQPSpace, action
from agency.spaces.amqp_link import Delivery, Link, Outcome, Topology
from tests.amqp.test_link import Box, send
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.tools import eventually, queues_of, suspend
from tests.programs import PATIENCE, Program

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

PROGRAMS = Path(__file__).with_name("programs")


class Worker(Agent):
    """Remembers what it has begun with, and can be held up."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.begun: list[int] = []
        self.blocks = threading.Event()
        self.release = threading.Event()

    @action
    def block(self) -> None:
        self.blocks.set()
        self.release.wait(PATIENCE)

    @action
    def work(self, n: int) -> int:
        self.begun.append(n)
        return n


def block() -> dict[str, object]:
    return {"to": "bob", "action": {"name": "block"}}


def work(n: int) -> dict[str, object]:
    return {"to": "bob", "action": {"name": "work", "args": {"n": n}}}


def space_of(topology: Topology, broker: BrokerAddress, port: int | None = None) -> AMQPSpace:
    options = options_for(broker, hostname=broker.host, port=port or broker.port)
    return AMQPSpace(options, exchange=topology.space, grace=0.1)


def test_an_acknowledgement_of_who_had_the_id_before_takes_nothing_from_who_has_it_now(
    broker: BrokerAddress, topology: Topology
) -> None:
    link, other = (
        Link.connect(options_for(broker), topology),
        Link.connect(options_for(broker), topology),
    )
    try:
        link.claim("a")
        before = Box(link, "a", acknowledge=False)
        assert send(other, "a", b"1") is Outcome.ACCEPTED
        late = before.next()
        link.release("a", delete_mailbox=True)
        link.claim("a")
        now = Box(link, "a", acknowledge=False)
        assert send(other, "a", b"2") is Outcome.ACCEPTED
        assert now.next().body == b"2"
        link.acknowledge(late)
        link.release("a", delete_mailbox=False)
        other.claim("a")
        assert Box(other, "a").next().body == b"2"
    finally:
        link.close(0)
        other.close(0)


def hostile(broker: BrokerAddress, topology: Topology, **properties: Any) -> None:
    """Publish a message to bob with these properties."""
    message = json.dumps({"from": "ann", **work(-1)})
    with amqp.Connection(f"{broker.host}:{broker.port}", broker.username, broker.password) as other:
        channel = other.channel()
        channel.basic_publish_confirm(
            amqp.Message(message, **properties), exchange=topology.exchange, routing_key="bob"
        )


@pytest.mark.usefixtures("prefetch_of_one")
def test_a_count_that_cannot_be_counted_on_from_stops_nobody(
    broker: BrokerAddress, topology: Topology
) -> None:
    with space_of(topology, broker) as space:
        bob = space.add(Worker("bob"))
        headers = {"agency-hops": 2**63 - 1, "agency-broadcasts": 2**63 - 1}
        for _ in range(2):  # as many as it is given at a time
            hostile(broker, topology, type="request", application_headers=headers)
        assert space.join("ann").request(work(1), timeout=PATIENCE) == 1
        assert bob.begun == [1]
        assert space.dead_letters.counts["hop_limit"] == 2


def test_a_delivery_that_cannot_be_dealt_with_does_not_hold_up_the_next(
    broker: BrokerAddress, topology: Topology
) -> None:
    link = Link.connect(options_for(broker), topology)
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def take(delivery: Delivery) -> None:
        seen.put(delivery.body)
        raise ValueError("this one cannot be dealt with")

    try:
        link.claim("a")
        link.consume("a", take, prefetch=1)
        for body in b"1", b"2":
            assert send(link, "a", body) is Outcome.ACCEPTED
            assert seen.get(timeout=PATIENCE) == body
    finally:
        link.close(0)


def test_who_stood_still_while_his_id_went_to_another_begins_with_nothing_that_he_had(
    broker: BrokerAddress, topology: Topology, tmp_path: Path
) -> None:
    """Whether the process goes on first where it begins with mail or where it hears of the server."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arguments = (PROGRAMS / "stands_still.py", topology.space, fifo)
    env = {"AMQP_URL": f"{broker.url()}?heartbeat=1"}
    with space_of(topology, broker) as elsewhere, Program(*arguments, env=env) as holder:
        process = psutil.Process(int(holder.wait_for("serves").split()[-1]))
        ann = elsewhere.join("ann")
        for _ in range(20):  # its concurrency
            ann.send(block())
            holder.wait_for("blocks")
        for n in range(100):
            ann.send(work(n))
        suspend(process)
        successor = Worker("bob")
        successor.release.set()
        elsewhere.add(successor)
        eventually(lambda: len(successor.begun) == 100)
        writer = os.open(fifo, os.O_RDWR)  # does not wait for who stands still
        process.resume()
        holder.wait_for("consuming connection lost")
        os.close(writer)
        holder.terminate()
        holder.end()
        assert "begins" not in holder.output


def test_an_id_is_free_when_its_process_is_killed_although_a_child_of_it_lives(
    broker: BrokerAddress, topology: Topology
) -> None:
    env = {"AMQP_URL": f"{broker.url()}?heartbeat=600"}
    program = PROGRAMS / "leaves_a_child.py"
    with (
        space_of(topology, broker) as elsewhere,
        Program(program, topology.space, env=env) as holder,
    ):
        child = psutil.Process(int(holder.wait_for("the child is there").split()[-1]))
        try:
            assert elsewhere.join("ann").request(work(1), timeout=PATIENCE) == 1
            holder.kill()
            eventually(lambda: topology.lease("bob") not in queues_of(broker))
            assert child.is_running()
        finally:
            child.kill()

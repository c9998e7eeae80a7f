"""What an agent is given of its mailbox is begun once and acknowledged once, whoever disturbs it."""

from __future__ import annotations

import json
import queue
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import amqp
import pytest

from agency import Agent, AMQPSpace, action
from agency.spaces.amqp_link import Delivery, Link, Outcome, Topology
from tests.amqp.test_link import Box, send
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.proxy import Proxy
from tests.programs import PATIENCE

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


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


@pytest.fixture
def proxy(broker: BrokerAddress) -> Iterator[Proxy]:
    with Proxy(broker.port) as proxy:
        yield proxy


@pytest.fixture
def topology() -> Topology:
    return Topology(f"receiving-{uuid.uuid4().hex}")


@pytest.fixture
def prefetch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agency.spaces.amqp_space._PREFETCH", 1)


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

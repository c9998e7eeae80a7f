"""What an agent is given of its mailbox is begun once and acknowledged once, whoever disturbs it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest

from agency import Agent, AMQPSpace, action
from agency.spaces.amqp_link import Link, Outcome, Topology
from tests.amqp.test_link import Box, send
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.proxy import Proxy
from tests.faults.tools import eventually
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


def test_an_action_that_ends_after_its_agent_was_removed_takes_nothing_from_the_successor(
    broker: BrokerAddress, proxy: Proxy, topology: Topology
) -> None:
    with space_of(topology, broker, proxy.port) as home, space_of(topology, broker) as elsewhere:
        ann = elsewhere.join("ann")
        first = home.add(Worker("bob"))
        ann.send(work(0))
        ann.send(block())
        assert first.blocks.wait(PATIENCE)
        home.remove("bob")
        second = home.add(Worker("bob"))
        ann.send(block())
        assert second.blocks.wait(PATIENCE)
        for n in 1, 2, 3:
            ann.send(work(n))
        first.release.set()
        losses = proxy.accepted
        proxy.cut()
        eventually(lambda: proxy.accepted >= losses + 2)
        second.release.set()
        eventually(lambda: second.begun == [1, 2, 3])

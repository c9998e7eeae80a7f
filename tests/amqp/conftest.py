"""What the tests of AMQPSpace and its link share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from agency.spaces.amqp_topology import Topology
from tests.broker import BrokerAddress
from tests.faults.proxy import Proxy


@pytest.fixture
def proxy(broker: BrokerAddress) -> Iterator[Proxy]:
    """A bad network before the broker."""
    with Proxy(broker.port) as proxy:
        yield proxy


@pytest.fixture
def topology() -> Topology:
    """Of a space of the test's own."""
    return Topology(f"test-{uuid.uuid4().hex}")


@pytest.fixture
def prefetch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents are given one message at a time, so that others wait in the mailbox."""
    monkeypatch.setattr("agency.spaces.amqp_space._PREFETCH", 1)

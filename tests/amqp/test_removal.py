"""What becomes of the mail of an agent that leaves an AMQPSpace."""

from __future__ import annotations

import threading
import uuid

import pytest

from agency import Agent, AgentNotFound, AMQPOptions, AMQPSpace, action
from tests.broker import BrokerAddress
from tests.programs import PATIENCE

pytestmark = pytest.mark.broker

REQUESTS = 100
"""More than the server hands to an agent ahead of time."""


class Slow(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.begun = threading.Event()
        self.release = threading.Event()

    @action
    def block(self) -> None:
        self.begun.set()
        self.release.wait(PATIENCE)

    @action
    def work(self) -> None:
        raise AssertionError("an agent that leaves begins with nothing more")


def test_whoever_waits_for_an_agent_that_leaves_is_told_even_if_the_server_still_has_the_message(
    broker: BrokerAddress,
) -> None:
    options = AMQPOptions.from_environment({"AMQP_URL": broker.url()})
    exchange = f"test-{uuid.uuid4().hex}"
    outcomes: list[type[BaseException]] = []

    def ask(asker: Agent) -> None:
        with pytest.raises(AgentNotFound) as caught:
            asker.request({"to": "slow", "action": {"name": "work"}}, timeout=PATIENCE)
        outcomes.append(caught.type)

    with (
        AMQPSpace(options, exchange=exchange, grace=0.1) as home,
        AMQPSpace(options, exchange=exchange) as elsewhere,
    ):
        slow = home.add(Slow("slow"))
        asker = elsewhere.join()
        asker.send({"to": "slow", "action": {"name": "block"}})
        assert slow.begun.wait(PATIENCE)
        threads = [threading.Thread(target=ask, args=(asker,)) for _ in range(REQUESTS)]
        for thread in threads:
            thread.start()
        home.remove("slow")
        slow.release.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(outcomes) == REQUESTS

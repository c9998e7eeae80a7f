"""What `agency.testing` asks of every space, where it is hardest: on replicated mailboxes, and over a link that is cut
again and again.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Iterator

import pytest

from agency import AMQPSpace, Space
from agency.testing import SharedSpaceConformance, SpaceConformance
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(180)]


class _Replicated:
    @pytest.fixture(autouse=True)
    def _own_exchange(self, broker: BrokerAddress) -> None:
        self.broker = broker
        self.exchange = f"conformance-{secrets.token_hex(8)}"

    def make_space(self) -> Space:
        return AMQPSpace(options_for(self.broker), exchange=self.exchange, replicated=True)


class TestReplicatedMailboxes(_Replicated, SpaceConformance):
    pass


class TestReplicatedMailboxesOfSeveralApplications(_Replicated, SharedSpaceConformance):
    def make_application(self) -> Space:
        return self.make_space()


CANNOT_HOLD = {
    "test_an_id_belongs_to_one_application": "who has lost the link may lose the id",
    "test_an_answer_that_comes_too_late_answers_nothing_else": "a request of 0.2 s may expire without a link",
}
"""Tests that ask for more than a space can do whose link is cut."""


class _OverABadLink:
    """Every link is cut as soon as it is there, and ten times more at random, some three times a second."""

    may_end_with = "the link broke before it was confirmed, and it was not taken again"
    """What was written twice, and had a receiver with room only the first time, may have been handled."""

    @pytest.fixture(autouse=True)
    def _bad_link(
        self,
        request: pytest.FixtureRequest,
        broker: BrokerAddress,
        proxy: Proxy,
        seed: random.Random,
    ) -> Iterator[None]:
        if request.node.name in CANNOT_HOLD:
            pytest.skip(CANNOT_HOLD[request.node.name])
        self.proxy = proxy
        # An `add` waits for longer than it takes to connect again after all of that: 3 heartbeats and 5 s.
        self.options = options_for(broker, hostname="127.0.0.1", port=proxy.port, heartbeat=10)
        self.exchange = f"conformance-{secrets.token_hex(8)}"
        self.cut: list[int] = []
        self.began, over = threading.Event(), threading.Event()

        def cut_at_random() -> None:
            self.began.wait()
            for _ in range(10):
                if over.wait(seed.uniform(0.02, 0.5)):
                    break
                self.cut.append(proxy.cut())

        cutting = threading.Thread(target=cut_at_random)
        cutting.start()
        yield
        no_space_was_made = not self.cut
        over.set()
        self.began.set()
        cutting.join()
        assert no_space_was_made or sum(self.cut) >= 2

    def make_space(self) -> Space:
        space = AMQPSpace(self.options, exchange=self.exchange)
        self.cut.append(self.proxy.cut())
        self.began.set()
        return space


class TestABadLink(_OverABadLink, SpaceConformance):
    pass


class TestABadLinkBetweenApplications(_OverABadLink, SharedSpaceConformance):
    def make_application(self) -> Space:
        return self.make_space()

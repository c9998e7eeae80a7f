"""AMQPSpace keeps every promise, within one application and between several."""

from __future__ import annotations

import secrets

import pytest

from agency import AMQPOptions, AMQPSpace, Space
from agency.testing import SharedSpaceConformance, SpaceConformance
from tests.broker import BrokerAddress

pytestmark = pytest.mark.broker


class _OnTheBroker:
    """Each test has an exchange, and so a space, of its own."""

    @pytest.fixture(autouse=True)
    def _own_exchange(self, broker: BrokerAddress) -> None:
        self.broker = broker
        self.exchange = f"conformance-{secrets.token_hex(8)}"

    def make_space(self) -> Space:
        options = AMQPOptions.from_environment({"AMQP_URL": self.broker.url()})
        return AMQPSpace(amqp_options=options, exchange=self.exchange)


class TestAMQPSpace(_OnTheBroker, SpaceConformance):
    pass


class TestAMQPSpaceOfSeveralApplications(_OnTheBroker, SharedSpaceConformance):
    def make_application(self) -> Space:
        return self.make_space()

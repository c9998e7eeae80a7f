"""What every test may ask for, and how a run is set up.

The processes of a run share one private RabbitMQ (`broker.py`), booted when the first test asks for
it; a broker that is missing is a failure, never a skip. A test keeps apart from the others by an
exchange name or a virtual host of its own.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.broker import BrokerAddress, BrokerOnDemand

_on_demand = pytest.StashKey[BrokerOnDemand]()
_ticket = "agency_broker_ticket"


def pytest_configure(config: pytest.Config) -> None:
    """The process that runs the tests, or hands them out under xdist, owns the broker.

    A run that a shell put in the background ignores Ctrl-C, and so would the programs it tests.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.stash[_on_demand] = BrokerOnDemand(os.environ)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by xdist in the owner, for each process it starts."""
    node.workerinput[_ticket] = node.config.stash[_on_demand].ticket()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The end of the run, also after Ctrl-C."""
    if on_demand := config.stash.get(_on_demand, None):
        on_demand.close()


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> BrokerAddress:
    """The run's RabbitMQ: `broker.url(vhost)`, and `broker.rabbitmqctl(...)` if it is private.

    Other tests use it at the same time: it must not be stopped, and a test's names must be its own.
    A test that stops or kills a broker starts one for itself, with `tests.broker.Broker`.
    """
    if on_demand := pytestconfig.stash.get(_on_demand, None):
        return on_demand.address()
    return BrokerOnDemand.ask(getattr(pytestconfig, "workerinput")[_ticket])  # noqa: B009  xdist's, not in the type


@pytest.fixture(autouse=True)
def _no_amqp_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees only those AMQP settings that it makes itself, not those of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("AMQP_")]:
        monkeypatch.delenv(name)

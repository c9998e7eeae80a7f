"""What the tests of faults may ask for besides what every test may."""

from __future__ import annotations

import os
import random
import secrets
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import pytest

from agency import AMQPOptions, AMQPSpace, LocalSpace, NativeSpace, OutcomeUnknown, Space
from tests.broker import Broker, BrokerAddress
from tests.faults.figures import Figures, Row, table
from tests.faults.ledger import Ledger
from tests.faults.proxy import Proxy
from tests.faults.tools import relieve

MakeSpace = Callable[..., Space]


@pytest.fixture(
    params=["NativeSpace", "LocalSpace", pytest.param("AMQPSpace", marks=pytest.mark.broker)]
)
def kind(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def make_space(kind: str, figures: Figures, request: pytest.FixtureRequest) -> Iterator[MakeSpace]:
    """Makes spaces of each kind, all with the same members on AMQP; destroys those that are left."""
    made: list[Space] = []
    exchange = f"faults-{uuid.uuid4().hex}"

    def make(**options: Any) -> Space:
        if kind == "AMQPSpace":
            broker: BrokerAddress = request.getfixturevalue("broker")
            made.append(AMQPSpace(options_for(broker), exchange=exchange, **options))
        elif kind == "LocalSpace":
            made.append(LocalSpace(**options))
        else:
            made.append(NativeSpace(**options))
        return made[-1]

    yield make
    for space in made:
        figures.stop(space)


@pytest.fixture
def space(make_space: MakeSpace) -> Space:
    return make_space()


def options_for(broker: BrokerAddress, **others: object) -> AMQPOptions:
    """How to reach the broker, with a heartbeat that lets faults be noticed within a test."""
    options = AMQPOptions.from_environment({"AMQP_URL": broker.url()})
    return AMQPOptions(**(vars(options) | {"heartbeat": 1} | others))


@pytest.fixture
def vhost(broker: BrokerAddress) -> Iterator[BrokerAddress]:
    """The shared broker, in a virtual host of the test's own."""
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    name = f"faults-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", name)
    broker.rabbitmqctl("set_permissions", "--vhost", name, broker.username, ".*", ".*", ".*")
    yield BrokerAddress(port=broker.port, vhost=name, ctl=broker.ctl, env=broker.env)
    broker.rabbitmqctl("delete_vhost", name)


@pytest.fixture(scope="session")
def _victim() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def own_broker(_victim: Broker) -> Iterator[Broker]:
    """A broker to which a test may do what it likes; the next test finds it well again."""
    yield _victim
    _victim.thaw()
    if _victim.pid is None:
        _victim.start()
    relieve(_victim)


@pytest.fixture
def proxy(broker: BrokerAddress) -> Iterator[Proxy]:
    """A bad network before the shared broker."""
    with Proxy(broker.port) as proxy:
        yield proxy


@pytest.fixture
def figures(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Figures]:
    """What the test has to tell of its load and its spaces; shown when the run ends."""
    name: str = request.node.name
    figures = Figures(name.removeprefix("test_").replace("_", " "))
    yield figures
    for row in figures.rows():
        record_property("figures", asdict(row))


@pytest.fixture
def ledger(tmp_path: Path, figures: Figures) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger")
    yield ledger
    ledger.close()
    figures.add(ledger.verdict())


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> random.Random:
    """Chance that can be repeated: `SEED=...` in the environment, or else printed when a test fails."""
    value = int(os.environ.get("SEED") or secrets.randbits(32))
    print(f"repeat with SEED={value}")  # noqa: T201  # pytest shows it with a failure
    record_property("seed", value)
    return random.Random(value)  # noqa: S311


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A class of tests may say with `may_end_with` what an `OutcomeUnknown` is about that its tests cannot
    avoid: who asked was told the truth, and the rest of the test has no sense.
    """
    try:
        return (yield)
    except OutcomeUnknown as error:
        expected: str | None = getattr(pyfuncitem.cls, "may_end_with", None)
        if expected is None or expected not in str(error):
            raise
        pyfuncitem.user_properties.append(("unknown", pyfuncitem.name))
        return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Called where `tests/faults` was named in the command, as by `make faults` and `make soak`."""
    properties = [
        pair
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for pair in report.user_properties
    ]
    unknown = sorted({str(value) for name, value in properties if name == "unknown"})
    if unknown:
        terminalreporter.section("ended early, with an outcome that nobody knows")
        terminalreporter.write_line(", ".join(unknown))
    rows = [
        Row(**value) for name, value in properties if name == "figures" and isinstance(value, dict)
    ]
    if rows := sorted((row for row in rows if row.faults), key=astuple):
        terminalreporter.section("figures")
        terminalreporter.write_line(table(rows))

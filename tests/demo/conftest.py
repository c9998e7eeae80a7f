"""The demo's folder is where its programs start, so its modules are found from there here, too."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.broker import BrokerAddress
from tests.demo.terminal_program import DEMO, TerminalProgram

sys.path.insert(0, str(DEMO))

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Programs(ExitStack):
    """Starts programs in terminals of their own; all of them are gone at the end."""

    def start(self, *arguments: str, **environment: str) -> TerminalProgram:
        return self.enter_context(TerminalProgram(*arguments, **environment))


@pytest.fixture
def programs() -> Iterator[Programs]:
    with Programs() as running:
        yield running


@pytest.fixture
def amqp(broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch) -> str:
    """A virtual host of one's own, as the AMQP_URL of the programs that the test starts."""
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"demo-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    monkeypatch.setenv("AMQP_URL", broker.url(vhost))
    return broker.url(vhost)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "Chromium is missing; scripts/system-packages chromium brings it"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=found, args=OPTIONS) as running,
    ):
        yield running

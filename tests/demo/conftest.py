"""The demo's folder is where its programs start, so its modules are found from there here, too."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, sync_playwright

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "Chromium is missing; scripts/system-packages chromium brings it"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=found, args=OPTIONS) as running,
    ):
        yield running

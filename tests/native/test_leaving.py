"""An agent that leaves cleans up, whatever its actions do, and nobody waits for that without end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from agency import Agent, NativeSpace, action
from agency.testing.agents.basics import LIMIT


class Stuck(Agent):
    """Has actions that do not end before the test does, and cleans up in async code."""

    def __init__(self, id: str, go_on: threading.Event) -> None:
        super().__init__(id)
        self.begun = threading.Event()
        self.has_cleaned_up = False
        self._go_on = go_on

    @action
    def block(self) -> None:
        self.begun.set()
        self._go_on.wait()

    @action
    async def wait(self) -> None:
        self.begun.set()
        await asyncio.to_thread(self._go_on.wait)

    async def before_remove(self) -> None:
        await asyncio.sleep(0)
        self.has_cleaned_up = True


class Lingering(Agent):
    def __init__(self, id: str, go_on: threading.Event) -> None:
        super().__init__(id)
        self._go_on = go_on

    def before_remove(self) -> None:
        self._go_on.wait()


class AsyncLingering(Lingering):
    async def before_remove(self) -> None:  # type: ignore[override]  # callbacks may be either
        await asyncio.to_thread(self._go_on.wait)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("name", ["block", "wait"])
def test_an_agent_cleans_up_beside_an_action_that_does_not_end(
    go_on: threading.Event, name: str
) -> None:
    with NativeSpace(grace=0) as space:
        agent = space.add(Stuck("stuck", go_on))
        space.join().send({"to": "stuck", "action": {"name": name}})
        assert agent.begun.wait(LIMIT)
        space.remove(agent)
        assert agent.has_cleaned_up
        go_on.set()


@pytest.mark.parametrize("kind", [Lingering, AsyncLingering])
def test_who_does_not_finish_cleaning_up_is_removed_all_the_same(
    go_on: threading.Event, kind: type[Lingering], caplog: pytest.LogCaptureFixture
) -> None:
    with NativeSpace(grace=0) as space:
        space.add(kind("lingering", go_on))
        with caplog.at_level(logging.ERROR, logger="agency"):
            space.remove("lingering")
        assert 'before_remove of "lingering"' in caplog.text
        assert "did not return within 1.0 seconds" in caplog.text
        space.add(Agent("lingering"))
        go_on.set()


class Elsewhere(NativeSpace):
    """Keeps how long agents in other processes would have to leave."""

    left = -1.0

    def _shut_down(self) -> None:
        self.left = self.grace_left()


def test_the_grace_is_one_for_all_agents_wherever_they_are(go_on: threading.Event) -> None:
    space = Elsewhere(grace=0.2)
    agent = space.add(Stuck("stuck", go_on))
    space.join().send({"to": "stuck", "action": {"name": "block"}})
    assert agent.begun.wait(LIMIT)
    space.destroy()
    assert space.left == 0
    patient = Elsewhere(grace=1000 * LIMIT)
    patient.join()
    patient.destroy()
    assert patient.left > 900 * LIMIT

"""What agents of this process cost while they have nothing to do, and what a blocking one costs the others."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agency import AgencyError, Agent, NativeSpace, action
from tests.programs import PATIENCE


class Idle(Agent):
    @action
    def thread(self) -> str:
        return threading.current_thread().name


class Blocking(Agent):
    """Blocks until the event is set that it was given."""

    def __init__(self, id: str, event: threading.Event) -> None:
        super().__init__(id)
        self.event = event

    @action
    def block(self) -> bool:
        return self.event.wait(PATIENCE)


class BlockingLoop(Agent):
    """Blocks its own event loop, which no well-behaved agent would."""

    def __init__(self, id: str, event: threading.Event) -> None:
        super().__init__(id)
        self.event = event

    @action
    async def block(self) -> bool:
        return self.event.wait(PATIENCE)


class LeavesTask(Agent):
    """Starts a task in one action that sets an event when a later action lets it."""

    def __init__(self, id: str, ended: threading.Event) -> None:
        super().__init__(id)
        self.ended = ended
        self.gate: asyncio.Event | None = None
        self.task: asyncio.Task[None] | None = None

    @action
    async def start(self) -> None:
        self.gate = asyncio.Event()
        self.task = asyncio.create_task(self._wait())

    @action
    async def open(self) -> None:
        assert self.gate is not None
        self.gate.set()

    async def _wait(self) -> None:
        assert self.gate is not None
        await self.gate.wait()
        self.ended.set()


def test_a_hundred_thousand_idle_agents_live_in_one_process_without_a_thread() -> None:
    before = threading.active_count()
    with NativeSpace() as space:
        for number in range(100_000):
            space.add(Idle, f"agent-{number}")
        assert threading.active_count() <= before
        me = space.join()
        assert me.proxy("agent-99999").thread().startswith("agency-NativeSpace")


def test_agents_that_work_one_after_the_other_share_a_thread() -> None:
    with NativeSpace() as space:
        for number in range(10):
            space.add(Idle, f"agent-{number}")
        me = space.join()
        threads = {me.proxy(f"agent-{number}").thread() for number in range(10)}
    assert len(threads) <= 2  # the one before may not be back yet when the next is needed


@pytest.mark.parametrize("agent_class", [Blocking, BlockingLoop])
def test_a_hundred_blocking_agents_delay_no_other(
    agent_class: type[Blocking | BlockingLoop],
) -> None:
    release = threading.Event()
    with NativeSpace() as space:
        for number in range(100):
            space.add(agent_class, f"blocking-{number}", release)
        space.add(Idle, "free")
        me = space.join()
        for number in range(100):
            me.send({"to": f"blocking-{number}", "action": {"name": "block"}})
        assert me.proxy("free", timeout=PATIENCE).thread()
        release.set()
        answers = [me.receive(PATIENCE)["action"]["args"]["data"] for _ in range(100)]
    assert answers == [True] * 100


def test_a_task_that_an_action_leaves_behind_goes_on_while_the_agent_is_idle() -> None:
    ended = threading.Event()
    with NativeSpace() as space:
        space.add(LeavesTask, "tasks", ended)
        me = space.join()
        me.proxy("tasks").start()
        me.proxy("tasks").open()
        assert ended.wait(PATIENCE)


def test_a_task_that_never_ends_does_not_keep_the_agent_from_leaving() -> None:
    before = threading.active_count()
    with NativeSpace() as space:
        space.add(LeavesTask, "tasks", threading.Event())
        space.join().proxy("tasks").start()
        space.remove("tasks")
    assert threading.active_count() <= before


def test_adding_removing_and_destroying_from_many_threads_leaves_nothing() -> None:
    before = threading.active_count()
    for round_ in range(20):
        space = NativeSpace()
        visitors = [Visitor(space, f"{round_}-{number}") for number in range(7)]
        for visitor in visitors:
            visitor.start()
        if round_ % 2:
            visitors[0].join(PATIENCE)
        space.destroy()
        for visitor in visitors:
            visitor.join(PATIENCE)
        assert {
            type(error).__name__ for visitor in visitors for error in visitor.errors
        } <= EXPECTED
    assert threading.active_count() <= before


class Visitor(threading.Thread):
    """Adds, asks and removes agents until it is done or the space is destroyed."""

    def __init__(self, space: NativeSpace, name: str) -> None:
        super().__init__(name=name)
        self.space = space
        self.errors: list[AgencyError] = []

    def run(self) -> None:
        try:
            for number in range(20):
                self.space.add(Idle, f"agent-{self.name}-{number}")
                guest = self.space.join(f"guest-{self.name}-{number}")
                guest.proxy(f"agent-{self.name}-{number}").thread()
                if number % 2:
                    self.space.remove(f"agent-{self.name}-{number}")
        except AgencyError as error:
            self.errors.append(error)


EXPECTED = {"SpaceClosed", "AgentNotFound", "NotInSpace", "OutcomeUnknown", "UnknownAgent"}
"""What the users of a space may meet that is being destroyed: never a hang, never anything else."""


def test_an_agent_that_has_left_may_come_again() -> None:
    with NativeSpace() as space:
        agent = space.add(Idle("wanderer"))
        leaving = agent.leaving
        space.remove(agent)
        assert leaving.is_set()
        space.add(agent)
        assert not agent.leaving.is_set()
        assert space.join().proxy("wanderer").thread()

"""An agent whose own tasks stop or cancel what serves it lives on, and who waits for it is told."""

from __future__ import annotations

import asyncio

import pytest

from agency import ActionError, Agent, NativeSpace, action
from tests.programs import PATIENCE


class Hostile(Agent):
    """Does to its event loop what no agent should."""

    @action
    async def cancel_all_others(self) -> str:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        return "done"

    @action
    async def cancel_all(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)

    @action
    async def stop(self) -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "done"

    @action
    async def leave_a_task_that_cancels_all(self) -> str:
        self._task = asyncio.create_task(self.cancel_all_others())
        return "done"


@pytest.mark.parametrize("name", ["cancel_all_others", "stop", "leave_a_task_that_cancels_all"])
def test_an_agent_that_stops_or_cancels_its_own_loop_goes_on(name: str) -> None:
    with NativeSpace() as space:
        space.add(Hostile, "hostile")
        hostile = space.join("me").proxy("hostile", timeout=PATIENCE)
        for _ in range(3):
            assert hostile[name]() == "done"


def test_an_action_that_cancels_itself_with_all_others_has_failed() -> None:
    with NativeSpace() as space:
        space.add(Hostile, "hostile")
        hostile = space.join("me").proxy("hostile", timeout=PATIENCE)
        for _ in range(3):
            with pytest.raises(ActionError, match="CancelledError"):
                hostile.cancel_all()
        assert hostile.stop() == "done"

"""The process of an agent is killed while somebody decides whether it may act: nothing is left of the question."""

from __future__ import annotations

import queue
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from agency import ActionNotPermitted, Agent, AMQPSpace, Guest, LocalSpace, OutcomeUnknown, action
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.members import Awaiting
from tests.faults.test_workers import ENVIRONMENT, PROGRAMS
from tests.faults.tools import begin
from tests.programs import PATIENCE, Program

pytestmark = pytest.mark.timeout(180)


class Approver(Agent):
    """Decides when the test does, for each process that asks. Lives in the process of the test."""

    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=8)
        self.asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._decisions: defaultdict[int, Future[bool]] = defaultdict(Future)
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()

    @action
    def decide(self, process: int) -> bool:
        decision = self._decisions[process]
        self.asked.put(process)
        permitted = decision.result(PATIENCE * 3)
        self._told.put(process)
        return permitted

    def say(self, process: int, *, permitted: bool) -> None:
        """Decide what this process asks, and return when that was done."""
        self._decisions[process].set_result(permitted)
        assert self._told.get(timeout=PATIENCE) == process


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    path = tmp_path / "effects"
    path.touch()
    return path


def act(me: Guest, number: int) -> Callable[[], object]:
    message = {"to": "bob", "action": {"name": "act", "args": {"number": number}}}
    return lambda: me.request(message, timeout=PATIENCE * 3)


def nothing_has_run(me: Guest, effects: Path) -> bool:
    """Whether there is no effect, after time enough for an answer to find its way."""
    for _ in range(2):
        me.proxy("bob", timeout=PATIENCE).process()
    return effects.read_text() == ""


def test_a_worker_killed_while_it_waits_for_permission_has_not_acted_and_its_successor_asks_anew(
    effects: Path,
) -> None:
    with LocalSpace(grace=1.0) as space:
        approver, me = space.add(Approver("approver")), space.join("me")
        space.add(Awaiting, "bob", effects)
        asking = begin(act(me, 1))
        first = approver.asked.get(timeout=PATIENCE)
        psutil.Process(first).kill()
        assert isinstance(asking.exception(PATIENCE), OutcomeUnknown)

        asking = begin(act(me, 2))
        second = approver.asked.get(timeout=PATIENCE)
        assert second != first
        approver.say(first, permitted=True)
        assert nothing_has_run(me, effects)
        assert not asking.done()
        approver.say(second, permitted=False)
        assert isinstance(asking.exception(PATIENCE), ActionNotPermitted)
        assert nothing_has_run(me, effects)
        assert approver.asked.empty()


@pytest.mark.broker
@pytest.mark.parametrize("permitted", [False, True])
def test_a_process_killed_while_it_waits_for_permission_has_not_acted_and_its_successor_asks_anew(
    broker: BrokerAddress, effects: Path, permitted: bool
) -> None:
    exchange = f"pending-{uuid.uuid4().hex}"
    command = PROGRAMS / "receives.py", exchange, str(effects), "Awaiting"
    environment = ENVIRONMENT | {"AMQP_URL": f"{broker.url()}?heartbeat=1"}
    with AMQPSpace(options_for(broker), exchange=exchange) as space:
        approver, me = space.add(Approver("approver")), space.join("me")
        with Program(*command, env=environment) as bob:
            bob.wait_for("serves")
            asking = begin(act(me, 1))
            first = approver.asked.get(timeout=PATIENCE)
            bob.kill()
            bob.end()
        with Program(*command, env=environment) as successor:
            successor.wait_for("serves")
            second = approver.asked.get(
                timeout=PATIENCE
            )  # about the same message, which came again
            assert second != first
            approver.say(first, permitted=True)
            assert nothing_has_run(me, effects)
            assert not asking.done()
            approver.say(second, permitted=permitted)
            if permitted:
                assert asking.result(PATIENCE) == "done"
            else:
                assert isinstance(asking.exception(PATIENCE), ActionNotPermitted)
            me.proxy("bob", timeout=PATIENCE).process()
            assert effects.read_text() == ("1\n" if permitted else "")
            assert approver.asked.empty()

"""What comes again after the death of a receiver, or of a link: what is run again, what is not, and who is told."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agency import Agent, AMQPSpace, Guest, OutcomeUnknown, action
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.ledger import Ledger
from tests.faults.members import Lasting
from tests.faults.proxy import Proxy
from tests.faults.test_workers import ENVIRONMENT, PROGRAMS
from tests.faults.tools import begin, ends, eventually
from tests.programs import PATIENCE, Program

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

OpenSpace = Callable[..., AMQPSpace]


def call(name: str, number: int) -> dict[str, Any]:
    return {"id": str(number), "to": "bob", "action": {"name": name, "args": {"number": number}}}


@pytest.fixture
def exchange() -> str:
    return f"redelivery-{uuid.uuid4().hex}"


@pytest.fixture
def open_space(broker: BrokerAddress, exchange: str) -> Iterator[OpenSpace]:
    """Opens an application of the space; on another port, it goes through the bad network."""
    with ExitStack() as stack:

        def open_one(port: int = broker.port, **options: Any) -> AMQPSpace:
            where = options_for(broker, port=port, hostname="127.0.0.1")
            space = AMQPSpace(where, exchange=exchange, **options)
            stack.callback(lambda: ends(space.destroy))
            return space

        yield open_one


@pytest.fixture
def space(open_space: OpenSpace, ledger: Ledger) -> AMQPSpace:
    space = open_space(grace=0.5)
    space.dead_letters.listen(ledger.dead)
    return space


@pytest.fixture
def ann(space: AMQPSpace) -> Guest:
    return space.join("ann")


@pytest.fixture
def bob(broker: BrokerAddress, exchange: str, tmp_path: Path) -> Iterator[Program]:
    """An application with bob, who will die."""
    environment = ENVIRONMENT | {"AMQP_URL": f"{broker.url()}?heartbeat=1"}
    command = PROGRAMS / "receives.py", exchange, str(tmp_path / "ledger"), "Lasting"
    with Program(*command, env=environment) as program:
        program.wait_for("serves")
        yield program


@pytest.fixture
def succeed(bob: Program, space: AMQPSpace, tmp_path: Path) -> Callable[[], None]:
    """Kills bob, and has another bob there."""

    def succeed() -> None:
        bob.kill()
        bob.end()
        space.add(Lasting, "bob", tmp_path / "ledger")

    return succeed


def test_what_a_dead_process_had_begun_is_begun_again_and_told_so(
    ann: Guest, succeed: Callable[[], None], space: AMQPSpace, ledger: Ledger
) -> None:
    answer = begin(lambda: ann.request(call("again", 0), timeout=None))
    eventually(lambda: ledger.count("begun") == 1)
    succeed()
    assert answer.result(PATIENCE) == "run again"
    assert space.dead_letters.counts == {}


@pytest.mark.parametrize("form", ["plain", "asynchronous", "produced"])
def test_an_action_that_is_run_at_most_once_is_not_run_again_and_who_waits_is_told(
    ann: Guest, succeed: Callable[[], None], space: AMQPSpace, ledger: Ledger, form: str
) -> None:
    with ledger.sending("ann", "bob", 0):
        answer = begin(lambda: ann.request(call(form, 0), timeout=None))
        eventually(lambda: ledger.count("begun") == 1)
    succeed()
    assert isinstance(answer.exception(PATIENCE), OutcomeUnknown)
    assert ann.proxy("bob").process()
    assert ledger.verdict().is_clean()
    assert space.dead_letters.counts == {"perhaps_begun": 1}


def test_a_stream_that_is_run_at_most_once_ends_as_unknown(
    ann: Guest, succeed: Callable[[], None]
) -> None:
    stream = ann.stream(call("produced", 0), timeout=None)
    assert next(stream) == 0
    succeed()
    outcome = begin(lambda: next(stream))
    assert isinstance(outcome.exception(PATIENCE), OutcomeUnknown)


def test_a_sender_that_does_not_wait_gets_an_error_for_all_that_the_dead_process_had_been_given(
    ann: Guest, succeed: Callable[[], None], space: AMQPSpace, ledger: Ledger
) -> None:
    for number in range(3):
        with ledger.sending("ann", "bob", number):
            ann.send(call("plain", number))
    eventually(lambda: ledger.count("begun") == 1)
    succeed()
    told = [ann.receive(PATIENCE)["action"] for _ in range(3)]
    assert {one["name"] for one in told} == {"error"}
    assert [one["args"]["original_message_id"] for one in told] == ["0", "1", "2"]
    with ledger.sending("ann", "bob", 3):
        assert ann.request(call("quick", 3)) is False
    assert space.dead_letters.counts == {"perhaps_begun": 3}
    assert ledger.verdict().is_clean(losses_told=True)


class Slow(Agent):
    """Begins, and waits until it is let go. Nothing may be run twice."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.began: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.go = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    @action(at_most_once=True)
    def work(self, number: int) -> None:
        self.began.put(number)
        self.go.acquire(timeout=PATIENCE)

    @action
    def work_again(self, number: int) -> None:
        self.work(number)

    def begun(self, count: int) -> list[int]:
        """The numbers of so many that it has begun with."""
        return [self.began.get(timeout=PATIENCE) for _ in range(count)]


def waiting_for(agent: Agent) -> int:
    """How many messages have come for the agent that it has not begun with."""
    return len(agent._agency.home.mailbox)  # type: ignore[union-attr]  # noqa: SLF001


def test_a_cut_link_keeps_nothing_from_being_run_that_is_run_at_most_once(
    open_space: OpenSpace, proxy: Proxy, ann: Guest
) -> None:
    shaky = open_space(proxy.port)
    slow = shaky.add(Slow("bob"))
    for number in range(5):
        ann.send(call("work", number))
    assert slow.begun(1) == [0]
    eventually(lambda: waiting_for(slow) == 4)
    proxy.cut()
    for _ in range(5):
        slow.go.release()
    assert slow.begun(4) == [1, 2, 3, 4]
    assert shaky.dead_letters.counts == {}


def test_who_has_lost_its_id_begins_with_none_of_the_mail_that_it_had(
    open_space: OpenSpace, proxy: Proxy, ann: Guest
) -> None:
    cut_off = open_space(proxy.port, grace=0.5)
    former = cut_off.add(Slow("bob"))
    for number in range(5):
        ann.send(call("work_again", number))
    assert former.begun(1) == [0]
    eventually(lambda: waiting_for(former) == 4)
    proxy.refuse()
    eventually(lambda: cut_off._inboxes["bob"].losses == 1)  # noqa: SLF001  # it has noticed
    successor = open_space().add(Slow("bob"))
    for _ in range(5):
        successor.go.release()
        former.go.release()
    assert successor.begun(5) == [0, 1, 2, 3, 4]
    eventually(lambda: waiting_for(former) == 0)
    assert former.began.empty()

"""Faults between an application and its broker: links that break, stall, lie, and come back."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agency import ACCESS_REQUESTED, Agent, AMQPSpace, NotAccepted, OutcomeUnknown, action
from agency.spaces import amqp_space
from agency.spaces.amqp_link import Link, Outcome, Properties, Topology
from tests.broker import Broker, BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.load import note, send_notes
from tests.faults.members import Recorder
from tests.faults.proxy import Proxy
from tests.faults.tools import (
    begin,
    consumers_of,
    ends,
    eventually,
    leaves_nothing_behind,
    queues_of,
)
from tests.programs import PATIENCE

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


class Applications:
    """Applications of one space: each straight to the broker, or through the bad network."""

    def __init__(
        self, broker: BrokerAddress, proxy: Proxy, ledger: Ledger, path: Path, figures: Figures
    ) -> None:
        self.broker, self.proxy, self.ledger, self.path = broker, proxy, ledger, path
        self.figures = figures
        self.exchange = f"network-{random.getrandbits(64):x}"
        self.stack = ExitStack()
        self.number = 0

    def direct(self) -> AMQPSpace:
        return self._open(self.broker.port)

    def through_proxy(self) -> AMQPSpace:
        return self._open(self.proxy.port)

    def _open(self, port: int) -> AMQPSpace:
        space = AMQPSpace(
            options_for(self.broker, port=port, hostname="127.0.0.1"), exchange=self.exchange
        )
        self.stack.callback(self.figures.stop, space)
        space.dead_letters.listen(self.ledger.dead)
        return space

    def send(self, me: Agent, count: int, to: str = "bob") -> None:
        """Send the next so many, noted in the ledger."""
        send_notes(self.ledger, me, to, range(self.number, self.number + count))
        self.number += count

    def drained(self) -> None:
        """Return when all that was accepted has been begun with."""
        eventually(lambda: not self.ledger.verdict().lost, lambda: str(self.ledger.verdict()))

    def clean(self) -> bool:
        self.drained()
        return self.ledger.verdict().is_clean()

    def consumers(self, agent_id: str) -> int:
        """How many take mail from the agent's mailbox, as the broker says."""
        return consumers_of(self.broker, Topology(self.exchange).mailbox(agent_id))


@pytest.fixture
def applications(
    broker: BrokerAddress, proxy: Proxy, ledger: Ledger, tmp_path: Path, figures: Figures
) -> Iterator[Applications]:
    applications = Applications(broker, proxy, ledger, tmp_path / "ledger", figures)
    with leaves_nothing_behind(), applications.stack:
        yield applications


def both_through_the_proxy(applications: Applications) -> tuple[AMQPSpace, Agent]:
    """A receiver and a sender, in two applications, behind the bad network."""
    receiving, sending = applications.through_proxy(), applications.through_proxy()
    receiving.add(Recorder, "bob", applications.path)
    return sending, sending.join("ann")


def test_links_cut_at_random_lose_double_and_reorder_nothing(
    applications: Applications, seed: random.Random
) -> None:
    cut_at_random(applications, seed, cuts=5)


@pytest.mark.long
@pytest.mark.timeout(900)  # each cut is followed by two connections and a lease: three seconds
def test_sixty_random_cuts(applications: Applications, seed: random.Random) -> None:
    cut_at_random(applications, seed, cuts=60)


def cut_at_random(applications: Applications, chance: random.Random, cuts: int) -> None:
    _, ann = both_through_the_proxy(applications)
    for _ in range(cuts):
        before, number = applications.proxy.accepted, applications.number
        sending = begin(lambda: applications.send(ann, 200))
        eventually(lambda number=number: applications.ledger.count("begun") > number)  # type: ignore[misc]
        for _ in range(chance.randrange(1, 3)):
            applications.ledger.fault("links cut")
            applications.proxy.cut()
        ends(sending.result)
        eventually(lambda before=before: applications.proxy.accepted > before)  # type: ignore[misc]
    assert applications.clean()
    eventually(lambda: applications.consumers("bob") == 1)


@pytest.mark.parametrize(
    "ways",
    [
        ("to_server", "to_client"),
        pytest.param(("to_server",), marks=pytest.mark.long),
        pytest.param(("to_client",), marks=pytest.mark.long),
    ],
)
def test_a_link_that_falls_silent_is_noticed_and_made_again(
    applications: Applications, ways: tuple[Any, ...]
) -> None:
    """Nobody is told by TCP; the heartbeat finds out, and what was under way is sent again, once."""
    _, ann = both_through_the_proxy(applications)
    applications.send(ann, 20)
    before = applications.proxy.accepted
    applications.ledger.fault("links silent")
    applications.proxy.stall(*ways)
    sending = begin(lambda: applications.send(ann, 20))
    eventually(lambda: applications.proxy.accepted > before)
    applications.proxy.resume()
    ends(sending.result, limit=60.0)
    assert applications.clean()


@pytest.mark.parametrize("way", ["to_server", "to_client"])
def test_a_link_of_which_one_half_is_closed_is_made_again(
    applications: Applications, way: Any
) -> None:
    _, ann = both_through_the_proxy(applications)
    applications.send(ann, 20)
    before = applications.proxy.accepted
    applications.ledger.fault("half closed")
    applications.proxy.half_close(way)
    sending = begin(lambda: applications.send(ann, 20))
    eventually(lambda: applications.proxy.accepted > before)
    ends(sending.result, limit=60.0)
    assert applications.clean()


def test_bytes_that_come_one_by_one_and_late_are_only_slow(applications: Applications) -> None:
    _, ann = both_through_the_proxy(applications)
    applications.proxy.delay(0.0001, jitter=0.0002)
    applications.proxy.slice(1)
    applications.send(ann, 20)
    assert applications.clean()


def test_a_link_that_breaks_after_so_many_bytes_gets_everything_across_in_the_end(
    applications: Applications,
) -> None:
    """Each connection lasts a little longer than the one before: a stairway, which does not end before
    all is there.
    """
    _, ann = both_through_the_proxy(applications)
    sending = begin(lambda: applications.send(ann, 50))

    def all_there() -> bool:
        return sending.done() and not applications.ledger.verdict().lost

    size, cuts = 1500, 0
    while not all_there():
        before = applications.proxy.accepted
        applications.proxy.limit(size)
        eventually(lambda before=before: all_there() or applications.proxy.accepted > before)  # type: ignore[misc]
        size, cuts = size * 5 // 4, cuts + 1
    assert cuts >= 3
    ends(sending.result)
    assert applications.clean()
    applications.proxy.limit(None)  # for what the spaces have to do to end in order


def test_what_the_broker_has_and_nobody_confirmed_is_sent_again_and_begun_once(
    applications: Applications,
) -> None:
    """The sender cannot know, and sends again after the link has broken; the receiver knows."""
    receiving, sending = applications.direct(), applications.through_proxy()
    receiving.add(Recorder, "bob", applications.path)
    ann = sending.join("ann")
    applications.send(ann, 5)
    applications.proxy.swallow("confirm")
    unconfirmed = begin(lambda: applications.send(ann, 1))
    eventually(lambda: applications.ledger.count("begun") == 6)
    eventually(lambda: applications.proxy.swallowed > 0)
    assert not unconfirmed.done()
    applications.proxy.swallow()
    applications.proxy.cut()
    ends(unconfirmed.result)
    applications.send(ann, 5)
    assert applications.clean()


def test_what_was_handled_before_it_was_sent_again_to_nobody_is_not_said_not_to_have_run(
    applications: Applications,
) -> None:
    """The receiver had it, and has left when the sender, whom no confirm reached, sends it again."""
    receiving, sending = applications.direct(), applications.through_proxy()
    receiving.add(Recorder, "bob", applications.path)
    ann = sending.join("ann")
    applications.send(ann, 1)
    applications.proxy.swallow("confirm")
    unconfirmed = begin(lambda: applications.send(ann, 1))
    eventually(lambda: applications.ledger.count("begun") == 2)
    receiving.remove("bob")
    applications.proxy.swallow()
    applications.proxy.cut()
    ends(unconfirmed.result)
    assert applications.ledger.verdict().unknown == 1
    assert applications.ledger.verdict().dead == {}


def test_what_is_never_confirmed_is_unknown_and_not_said_to_have_failed(
    applications: Applications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_space, "SEND_TIMEOUT", 0.5)
    receiving, sending = applications.direct(), applications.through_proxy()
    receiving.add(Recorder, "bob", applications.path)
    ann = sending.join("ann")
    applications.proxy.swallow("confirm")
    with pytest.raises(OutcomeUnknown, match="bob"):
        ann.send(note(0))
    eventually(lambda: applications.ledger.count("begun") == 1)


def test_what_was_never_written_is_said_not_to_have_been_sent(
    applications: Applications, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(amqp_space, "SEND_TIMEOUT", 0.5)
    sending = applications.through_proxy()
    ann = sending.join("ann")
    applications.proxy.refuse()
    eventually(lambda: "publishing connection lost" in caplog.text)
    with pytest.raises(NotAccepted):
        ann.send(note(0))


@pytest.fixture
def left(applications: Applications) -> AMQPSpace:
    """Where bob was, who was removed when there was no link and his mailbox had 20 messages."""
    receiving, sending = applications.through_proxy(), applications.direct()
    receiving.add(Recorder, "bob", applications.path)
    applications.ledger.fault("no link")
    applications.proxy.refuse()
    applications.send(sending.join("ann"), 20)
    receiving.remove("bob")
    return receiving


@pytest.mark.usefixtures("left")
def test_the_mail_of_an_agent_that_left_while_its_link_was_down_is_counted_when_it_is_back(
    applications: Applications, broker: BrokerAddress
) -> None:
    applications.proxy.accept()
    eventually(lambda: applications.ledger.count("dead") == 20)
    assert applications.ledger.verdict().dead == {"agent_removed": 20}
    eventually(lambda: "bob" not in owners_of_queues(broker, applications.exchange))


def owners_of_queues(broker: BrokerAddress, exchange: str) -> set[str]:
    return {name.rpartition(".")[2] for name in queues_of(broker) if name.startswith(exchange)}


def test_who_comes_before_the_mailbox_of_his_predecessor_could_be_deleted_gets_what_is_in_it(
    applications: Applications, left: AMQPSpace
) -> None:
    coming = begin(lambda: left.add(Recorder, "bob", applications.path))
    applications.proxy.accept()
    ends(coming.result)
    ledger = applications.ledger
    eventually(lambda: not ledger.verdict().silent, lambda: str(ledger.verdict()))
    assert ledger.verdict().is_clean(losses_told=True)


def test_a_confirm_that_comes_too_late_confirms_nothing_else(
    broker: BrokerAddress, proxy: Proxy
) -> None:
    """Two Python clients take the late confirm of one message for that of the next."""
    topology = Topology("late-confirms")
    link = Link.connect(options_for(broker, port=proxy.port, heartbeat=60), topology)
    link.claim("a")
    patience, late = 0.01, 0
    try:
        for number in range(100):
            proxy.stall("to_client")
            given_up = link.publish("a", b"1", Properties(message_id=f"{number}.1"), timeout=1)
            outcome = given_up.wait(patience)
            if outcome is Outcome.UNKNOWN:
                late += 1
            else:
                assert outcome is Outcome.NOT_SENT
                patience *= 2  # nothing was written by then: no confirm will come late
            nobody = link.publish(
                "nobody", b"2", Properties(message_id=f"{number}.2"), timeout=PATIENCE
            )
            proxy.resume()
            assert nobody.wait(PATIENCE) is Outcome.UNROUTABLE
            assert given_up.outcome is outcome
        assert late >= 50
    finally:
        link.release("a", delete_mailbox=True)
        link.close(0)


def test_a_host_that_vanishes_is_succeeded_and_fenced_when_it_comes_back(
    applications: Applications, caplog: pytest.LogCaptureFixture
) -> None:
    """Two applications never take mail of one id at the same time."""
    vanishing, other = applications.through_proxy(), applications.direct()
    ledger = applications.ledger
    vanishing.add(Recorder, "bob", applications.path, "old")
    ann = other.join("ann")
    applications.send(ann, 10)
    applications.drained()
    applications.proxy.stall()
    applications.send(ann, 10)
    other.add(
        Recorder, "bob", applications.path, "new"
    )  # waits until the broker knows of the death
    applications.send(ann, 10)
    applications.drained()
    eventually(lambda: "consuming connection lost" in caplog.text)  # by the old one
    begun = ledger.begun_by("old")
    applications.proxy.resume()
    dan = vanishing.join("dan")  # by then it has tried to get bob back as well
    for sender in (ann, dan):
        applications.send(sender, 10)
    applications.drained()
    assert applications.consumers("bob") == 1
    assert ledger.begun_by("old") == begun
    assert len(begun) == 10
    # What was handled but whose acknowledgement was still on its way is begun again by the successor.
    assert ledger.verdict().is_clean(duplicates_allowed=True)


class Slow(Agent):
    """Begins, or asks for permission, and waits until it is let go."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.began: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.go = threading.Semaphore(0)

    @action
    def work(self, number: int) -> None:
        self._stay_at(number)
        self.done.put(number)

    @action(access_policy=ACCESS_REQUESTED)
    def work_if_permitted(self, number: int) -> None:
        self.done.put(number)

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        self._stay_at(proposed_message["action"]["args"]["number"])
        return True

    def _stay_at(self, number: int) -> None:
        self.began.put(number)
        self.go.acquire(timeout=PATIENCE)


@pytest.mark.parametrize("name", ["work", "work_if_permitted"])
def test_an_action_that_outlasts_the_servers_patience_runs_once_and_harms_no_other_agent(
    own_broker: Broker, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """RabbitMQ closes the channel of whoever does not acknowledge in time, and delivers again. Who is
    asked for permission meanwhile is asked once.
    """
    own_broker.rabbitmqctl(
        "eval",
        "application:set_env(rabbit, consumer_timeout, 1000),"
        " application:set_env(rabbit, channel_tick_interval, 500).",
    )
    with AMQPSpace(options_for(own_broker.address, heartbeat=60)) as space:
        slow, other = space.add(Slow("slow")), space.add(Slow("other"))
        me = space.join("me")
        me.send({"to": "slow", "action": {"name": name, "args": {"number": 1}}})
        eventually(lambda: slow.began.qsize() == 1)
        eventually(lambda: "'slow' is not served for now" in caplog.text)
        other.go.release()
        me.send({"to": "other", "action": {"name": "work", "args": {"number": 2}}})
        assert other.began.get(timeout=PATIENCE) == 2
        for _ in range(2):
            slow.go.release()
        me.send({"to": "slow", "action": {"name": name, "args": {"number": 3}}})
        for happened in (slow.began, slow.done):
            assert [happened.get(timeout=PATIENCE) for _ in range(2)] == [1, 3]
            assert happened.empty()

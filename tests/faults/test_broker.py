"""Faults of the broker: killed, frozen, short of memory or disk; mailboxes that are full; members that are killed."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from agency import Agent, AMQPSpace, MailboxFull, action
from agency.spaces import amqp_space
from tests.broker import Broker, BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.load import TwoApplications, note
from tests.faults.members import Odd, Recorder
from tests.faults.tools import (
    begin,
    ends,
    eventually,
    make_short_of,
    relieve,
)
from tests.programs import PATIENCE

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


@pytest.fixture
def load(
    own_broker: Broker, ledger: Ledger, tmp_path: Path, figures: Figures
) -> Iterator[TwoApplications]:
    options = options_for(own_broker.address)
    load = TwoApplications(options, ledger, tmp_path / "ledger", figures)
    yield load
    load.destroy()


def is_clean(ledger: Ledger) -> bool:
    """When all has come that must come."""
    eventually(lambda: not ledger.verdict().lost, lambda: str(ledger.verdict()), limit=60.0)
    return ledger.verdict().is_clean()


def kill_and_start(broker: Broker, load: TwoApplications, times: int) -> None:
    for _ in range(times):
        before = load.number
        sending = begin(lambda: load.send(200))
        eventually(lambda before=before: load.ledger.count("begun") > before)  # type: ignore[misc]
        load.ledger.fault("broker killed")
        broker.kill()
        broker.start()
        ends(sending.result, limit=90.0)


def test_a_broker_that_is_killed_under_load_costs_time_and_no_message(
    own_broker: Broker, load: TwoApplications
) -> None:
    kill_and_start(own_broker, load, times=1)
    assert is_clean(load.ledger)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_broker_that_is_killed_ten_times(own_broker: Broker, load: TwoApplications) -> None:
    kill_and_start(own_broker, load, times=10)
    assert is_clean(load.ledger)


def test_a_broker_that_stands_still_is_waited_for(
    own_broker: Broker, load: TwoApplications, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than the heartbeat allows, with mail in the mailbox and mail on its way to it."""
    load.send_to_wait(20)
    load.ledger.fault("broker frozen")
    own_broker.freeze()
    sending = begin(lambda: load.send(20))
    eventually(lambda: "publishing connection lost" in caplog.text)
    eventually(lambda: "consuming connection lost" in caplog.text)
    assert not sending.done()
    own_broker.thaw()
    ends(sending.result, limit=60.0)
    load.gate.set()
    assert is_clean(load.ledger)
    assert load.ledger.count("accepted") == 40


@pytest.mark.parametrize("need", ["memory", "disk"])
def test_a_broker_short_of_anything_is_waited_for_and_its_mail_is_handled_meanwhile(
    own_broker: Broker,
    load: TwoApplications,
    caplog: pytest.LogCaptureFixture,
    need: Literal["memory", "disk"],
) -> None:
    load.send_to_wait(20)
    load.ledger.fault("broker in need")
    make_short_of(own_broker, need)
    sending = begin(lambda: load.send(20))
    eventually(lambda: "takes no messages for now (alarm)" in caplog.text)
    load.gate.set()
    eventually(lambda: load.waiting(own_broker.address) == 0)
    assert load.ledger.count("begun") == 20
    assert not sending.done()
    relieve(own_broker)
    ends(sending.result, limit=60.0)
    assert is_clean(load.ledger)
    assert load.ledger.count("accepted") == 40


def test_what_a_broker_short_of_memory_does_not_take_in_time_is_not_said_to_be_sent(
    own_broker: Broker, load: TwoApplications, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is on its way when the broker says so, and may come; those after it never do."""
    load.send(5)
    load.ledger.fault("broker in need")
    make_short_of(own_broker, "memory")
    with monkeypatch.context() as impatient:
        impatient.setattr(amqp_space, "SEND_TIMEOUT", 0.5)
        ends(lambda: load.send(3))
    verdict = load.ledger.verdict()
    assert (verdict.unknown, verdict.refused) == (1, 2)
    relieve(own_broker)
    load.send(5)
    assert is_clean(load.ledger)


def test_a_space_may_be_destroyed_while_the_broker_takes_nothing(own_broker: Broker) -> None:
    space = AMQPSpace(options_for(own_broker.address), grace=0.5)
    space.add(Odd, "odd")
    me = space.join("me")
    make_short_of(own_broker, "memory")
    sending = begin(lambda: me.send(note(1, to="odd")))
    ends(space.destroy)
    assert sending.exception(PATIENCE) is not None


class Late(Agent):
    """Begins, and sends on when it is let go."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.begun, self.go, self.sent = (threading.Event() for _ in range(3))

    @action
    def send_on(self) -> None:
        self.begun.set()
        self.go.wait(PATIENCE)
        self.send(note(1, to="odd"))
        self.sent.set()


def test_what_a_destroyed_space_could_not_send_to_a_dead_broker_is_named_in_the_log(
    own_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    space = AMQPSpace(options_for(own_broker.address), grace=0.5)
    late = space.add(Late("late"))
    space.join("me").send({"to": "late", "action": {"name": "send_on"}})
    assert late.begun.wait(PATIENCE)
    own_broker.kill()
    eventually(lambda: "publishing connection lost" in caplog.text)
    late.go.set()
    assert late.sent.wait(PATIENCE)
    ends(space.destroy)
    assert "1 messages were not sent, to odd" in caplog.text


# Connections that an operator closes


@pytest.fixture
def watched_load(
    vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, figures: Figures
) -> Iterator[TwoApplications]:
    """On the shared broker, in a virtual host whose connections are all of this load."""
    options = options_for(vhost, heartbeat=60)
    load = TwoApplications(options, ledger, tmp_path / "ledger", figures)
    yield load
    load.destroy()


@pytest.mark.parametrize("purpose", ["publishing", "consuming"])
def test_the_half_of_a_link_that_the_broker_closes_is_made_again_under_load(
    vhost: BrokerAddress,
    watched_load: TwoApplications,
    caplog: pytest.LogCaptureFixture,
    purpose: str,
) -> None:
    """The sender's and the receiver's; the other half of each goes on."""
    closed = [pid for pid, what in connections_of(vhost) if purpose in what]
    assert len(closed) == 2
    under_load(watched_load, partial(close, vhost, *closed))
    assert is_clean(watched_load.ledger)
    assert watched_load.ledger.count("accepted") == 200
    eventually(lambda: caplog.text.count(f"{purpose} connection lost") == 2)
    assert caplog.text.count("connection lost") == 2


@pytest.mark.long
def test_connections_that_an_operator_closes_ten_times_at_random_cost_no_message(
    vhost: BrokerAddress, watched_load: TwoApplications, seed: random.Random
) -> None:
    for _ in range(10):
        eventually(lambda: len(connections_of(vhost)) == 4)
        pid, _ = seed.choice(sorted(connections_of(vhost)))
        under_load(watched_load, partial(close, vhost, pid))
    assert is_clean(watched_load.ledger)
    assert watched_load.ledger.count("accepted") == 2000


def under_load(load: TwoApplications, harm: Callable[[], object]) -> None:
    """In the midst of 200 messages."""
    before = load.number
    sending = begin(lambda: load.send(200))
    eventually(lambda: load.ledger.count("begun") > before)
    load.ledger.fault("connection closed")
    harm()
    ends(sending.result, limit=60.0)


def connections_of(vhost: BrokerAddress) -> list[tuple[str, str]]:
    """Of each connection to the virtual host, the process that serves it, and what the client says it is."""
    lines = vhost.rabbitmqctl(
        "list_connections", "pid", "vhost", "client_properties", "--no-table-headers"
    )
    rows = (line.split("\t") for line in lines.splitlines())
    return [(pid, what) for pid, where, what in rows if where == vhost.vhost]


def close(vhost: BrokerAddress, *pids: str) -> None:
    """As an operator does it."""
    for pid in pids:
        vhost.rabbitmqctl("close_connection", pid, "closed by a test")


# Full mailboxes


@pytest.fixture
def small_mailbox(vhost: BrokerAddress) -> BrokerAddress:
    """A broker on which bob's mailbox has room for five messages."""
    vhost.rabbitmqctl(
        *("set_policy", "--vhost", vhost.vhost, "--apply-to", "queues"),
        *("small", r"\.mailbox\.bob$", json.dumps({"max-length": 5})),
    )
    return vhost


def test_many_who_send_to_a_full_mailbox_at_once_are_all_told_that_it_is_full(
    small_mailbox: BrokerAddress,
) -> None:
    """What is refused while the mailbox is being asked for is refused for the same reason."""
    with AMQPSpace(options_for(small_mailbox), grace=0.2) as space:
        space.add(Odd, "bob")
        ann = space.join("ann")
        ann.send({"to": "bob", "action": {"name": "never_return"}})
        fill(ann)
        with ThreadPoolExecutor(16) as together:
            sending = [together.submit(ann.send, note(number)) for number in range(500)]
        assert {type(one.exception()) for one in sending} == {MailboxFull}


def test_a_full_mailbox_is_told_to_its_sender_and_keeps_no_broadcast_from_the_others(
    small_mailbox: BrokerAddress, ledger: Ledger, tmp_path: Path
) -> None:
    with AMQPSpace(options_for(small_mailbox), grace=0.2) as space:
        space.dead_letters.listen(ledger.dead)
        space.add(Odd, "bob")
        space.add(Recorder, "carl", tmp_path / "ledger")
        ann = space.join("ann")
        ann.send({"to": "bob", "action": {"name": "never_return"}})
        accepted = fill(ann)
        assert 5 <= accepted < 1000
        with ledger.sending("ann", "carl", 7):
            ann.send(note(7, to="*"))
        assert ann.proxy("carl").process()
        verdict = ledger.verdict()
        assert verdict.is_clean(), verdict  # carl had it once
        assert verdict.dead == {"mailbox_full": 1}  # and the operator hears of bob


def fill(sender: Agent) -> int:
    """Send to bob until his mailbox is full; how many messages that took."""
    for number in range(1000):
        try:
            sender.send(note(number))
        except MailboxFull:
            return number
    raise AssertionError("the mailbox is never full")

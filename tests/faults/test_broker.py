"""Faults of the broker: killed, frozen, short of memory or disk; mailboxes that are full; members that are killed."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
import pytest

from agency import Agent, AMQPSpace, MailboxFull, action
from agency.spaces import amqp_space
from agency.spaces.amqp_topology import Topology
from tests.broker import Broker, BrokerAddress
from tests.faults.conftest import WELL, options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.load import TwoApplications, note, send_notes
from tests.faults.members import Odd, Recorder
from tests.faults.proxy import Proxy
from tests.faults.test_workers import ENVIRONMENT, PROGRAMS
from tests.faults.tools import (
    begin,
    consumers_of,
    ends,
    eventually,
    make_short_of,
    queues_of,
    suspend,
)
from tests.programs import PATIENCE, Program

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


def relieve(broker: Broker) -> None:
    """End all alarms."""
    broker.rabbitmqctl("eval", WELL)


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


# Members that are killed


@pytest.fixture
def shared(vhost: BrokerAddress, figures: Figures) -> Iterator[AMQPSpace]:
    """The space of those who are not killed."""
    with figures.stopping(AMQPSpace(options_for(vhost), exchange="killed")) as space:
        yield space


def test_a_receiver_killed_in_an_action_has_a_successor_who_begins_everything_again_or_anew(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    begun_again_or_anew(shared, vhost, ledger, tmp_path / "ledger", chance=seed, kills=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_receivers_are_killed_at_random(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    begun_again_or_anew(shared, vhost, ledger, tmp_path / "ledger", chance=seed, kills=100)


def begun_again_or_anew(
    space: AMQPSpace,
    vhost: BrokerAddress,
    ledger: Ledger,
    path: Path,
    *,
    chance: random.Random,
    kills: int,
) -> None:
    """Nothing is lost and order is kept; what had been begun may be begun again by the successor."""
    senders = [space.join(name) for name in SENDERS]
    kill_receivers(senders, vhost, ledger, path, chance=chance, kills=kills, kind="Recorder")
    with receiver(vhost, path):
        eventually(lambda: not ledger.verdict().lost, lambda: str(ledger.verdict()))
    verdict = ledger.verdict()
    assert verdict.is_clean(duplicates_allowed=True), verdict


def test_what_is_run_at_most_once_is_begun_once_or_told_when_its_receivers_are_killed_at_random(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    begun_once_or_told(shared, vhost, ledger, tmp_path / "ledger", chance=seed, kills=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_is_run_at_most_once_while_a_hundred_receivers_are_killed(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    begun_once_or_told(shared, vhost, ledger, tmp_path / "ledger", chance=seed, kills=100)
    assert ledger.count("dead")


class Told(Agent):
    """Counts the errors that it gets."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.errors = 0

    @action
    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        self.errors += 1


def begun_once_or_told(
    space: AMQPSpace,
    vhost: BrokerAddress,
    ledger: Ledger,
    path: Path,
    *,
    chance: random.Random,
    kills: int,
) -> None:
    """Nothing is begun twice. What is not begun is a dead letter, and its sender is told."""
    senders = [space.add(Told(name)) for name in SENDERS]
    kill_receivers(senders, vhost, ledger, path, chance=chance, kills=kills, kind="Once")
    with receiver(vhost, path, "Once"):
        eventually(lambda: not ledger.verdict().silent, lambda: str(ledger.verdict()))
        eventually(lambda: sum(one.errors for one in senders) >= ledger.count("dead"))
    verdict = ledger.verdict()
    assert verdict.is_clean(losses_told=True), verdict
    assert verdict.accepted == verdict.attempted
    assert verdict.dead.keys() <= {"perhaps_begun"}


SENDERS = ("ann", "bea", "cem")
"""So many that a receiver always has mail of one of them when it is killed."""


def kill_receivers(
    senders: Sequence[Agent],
    vhost: BrokerAddress,
    ledger: Ledger,
    path: Path,
    *,
    chance: random.Random,
    kills: int,
    kind: str,
) -> None:
    """Each while all send to it; they go on to send when there is none."""
    number = 0
    for _ in range(kills):
        with receiver(vhost, path, kind) as program:
            program.wait_for("serves")
            count = chance.randrange(10, 40)
            enough = ledger.count("begun") + chance.randrange(1, 2 * count)
            numbers = range(number, number + count)
            number += count
            sending = [
                begin(partial(send_notes, ledger, sender, "bob", numbers)) for sender in senders
            ]
            eventually(lambda enough=enough: ledger.count("begun") >= enough)  # type: ignore[misc]
            ledger.fault("receiver killed")
            program.kill()
            program.end()
            for one in sending:
                ends(one.result)


def receiver(
    vhost: BrokerAddress,
    path: Path,
    kind: str = "Recorder",
    *,
    port: int | None = None,
    heartbeat: int = 1,
) -> Program:
    """An application with a bob of this kind, who will be killed."""
    where = replace(vhost, port=port or vhost.port)
    environment = ENVIRONMENT | {"AMQP_URL": f"{where.url()}?heartbeat={heartbeat}"}
    return Program(PROGRAMS / "receives.py", "killed", str(path), kind, env=environment)


def test_the_mailbox_of_a_receiver_that_was_killed_waits_ten_minutes_for_a_successor(
    shared: AMQPSpace, vhost: BrokerAddress, tmp_path: Path
) -> None:
    """The broker deletes it if nobody has taken mail from it for as long."""
    with receiver(vhost, tmp_path / "ledger") as program:
        program.wait_for("serves")
        program.kill()
        program.end()
    mailbox = Topology("killed").mailbox("bob")
    eventually(lambda: consumers_of(vhost, mailbox) == 0)
    shared.join("ann").send(note(1))
    assert queues_of(vhost)[mailbox] == 1
    lines = vhost.rabbitmqctl("list_queues", "--vhost", vhost.vhost, "name", "arguments")
    (line,) = [line for line in lines.splitlines() if line.startswith(f"{mailbox}\t")]
    assert '{"x-expires",600000}' in line


# What an action has sent, and its process is killed


def test_what_a_process_passed_on_until_it_was_killed_at_random_is_all_there(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    kill_couriers(shared, vhost, ledger, tmp_path / "ledger", chance=seed, kills=4)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_fifty_processes_passed_on_until_they_were_killed(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path, seed: random.Random
) -> None:
    kill_couriers(shared, vhost, ledger, tmp_path / "ledger", chance=seed, kills=50)


def kill_couriers(
    space: AMQPSpace,
    vhost: BrokerAddress,
    ledger: Ledger,
    path: Path,
    *,
    chance: random.Random,
    kills: int,
) -> None:
    """Every other one is killed while it hears of nothing that it sent whether it is safe. Carl has all
    that any of them sent, in order, and may have it twice.
    """
    space.add(Recorder, "carl", path)
    ann = space.join("ann")
    number = 0
    with Proxy(vhost.port) as proxy:
        for turn in range(kills):
            with receiver(vhost, path, "Courier", port=proxy.port) as program:
                program.wait_for("serves")
                if turn % 2:
                    proxy.swallow("confirm")
                count = chance.randrange(10, 100)
                enough = ledger.count("begun") + chance.randrange(1, count)
                numbers = range(number, number + count)
                sending = begin(partial(send_notes, ledger, ann, "bob", numbers))
                number += count
                eventually(lambda enough=enough: ledger.count("begun") >= enough)  # type: ignore[misc]
                ledger.fault("courier killed")
                program.kill()
                program.end()
                ends(sending.result)
                proxy.swallow()
    with receiver(vhost, path, "Courier"):
        eventually(lambda: ledger.times_begun("bob", "carl", number - 1) > 0)
    verdict = ledger.verdict()
    assert verdict.is_clean(duplicates_allowed=True), verdict


def test_a_message_waits_on_the_broker_until_its_receiver_hears_that_what_it_sent_is_safe(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "ledger"
    shared.add(Recorder, "carl", path)
    with Proxy(vhost.port) as proxy:
        with receiver(vhost, path, "Courier", port=proxy.port) as program:
            program.wait_for("serves")
            proxy.swallow("confirm")
            send_notes(ledger, shared.join("ann"), "bob", range(20))
            eventually(lambda: ledger.count("begun") == 40)
            ledger.fault("courier killed")
            program.kill()
            program.end()
        with receiver(vhost, path, "Courier"):
            eventually(
                lambda: all(ledger.times_begun("ann", "bob", number) == 2 for number in range(20))
            )
    assert ledger.verdict().is_clean(duplicates_allowed=True)


def test_what_a_process_had_sent_and_the_broker_had_not_taken_when_it_was_killed_is_sent_again(
    own_broker: Broker, ledger: Ledger, tmp_path: Path, figures: Figures
) -> None:
    """The broker is short of memory: it gives out mail and takes none. The process goes on, and what it
    sends is in its own memory.
    """
    where, path = own_broker.address, tmp_path / "ledger"
    with figures.stopping(AMQPSpace(options_for(where), exchange="killed")) as space:
        space.add(Recorder, "carl", path)
        ann = space.join("ann")
        with receiver(where, path, "Courier", heartbeat=60) as program:
            program.wait_for("serves")
            bob = psutil.Process(ann.proxy("bob").process())
            suspend(bob)
            send_notes(ledger, ann, "bob", range(20))
            make_short_of(own_broker, "memory")
            bob.resume()
            eventually(lambda: ledger.times_begun("ann", "bob", 19) == 1)
            ledger.fault("courier killed")
            program.kill()
            program.end()
        relieve(own_broker)
        with receiver(where, path, "Courier"):
            eventually(lambda: ledger.times_begun("bob", "carl", 19) > 0)
    verdict = ledger.verdict()
    assert verdict.is_clean(duplicates_allowed=True), verdict


def test_a_sender_killed_while_it_sends_has_lost_nothing_that_was_accepted(
    shared: AMQPSpace, vhost: BrokerAddress, ledger: Ledger, tmp_path: Path
) -> None:
    shared.add(Recorder, "bob", tmp_path / "ledger")
    environment = ENVIRONMENT | {"AMQP_URL": vhost.url()}
    path = str(tmp_path / "ledger")
    with Program(PROGRAMS / "sends.py", "killed", path, env=environment) as program:
        eventually(lambda: ledger.count("begun") > 100)
        ledger.fault("sender killed")
        program.kill()
        program.end()
    eventually(lambda: not ledger.verdict().lost, lambda: str(ledger.verdict()))
    verdict = ledger.verdict()
    assert verdict.is_clean(), verdict
    assert verdict.accepted >= 100


def test_agents_that_are_removed_leave_no_queue_on_the_broker(vhost: BrokerAddress) -> None:
    with AMQPSpace(options_for(vhost)) as space:
        for number in range(5):
            space.add(Odd, f"odd-{number}")
        assert len(queues_of(vhost)) == 15
    eventually(lambda: queues_of(vhost) == {})


def test_a_process_that_was_forked_cannot_disturb_the_link_of_its_parent(
    vhost: BrokerAddress,
) -> None:
    environment = ENVIRONMENT | {"AMQP_URL": vhost.url()}
    with Program(PROGRAMS / "forks.py", env=environment) as program:
        assert program.wait_for("child:") == "child: SpaceClosed\n"
        assert program.wait_for("parent:") == "parent: pong\n"
        assert program.end() == 0

"""Members on AMQP that are killed: receivers, senders, and those who pass on what they are sent."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from agency import Agent, AMQPSpace, action
from agency.spaces.amqp_topology import Topology
from tests.broker import Broker, BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.load import note, send_notes
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
    relieve,
    suspend,
)
from tests.programs import Program

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


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

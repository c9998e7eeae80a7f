"""An id is given back whatever its connection meets meanwhile, and nothing of it harms a successor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass

import amqp
import pytest

from agency import Agent, AgentIdInUse, AgentNotFound, AMQPSpace, SpaceClosed, action
from agency.errors import BrokerRefused, BrokerUnreachable
from agency.spaces.amqp_link import Link, Outcome, Topology
from agency.spaces.amqp_topology import LEASE_ARGUMENTS
from agency.watching import Down
from tests.amqp.test_link import Box, send
from tests.broker import Broker, BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.proxy import Proxy
from tests.faults.tools import begin, ends, eventually, queues_of
from tests.programs import PATIENCE

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


class Worker(Agent):
    @action
    def work(self) -> None: ...


class Blocked(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.blocks = threading.Event()
        self.release = threading.Event()
        self.begun = 0

    @action
    def block(self) -> None:
        self.blocks.set()
        self.release.wait(PATIENCE)

    @action
    def work(self) -> None:
        self.begun += 1


def space_of(topology: Topology, broker: BrokerAddress, port: int, heartbeat: int = 1) -> AMQPSpace:
    return AMQPSpace(
        options_for(broker, hostname="127.0.0.1", port=port, heartbeat=heartbeat),
        exchange=topology.space,
        grace=0.1,
    )


@dataclass(frozen=True)
class TwoSpaces:
    """Two applications, of which `home` has bob and a bad link."""

    home: AMQPSpace
    elsewhere: AMQPSpace
    proxy: Proxy
    topology: Topology


@pytest.fixture
def two(broker: BrokerAddress, proxy: Proxy, topology: Topology) -> Iterator[TwoSpaces]:
    with (
        space_of(topology, broker, proxy.port) as home,
        space_of(topology, broker, broker.port) as elsewhere,
    ):
        home.add(Worker("bob"))
        yield TwoSpaces(home, elsewhere, proxy, topology)


def queues(topology: Topology, broker: BrokerAddress) -> list[str]:
    return [name for name in queues_of(broker) if name.startswith(topology.space)]


def client(broker: BrokerAddress) -> amqp.Connection:
    return amqp.Connection(f"{broker.host}:{broker.port}", broker.username, broker.password)


def hold_lease(connection: amqp.Connection, topology: Topology, agent_id: str) -> None:
    """As a connection does that has broken, before the server knows of it."""
    connection.channel().queue_declare(
        topology.lease(agent_id),
        durable=False,
        exclusive=True,
        auto_delete=False,
        arguments=LEASE_ARGUMENTS,
    )


def have_link_again(two: TwoSpaces, caplog: pytest.LogCaptureFixture) -> None:
    """Without its link for long, a space may take ten seconds to try again."""
    caplog.set_level("DEBUG", "agency.amqp")
    caplog.clear()
    two.proxy.accept()
    eventually(lambda: "consuming connection" in caplog.text and "is open" in caplog.text)


def test_who_leaves_waits_for_the_remains_of_his_own_connection(
    two: TwoSpaces, broker: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    """The server may know of its end later than we do."""
    ann = two.elsewhere.join("ann")
    two.proxy.refuse()
    eventually(lambda: two.topology.lease("bob") not in queues(two.topology, broker))
    with client(broker) as remains:
        hold_lease(remains, two.topology, "bob")
        ann.send({"to": "bob", "action": {"name": "work"}})
        two.home.remove("bob")
        have_link_again(two, caplog)
    eventually(lambda: two.home.dead_letters.counts == {"agent_removed": 1})
    eventually(lambda: not [name for name in queues(two.topology, broker) if "bob" in name])


@pytest.mark.usefixtures("prefetch_of_one")
def test_who_waits_for_an_agent_that_left_without_a_link_is_told_when_it_is_back(
    two: TwoSpaces, broker: BrokerAddress
) -> None:
    ann = two.elsewhere.join("ann")
    two.proxy.refuse()
    waiting = [
        begin(lambda: ann.request({"to": "bob", "action": {"name": "work"}}, timeout=PATIENCE))
        for _ in range(50)
    ]
    eventually(lambda: queues_of(broker).get(two.topology.mailbox("bob")) == len(waiting))
    two.home.remove("bob")
    two.proxy.accept()
    for answer in waiting:
        with pytest.raises(AgentNotFound):
            answer.result(PATIENCE)
    eventually(lambda: two.home.dead_letters.counts == {"agent_removed": len(waiting)})


def test_who_leaves_while_a_successor_came_elsewhere_leaves_the_mailbox_to_him(
    two: TwoSpaces, caplog: pytest.LogCaptureFixture
) -> None:
    ann = two.elsewhere.join("ann")
    two.proxy.refuse()
    two.home.remove("bob")
    two.elsewhere.add(Worker("bob"))
    have_link_again(two, caplog)
    with pytest.raises(AgentIdInUse):
        two.home.add(Worker("bob"))
    assert ann.request({"to": "bob", "action": {"name": "work"}}, timeout=PATIENCE) is None


def test_an_id_is_free_although_the_server_does_not_let_its_mailbox_go(
    two: TwoSpaces, broker: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    two.proxy.refuse()
    mailbox = two.topology.mailbox("bob")
    with client(broker) as other:
        other.channel().queue_delete(mailbox)
        other.channel().queue_declare(mailbox, durable=False, exclusive=False)
        two.home.remove("bob")
        have_link_again(two, caplog)
        with pytest.raises(BrokerRefused):
            two.home.add(Worker("bob"))
        other.channel().queue_delete(mailbox)
    two.elsewhere.add(Worker("bob"))


def test_who_claims_an_id_in_the_middle_of_the_cleaning_up_has_it_whole(
    broker: BrokerAddress, proxy: Proxy, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.spaces.amqp_link._COMMAND_TIME", 0.05)
    proxy.delay(0.005, jitter=0.005)
    options = options_for(broker, hostname="127.0.0.1", port=proxy.port, heartbeat=60)
    link, other = Link.connect(options, topology), Link.connect(options_for(broker), topology)
    try:
        for _ in range(12):
            link.claim("a")
            Box(link, "a")
            assert send(other, "a", b"1") is Outcome.ACCEPTED
            link.release("a", delete_mailbox=True)
            link.claim("a")
            box = Box(link, "a")
            for _ in range(10):  # while remains of the predecessor would do their harm
                assert send(link, "a", b"2") is Outcome.ACCEPTED
            assert send(other, "a", b"3") is Outcome.ACCEPTED
            while box.next().body != b"3":
                pass
            link.release("a", delete_mailbox=True)
    finally:
        link.close(0)
        other.close(0)


def test_an_id_whose_claim_was_given_up_does_not_come_later(
    broker: BrokerAddress, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a signal: nobody would read its mail, and nobody else could have it."""
    monkeypatch.setattr("agency.spaces.amqp_link._ANSWER_TIME", -19.0)  # after one second
    link = Link.connect(options_for(broker), topology)
    try:
        with client(broker) as remains:
            hold_lease(remains, topology, "a")
            with pytest.raises(BrokerUnreachable):
                link.claim("a", patience=20)
        for _ in range(500):  # while it would try again
            assert send(link, "a") is Outcome.UNROUTABLE
        monkeypatch.undo()
        link.claim("a")
    finally:
        link.close(0)


def test_a_link_that_is_closed_while_an_id_waits_for_its_predecessor_tells_who_waits(
    broker: BrokerAddress, proxy: Proxy, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.spaces.amqp_link._COMMAND_TIME", 0.05)
    options = options_for(broker, hostname="127.0.0.1", port=proxy.port, heartbeat=60)
    link = Link.connect(options, topology)
    link.claim("a")
    Box(link, "a")
    proxy.stall()
    link.release("a", delete_mailbox=True)
    claim = begin(lambda: link.claim("a"))
    ends(lambda: link.close(0))
    with pytest.raises(Exception, match="closed"):
        claim.result(PATIENCE)


def test_an_id_that_could_not_be_claimed_in_time_is_free_for_others(
    broker: BrokerAddress, proxy: Proxy, topology: Topology
) -> None:
    """As where a replicated mailbox has no leader: the lease was ours by then, and the rest was not."""
    options = options_for(broker, hostname="127.0.0.1", port=proxy.port, heartbeat=60)
    link, other = Link.connect(options, topology), Link.connect(options_for(broker), topology)
    try:
        proxy.swallow("bind-ok")
        with pytest.raises(BrokerUnreachable):
            link.claim("a", patience=1)
        other.claim("a")
    finally:
        link.close(0)
        other.close(0)


def fill(link: Link, agent_id: str, count: int) -> None:
    for _ in range(count):
        assert send(link, agent_id) is Outcome.ACCEPTED


def test_a_release_waits_for_as_long_as_mail_is_turned_away(
    broker: BrokerAddress, proxy: Proxy, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far the server is."""
    monkeypatch.setattr("agency.spaces.amqp_link._COMMAND_TIME", 2.0)
    monkeypatch.setattr("agency.spaces.amqp_link._FAREWELL_TIME", PATIENCE, raising=False)
    options = options_for(broker, hostname="127.0.0.1", port=proxy.port, heartbeat=60)
    link, other = Link.connect(options, topology), Link.connect(options_for(broker), topology)
    counted: list[int] = []
    try:
        link.claim("a")
        fill(other, "a", 40)
        box = Box(link, "a", prefetch=1)
        proxy.delay(0.05)
        link.release("a", delete_mailbox=True, on_undelivered=counted.append)
        assert box.deliveries.qsize() == 40
        assert counted == []
        assert not queues(topology, broker)
    finally:
        proxy.delay(0)
        link.close(0)
        other.close(0)


@pytest.mark.usefixtures("prefetch_of_one")
def test_what_a_space_that_is_destroyed_has_no_time_to_turn_away_is_counted(
    two: TwoSpaces, broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.spaces.amqp_space._FLUSH_TIME", 8.0)
    monkeypatch.setattr("agency.spaces.amqp_link._HURRY_TIME", 7.0, raising=False)
    ann, carl = two.elsewhere.join("ann"), Blocked("carl")
    two.home.add(carl)
    ann.send({"to": "carl", "action": {"name": "block"}})
    assert carl.blocks.wait(PATIENCE)
    for _ in range(100):
        ann.send({"to": "carl", "action": {"name": "work"}})
    two.proxy.delay(0.05)
    ends(two.home.destroy)
    carl.release.set()
    assert two.home.dead_letters.counts == {"agent_removed": 100}
    assert not [name for name in queues(two.topology, broker) if "carl" in name]


def test_all_agents_of_a_space_that_is_destroyed_take_their_leave_together(
    broker: BrokerAddress, proxy: Proxy, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not each when the server has answered the one before."""
    monkeypatch.setattr("agency.spaces.amqp_space._FLUSH_TIME", 2 * PATIENCE)
    monkeypatch.setattr("agency.spaces.amqp_link._COMMAND_TIME", 2 * PATIENCE)
    ids = {"bob", "carl", "dora"}
    told: list[Down] = []
    with space_of(topology, broker, proxy.port, heartbeat=60) as home:
        for agent_id in ids:
            home.add(Worker(agent_id))
            home.watch(agent_id, told.append)
        ann = home.join("ann")
        for agent_id in ids:  # they have set up all that they have on the server
            ann.request({"to": agent_id, "action": {"name": "work"}}, timeout=PATIENCE)
        proxy.stall("to_client")
        destroying = begin(home.destroy)
        try:
            express = {topology.express(agent_id) for agent_id in ids}
            eventually(lambda: not express & bound(broker))
            assert not told
        finally:
            proxy.resume()
        destroying.result(PATIENCE)
    eventually(lambda: {down.agent_id for down in told} == ids)


def bound(broker: BrokerAddress) -> set[str]:
    """The queues that are bound to an exchange of some space."""
    lines = broker.rabbitmqctl(
        "list_bindings", "source_name", "destination_name", "--no-table-headers"
    )
    pairs = (line.split("\t") for line in lines.splitlines())
    return {queue for source, queue in pairs if source}


def test_an_agent_that_is_being_added_while_its_space_is_destroyed_leaves_no_mailbox_behind(
    two: TwoSpaces, broker: BrokerAddress
) -> None:
    building, go = threading.Event(), threading.Event()

    class Late(Worker):
        def __init__(self, id: str) -> None:
            super().__init__(id)
            building.set()
            go.wait(PATIENCE)

    adding = begin(lambda: two.home.add_foreground(Late, "late"))
    assert building.wait(PATIENCE)
    two.home.destroy()
    go.set()
    with pytest.raises(SpaceClosed):
        adding.result(PATIENCE)
    eventually(lambda: not [name for name in queues(two.topology, broker) if "late" in name])


def test_what_was_turned_away_is_not_begun_by_who_claims_the_id_in_the_midst_of_it(
    monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    """Although it cannot be acknowledged before those who wait have been told, which takes a while here."""
    monkeypatch.setattr("agency.spaces.amqp_space._PREFETCH", 10)
    monkeypatch.setattr("agency.spaces.amqp_link._COMMAND_TIME", 0.5)
    monkeypatch.setattr("agency.spaces.amqp_farewell._END_TIME", PATIENCE)
    with Broker() as own:
        broker = own.address
        with (
            space_of(topology, broker, broker.port) as home,
            space_of(topology, broker, broker.port) as elsewhere,
        ):
            before, ann = home.add(Blocked("bob")), elsewhere.join("ann")
            ann.send({"to": "bob", "action": {"name": "block"}})
            assert before.blocks.wait(PATIENCE)
            requests = [
                begin(
                    lambda: ann.request({"to": "bob", "action": {"name": "work"}}, timeout=PATIENCE)
                )
                for _ in range(30)
            ]
            eventually(lambda: queues_of(broker)[topology.mailbox("bob")] == 31)
            own.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1000000")
            home.remove("bob")
            before.release.set()
            adding = begin(lambda: home.add(Blocked("bob")))
            own.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
            after = adding.result(PATIENCE)
            wait(requests, PATIENCE)
            told = [request.exception(0) for request in requests]
            assert {type(error) for error in told} == {AgentNotFound, type(None)}
            assert after.begun == told.count(None)

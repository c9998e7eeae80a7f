"""The link to the AMQP server keeps ids, mail and order, whatever happens to connections and server."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import amqp
import pytest

from agency.errors import AgentIdInUse, BrokerRefused, BrokerUnreachable, SpaceClosed
from agency.spaces.amqp_connection import IOLoop, IOServices
from agency.spaces.amqp_link import Delivery, Link, Outcome, Properties, Topology
from agency.spaces.amqp_options import AMQPOptions
from agency.spaces.amqp_topology import LEASE_ARGUMENTS
from tests.broker import Broker, BrokerAddress, free_port
from tests.faults.tools import eventually, make_short_of

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

LIMIT = 30.0
"""Seconds that anything awaited here may take; far more than it does."""

OpenLink = Callable[[], Link]
numbers = itertools.count()


def options_for(broker: BrokerAddress, **others: Any) -> AMQPOptions:
    said: dict[str, Any] = {
        "hostname": broker.host,
        "port": broker.port,
        "username": broker.username,
        "password": broker.password,
        "virtual_host": broker.vhost,
    }
    return AMQPOptions(**(said | others))


@contextlib.contextmanager
def links_to(broker: BrokerAddress, **others: Any) -> Iterator[OpenLink]:
    """Opens links of one new space, and closes them."""
    topology = Topology(f"test-{uuid.uuid4().hex}")
    opened: list[Link] = []

    def open_link() -> Link:
        opened.append(Link.connect(options_for(broker, **others), topology))
        return opened[-1]

    try:
        yield open_link
    finally:
        for link in opened:
            link.close(0)


@pytest.fixture
def open_link(broker: BrokerAddress) -> Iterator[OpenLink]:
    with links_to(broker) as opens:
        yield opens


@pytest.fixture
def vhost(broker: BrokerAddress) -> Iterator[BrokerAddress]:
    """The shared broker, in a virtual host whose connections a test may cut."""
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    name = f"link-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", name)
    broker.rabbitmqctl("set_permissions", "--vhost", name, broker.username, ".*", ".*", ".*")
    yield BrokerAddress(port=broker.port, vhost=name, ctl=broker.ctl, env=broker.env)
    broker.rabbitmqctl("delete_vhost", name)


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker for one test, which may do to it what it likes."""
    with Broker() as broker:
        yield broker


class Box:
    """Collects what is delivered; acknowledges it unless told otherwise."""

    def __init__(self, link: Link, agent_id: str, *, acknowledge: bool = True, prefetch: int = 64):
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.link = link
        self.acknowledge = acknowledge
        link.consume(agent_id, self._take, prefetch=prefetch)

    def _take(self, delivery: Delivery) -> None:
        if self.acknowledge:
            self.link.acknowledge(delivery)
        self.deliveries.put(delivery)

    def next(self) -> Delivery:
        return self.deliveries.get(timeout=LIMIT)

    def bodies(self, count: int) -> list[bytes]:
        return [self.next().body for _ in range(count)]

    def distinct(self, count: int) -> list[bytes]:
        """The first `count` different bodies, in the order in which they were first seen."""
        seen: dict[bytes, None] = {}
        while len(seen) < count:
            seen.setdefault(self.next().body)
        return list(seen)


def send(link: Link, to: str, body: bytes = b"{}") -> Outcome:
    properties = Properties(message_id=f"m{next(numbers)}")
    return link.publish(to, body, properties, timeout=LIMIT).wait(LIMIT)


# Sending and receiving


def test_a_message_arrives_as_it_was_sent(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a")
    properties = Properties(
        message_id="1",
        correlation_id="0",
        reply_to="b",
        type="request",
        content_type="application/json",
        timestamp=1_700_000_000,
        headers={"agency-hops": 3, "agency-chain": ["x", "y"]},
    )
    publication = link.publish("a", b'{"x": 1}', properties, timeout=LIMIT)
    assert publication.wait(LIMIT) is Outcome.ACCEPTED
    delivery = box.next()
    assert delivery.body == b'{"x": 1}'
    assert delivery.properties == properties
    assert (delivery.agent_id, delivery.routing_key, delivery.redelivered) == ("a", "a", False)


def test_between_two_applications_in_both_directions(open_link: OpenLink) -> None:
    one, two = open_link(), open_link()
    one.claim("one")
    two.claim("two")
    box_one, box_two = Box(one, "one"), Box(two, "two")
    assert send(one, "two", b"there") is Outcome.ACCEPTED
    assert box_two.next().body == b"there"
    assert send(two, "one", b"back") is Outcome.ACCEPTED
    assert box_one.next().body == b"back"


def test_a_broadcast_reaches_every_mailbox(open_link: OpenLink) -> None:
    one, two = open_link(), open_link()
    boxes = []
    for link, agent_id in ((one, "a"), (one, "b"), (two, "c")):
        link.claim(agent_id)
        boxes.append(Box(link, agent_id))
    assert send(one, "*", b"all") is Outcome.ACCEPTED
    assert [box.next().body for box in boxes] == [b"all"] * 3


def test_nobody_there_is_told_as_unroutable(open_link: OpenLink) -> None:
    link = open_link()
    assert send(link, "nobody") is Outcome.UNROUTABLE
    assert send(link, "*") is Outcome.UNROUTABLE


@pytest.mark.parametrize(
    "agent_id", ["#", "a.*", "a.#", "ü" * 127, "x" * 255, "a b", "%41", "../a"]
)
def test_any_id_gets_its_own_mail_and_no_other(open_link: OpenLink, agent_id: str) -> None:
    link = open_link()
    link.claim(agent_id)
    link.claim("a.b")
    box, other = Box(link, agent_id), Box(link, "a.b")
    assert send(link, "a.b", b"for a.b") is Outcome.ACCEPTED
    assert send(link, agent_id, b"for it") is Outcome.ACCEPTED
    assert box.next().body == b"for it"
    assert other.next().body == b"for a.b"


def test_mail_waits_from_the_claim_on(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    assert send(link, "a", b"early") is Outcome.ACCEPTED
    assert Box(link, "a").next().body == b"early"


def test_many_threads_share_a_link_and_each_keeps_its_order(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a")

    def publish(name: int) -> None:
        for number in range(300):
            link.publish("a", b"%d %d" % (name, number), Properties(), timeout=LIMIT)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    arrived = [tuple(map(int, body.split())) for body in box.bodies(1200)]
    for thread in threads:
        thread.join(LIMIT)
    assert [n for name, n in arrived if name == 2] == list(range(300))
    assert sorted(arrived) == [(name, n) for name in range(4) for n in range(300)]


def test_what_is_not_acknowledged_comes_again_to_the_next_holder(open_link: OpenLink) -> None:
    first, second = open_link(), open_link()
    first.claim("a")
    box = Box(first, "a", acknowledge=False, prefetch=2)
    for body in (b"1", b"2", b"3"):
        assert send(second, "a", body) is Outcome.ACCEPTED
    done = box.next()
    for _ in range(2):
        first.acknowledge(done)  # the second time is ignored
    assert box.next().body == b"2"
    first.release("a", delete_mailbox=False)
    second.claim("a")
    again = Box(second, "a")
    deliveries = [again.next(), again.next()]
    assert [delivery.body for delivery in deliveries] == [b"2", b"3"]
    assert deliveries[0].redelivered


@pytest.mark.parametrize("order", ["012", "210", "13", "402", "4310"])
def test_exactly_what_was_acknowledged_is_taken_out_in_whatever_order(
    open_link: OpenLink, order: str
) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a", acknowledge=False)
    for number in range(5):
        assert send(link, "a", b"%d" % number) is Outcome.ACCEPTED
    deliveries = [box.next() for _ in range(5)]
    for number in map(int, order):
        link.acknowledge(deliveries[number])
    link.release("a", delete_mailbox=False)
    link.claim("a")
    left = [b"%d" % number for number in range(5) if str(number) not in order]
    assert Box(link, "a").bodies(len(left)) == left


def test_no_more_than_prefetch_is_delivered_unacknowledged(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a", acknowledge=False, prefetch=1)
    for body in (b"1", b"2"):
        assert send(link, "a", body) is Outcome.ACCEPTED
    first = box.next()
    # The second is not on its way: another round trip to the server ends without it.
    assert send(link, "nobody") is Outcome.UNROUTABLE
    assert box.deliveries.empty()
    link.acknowledge(first)
    assert box.next().body == b"2"


def test_express_mail_does_not_wait_for_acknowledgements(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a", acknowledge=False, prefetch=1)
    for body in (b"1", b"2"):
        assert send(link, "a", body) is Outcome.ACCEPTED
    assert box.next().body == b"1"
    for body in (b"e1", b"e2"):
        assert send(link, Topology("any").express_key("a"), body) is Outcome.ACCEPTED
    assert box.bodies(2) == [b"e1", b"e2"]


def test_a_mailbox_that_goes_gives_out_what_it_has_and_is_found_by_nobody(
    open_link: OpenLink,
) -> None:
    link, topology = open_link(), Topology("any")
    link.claim("a")
    bodies = [str(number).encode() for number in range(100)]
    box = Box(link, "a", prefetch=1)
    for body in bodies:
        assert send(link, "a", body) is Outcome.ACCEPTED
    undelivered: list[int] = []
    link.release("a", delete_mailbox=True, on_undelivered=undelivered.append)
    assert box.bodies(100) == bodies
    assert undelivered == []
    for key in ("a", topology.broadcast_key, topology.express_key("a")):
        assert send(link, key) is Outcome.UNROUTABLE


def test_what_nobody_takes_goes_with_the_mailbox_and_is_counted(
    open_link: OpenLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agency.spaces.amqp_farewell._STUCK_TIME", 0.1)
    link = open_link()
    link.claim("a")
    box = Box(link, "a", acknowledge=False, prefetch=1)
    for _ in range(5):
        assert send(link, "a") is Outcome.ACCEPTED
    box.next()
    undelivered: list[int] = []
    link.release("a", delete_mailbox=True, on_undelivered=undelivered.append)
    assert undelivered == [4]


def test_mail_that_goes_with_its_mailbox_was_delivered_or_is_counted(open_link: OpenLink) -> None:
    """While somebody writes to it as fast as he can."""
    link, other = open_link(), open_link()
    with ThreadPoolExecutor(1) as elsewhere:
        for _ in range(10):
            link.claim("a")
            box = Box(link, "a", prefetch=1)
            accepted = elsewhere.submit(send_until_unroutable, other, "a")
            box.next()
            undelivered: list[int] = []
            link.release("a", delete_mailbox=True, on_undelivered=undelivered.append)
            assert accepted.result(LIMIT) == 1 + box.deliveries.qsize() + sum(undelivered)


def send_until_unroutable(link: Link, to: str) -> int:
    """How many messages were accepted."""
    in_a_row = 32  # written together, so that there is always one under way
    accepted = 0
    while True:
        publications = [
            link.publish(to, b"{}", Properties(message_id=f"m{next(numbers)}"), timeout=LIMIT)
            for _ in range(in_a_row)
        ]
        outcomes = [publication.wait(LIMIT) for publication in publications]
        accepted += outcomes.count(Outcome.ACCEPTED)
        if Outcome.UNROUTABLE in outcomes:
            return accepted


def test_a_deleted_mailbox_takes_its_mail_along(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    assert send(link, "a") is Outcome.ACCEPTED
    link.release("a", delete_mailbox=True)
    assert send(link, "a") is Outcome.UNROUTABLE


def test_a_message_that_cannot_be_written_is_refused_and_the_next_one_goes(
    open_link: OpenLink,
) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a")
    for bad in (Properties(headers={"x": 1.5}), Properties(message_id="ü" * 128)):
        with pytest.raises(ValueError, match=r"1\.5|256 bytes"):
            link.publish("a", b"bad", bad, timeout=LIMIT)
    assert send(link, "a", b"good") is Outcome.ACCEPTED
    assert box.next().body == b"good"


def test_a_message_that_the_server_refuses_harms_no_other(open_link: OpenLink) -> None:
    link = open_link()
    link.claim("a")
    box = Box(link, "a")
    publications = []
    for number in range(20):
        properties = Properties(
            message_id=str(number), user_id="somebody else" if number == 7 else None
        )
        publications.append(link.publish("a", b"%d" % number, properties, timeout=LIMIT))
    outcomes = [publication.wait(LIMIT) for publication in publications]
    assert outcomes.count(Outcome.ACCEPTED) == 19
    assert outcomes[7] is Outcome.REFUSED
    assert "user_id" in publications[7].detail
    arrived = box.distinct(19)  # those that were unconfirmed when it happened come twice
    assert [int(body) for body in arrived] == [number for number in range(20) if number != 7]


def test_routing_keys_are_at_most_255_bytes(open_link: OpenLink) -> None:
    link = open_link()
    with pytest.raises(ValueError, match="255"):
        link.claim("x" * 256)
    with pytest.raises(ValueError, match="255"):
        link.publish("ü" * 128, b"", Properties(), timeout=0)


# Identity


def test_an_id_in_use_is_refused_at_once_and_its_holder_left_alone(open_link: OpenLink) -> None:
    first, second = open_link(), open_link()
    first.claim("a")
    box = Box(first, "a")
    for link in (first, second):
        with pytest.raises(AgentIdInUse, match="'a'"):
            link.claim("a", patience=LIMIT * 10)
    assert send(second, "a", b"still here") is Outcome.ACCEPTED
    assert box.next().body == b"still here"


def test_of_many_claimants_exactly_one_wins(open_link: OpenLink) -> None:
    links = [open_link() for _ in range(5)]
    results: queue.SimpleQueue[str] = queue.SimpleQueue()

    def claim(link: Link) -> None:
        try:
            link.claim("a")
            results.put("won")
        except AgentIdInUse:
            results.put("lost")

    threads = [threading.Thread(target=claim, args=(link,)) for link in links for _ in range(20)]
    for thread in threads:
        thread.start()
    assert sorted(results.get(timeout=LIMIT) for _ in threads) == ["lost"] * 99 + ["won"]


def test_a_released_id_is_free_at_once(open_link: OpenLink) -> None:
    first, second = open_link(), open_link()
    for link in (first, second, first):
        link.claim("a")
        link.release("a", delete_mailbox=True)


def test_a_closed_link_frees_its_ids_and_keeps_their_mail(open_link: OpenLink) -> None:
    first, second = open_link(), open_link()
    first.claim("a")
    assert send(second, "a", b"kept") is Outcome.ACCEPTED
    assert first.close(LIMIT) == []
    second.claim("a")
    assert Box(second, "a").next().body == b"kept"


@contextlib.contextmanager
def silent_holder(broker: BrokerAddress, link: Link, agent_id: str) -> Iterator[None]:
    """Holds a lease and says nothing, as what is left of a dead process does until the server notices."""
    connection = amqp.Connection(
        f"{broker.host}:{broker.port}", broker.username, broker.password, virtual_host=broker.vhost
    )
    connection.connect()
    connection.channel().queue_declare(
        link.topology.lease(agent_id), exclusive=True, auto_delete=False, arguments=LEASE_ARGUMENTS
    )
    try:
        yield
    finally:
        connection.close()


def test_a_silent_holder_is_waited_for_and_succeeded(
    broker: BrokerAddress, open_link: OpenLink
) -> None:
    link, observer = open_link(), open_link()
    claimed = threading.Event()

    def claim() -> None:
        link.claim("a", patience=LIMIT)
        claimed.set()

    with silent_holder(broker, link, "a"):
        thread = threading.Thread(target=claim)
        thread.start()
        with pytest.raises(AgentIdInUse):
            observer.claim("a", patience=0.5)
        assert not claimed.is_set()
    assert claimed.wait(LIMIT)
    thread.join(LIMIT)


def test_a_mailbox_of_another_shape_is_refused_by_name(
    broker: BrokerAddress, open_link: OpenLink
) -> None:
    link = open_link()
    connection = amqp.Connection(
        f"{broker.host}:{broker.port}", broker.username, broker.password, virtual_host=broker.vhost
    )
    connection.connect()
    channel = connection.channel()
    mailbox = link.topology.mailbox("a")
    channel.queue_declare(mailbox, durable=True, auto_delete=False)
    with pytest.raises(BrokerRefused, match=r"inequivalent arg 'x-"):
        link.claim("a", patience=LIMIT * 10)
    channel.queue_delete(mailbox)
    link.claim("a")  # nothing of the first attempt is left
    connection.close()


def test_an_exchange_of_another_type_is_refused_by_name(broker: BrokerAddress) -> None:
    topology = Topology(f"test-{uuid.uuid4().hex}")
    connection = amqp.Connection(
        f"{broker.host}:{broker.port}", broker.username, broker.password, virtual_host=broker.vhost
    )
    connection.connect()
    channel = connection.channel()
    channel.exchange_declare(topology.exchange, "topic", durable=True, auto_delete=False)
    with pytest.raises(BrokerRefused, match="inequivalent arg 'type'"):
        Link.connect(options_for(broker, connect_timeout=LIMIT * 10), topology)
    channel.exchange_delete(topology.exchange)
    connection.close()


def test_a_lease_deleted_from_outside_is_noticed_and_taken_again(vhost: BrokerAddress) -> None:
    with links_to(vhost) as open_link:
        link = open_link()
        leases: queue.SimpleQueue[bool] = queue.SimpleQueue()
        link.claim("a", leases.put)
        box = Box(link, "a")
        delete_queue(vhost, "lease")
        assert leases.get(timeout=LIMIT) is False
        assert leases.get(timeout=LIMIT) is True
        assert send(link, "a", b"back") is Outcome.ACCEPTED
        assert box.next().body == b"back"
        with pytest.raises(AgentIdInUse):
            open_link().claim("a")


@pytest.mark.parametrize("purpose", ["mailbox", "express"])
def test_a_mailbox_deleted_from_outside_is_made_again(
    vhost: BrokerAddress, caplog: pytest.LogCaptureFixture, purpose: str
) -> None:
    """Of which the operator hears: what was in it is gone."""
    with links_to(vhost) as open_link:
        link = open_link()
        leases: queue.SimpleQueue[bool] = queue.SimpleQueue()
        link.claim("a", leases.put)
        box = Box(link, "a")
        delete_queue(vhost, purpose)
        assert [leases.get(timeout=LIMIT), leases.get(timeout=LIMIT)] == [False, True]
        assert "'a' is not served for now: its mailbox was deleted" in caplog.text
        for key in ("a", link.topology.express_key("a")):
            assert send(link, key, b"back") is Outcome.ACCEPTED
            assert box.next().body == b"back"


def delete_queue(broker: BrokerAddress, purpose: str) -> None:
    names = broker.rabbitmqctl("list_queues", "--vhost", broker.vhost, "name").split()
    (name,) = [name for name in names if f".{purpose}." in name]
    broker.rabbitmqctl("delete_queue", "--vhost", broker.vhost, name)


# Cut connections and restarts


def cut_all(broker: BrokerAddress) -> None:
    broker.rabbitmqctl("close_all_connections", "--vhost", broker.vhost, "cut by a test")


def test_a_thousand_messages_arrive_in_order_while_connections_are_cut(
    vhost: BrokerAddress,
) -> None:
    with links_to(vhost) as open_link:
        sender, receiver = open_link(), open_link()
        receiver.claim("a")
        box = Box(receiver, "a")
        halfway = threading.Event()
        outcomes: list[Outcome] = []

        def publish() -> None:
            publications = []
            for number in range(1000):
                publications.append(
                    sender.publish(
                        "a", b"%d" % number, Properties(message_id=str(number)), timeout=LIMIT
                    )
                )
                if number == 300:
                    halfway.set()
                    assert publications[-1].wait(LIMIT) is Outcome.ACCEPTED
            outcomes.extend(publication.wait(LIMIT) for publication in publications)

        thread = threading.Thread(target=publish)
        thread.start()
        assert halfway.wait(LIMIT)
        cut_all(vhost)
        thread.join(LIMIT)
        assert outcomes == [Outcome.ACCEPTED] * 1000
        assert box.distinct(1000) == [b"%d" % number for number in range(1000)]
        assert sender.reconnects >= 1


def test_a_cut_is_reported_and_the_id_and_its_mail_come_back(vhost: BrokerAddress) -> None:
    with links_to(vhost) as open_link:
        link = open_link()
        leases: queue.SimpleQueue[bool] = queue.SimpleQueue()
        link.claim("a", leases.put)
        box = Box(link, "a", acknowledge=False)
        assert send(link, "a", b"1") is Outcome.ACCEPTED
        old = box.next()
        cut_all(vhost)
        assert [leases.get(timeout=LIMIT), leases.get(timeout=LIMIT)] == [False, True]
        link.acknowledge(old)  # of an earlier channel: ignored
        again = box.next()
        assert (again.body, again.redelivered) == (b"1", True)
        link.acknowledge(again)
        link.release("a", delete_mailbox=False)
        link.claim("a")
        assert send(link, "a", b"2") is Outcome.ACCEPTED
        assert Box(link, "a").next().body == b"2"


def test_durable_mail_and_unsent_mail_survive_a_restart_of_the_server(own_broker: Broker) -> None:
    with links_to(own_broker.address) as open_link:
        sender, receiver = open_link(), open_link()
        leases: queue.SimpleQueue[bool] = queue.SimpleQueue()
        receiver.claim("a", leases.put)
        assert send(sender, "a", b"before") is Outcome.ACCEPTED
        own_broker.stop()
        assert leases.get(timeout=LIMIT) is False
        waiting = sender.publish("a", b"meanwhile", Properties(message_id="m"), timeout=LIMIT)
        own_broker.start()
        assert leases.get(timeout=LIMIT) is True
        assert waiting.wait(LIMIT) is Outcome.ACCEPTED
        assert Box(receiver, "a").bodies(2) == [b"before", b"meanwhile"]


def test_mail_survives_a_server_that_is_killed(own_broker: Broker) -> None:
    with links_to(own_broker.address) as open_link:
        link = open_link()
        link.claim("a")
        assert send(link, "a", b"before") is Outcome.ACCEPTED
        own_broker.kill()
        own_broker.start()
        assert Box(link, "a").next().body == b"before"


def test_without_a_server_messages_are_given_up_by_name_and_closing_is_bounded(
    own_broker: Broker,
) -> None:
    with links_to(own_broker.address) as open_link:
        link = open_link()
        link.claim("a")
        own_broker.stop()
        unsent = link.publish("a", b"1", Properties(), timeout=LIMIT)
        assert unsent.wait(0.05) in {Outcome.NOT_SENT, Outcome.UNKNOWN}
        left = link.publish("a", b"2", Properties(), timeout=LIMIT)
        settled = threading.Event()
        left.when_settled(lambda _: settled.set())
        assert link.close(0.05) == [left]
        assert settled.wait(LIMIT)
        with pytest.raises(SpaceClosed):
            link.publish("a", b"3", Properties(), timeout=0)
        with pytest.raises(SpaceClosed):
            link.claim("b")
        assert link.close(0) == []


def test_while_the_server_is_short_of_memory_mail_is_received_and_sending_waits(
    own_broker: Broker,
) -> None:
    with links_to(own_broker.address) as open_link:
        link = open_link()
        link.claim("a")
        box = Box(link, "a", acknowledge=False, prefetch=1)
        for body in (b"1", b"2"):
            assert send(link, "a", body) is Outcome.ACCEPTED
        taken = box.next()
        make_short_of(own_broker, "memory")
        waiting = link.publish("a", b"3", Properties(message_id="3"), timeout=LIMIT)
        eventually(lambda: link.blocked)
        link.acknowledge(taken)
        assert box.next().body == b"2"
        link.release("a", delete_mailbox=False)  # over the other connection
        link.claim("a")
        again = Box(link, "a")
        assert again.next().body == b"2"
        assert link.blocked
        assert waiting.outcome is None
        own_broker.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
        assert waiting.wait(LIMIT) is Outcome.ACCEPTED
        assert again.next().body == b"3"
        assert again.deliveries.empty()


@pytest.mark.parametrize("trouble", ["frozen", "short of memory"])
def test_closing_is_bounded_when_the_server_is(own_broker: Broker, trouble: str) -> None:
    with links_to(own_broker.address) as open_link:
        link = open_link()
        for number in range(5):
            link.claim(str(number))
        assert own_broker.pid
        if trouble == "frozen":
            os.kill(own_broker.pid, signal.SIGSTOP)
        else:
            make_short_of(own_broker, "memory")
        try:
            left = link.publish("0", b"x", Properties(), timeout=LIMIT)
            closed: queue.SimpleQueue[Any] = queue.SimpleQueue()

            def close() -> None:
                for number in range(5):
                    link.release(str(number), delete_mailbox=True)
                closed.put(link.close(0.2))

            thread = threading.Thread(target=close)
            thread.start()
            assert closed.get(timeout=LIMIT) == [left]
            thread.join(LIMIT)
            assert not any(thread.name == "agency-amqp" for thread in threading.enumerate())
        finally:
            if trouble == "frozen":
                os.kill(own_broker.pid, signal.SIGCONT)


# Failing to connect


def refused(broker: BrokerAddress, **others: Any) -> str:
    with pytest.raises(BrokerRefused) as caught:
        Link.connect(options_for(broker, **others), Topology("test-refused"))
    return str(caught.value)


def test_a_wrong_password_is_refused_at_once_and_never_shown(broker: BrokerAddress) -> None:
    text = refused(broker, password="s3cret", connect_timeout=LIMIT * 10)
    assert "password" in text
    assert f"{broker.host}:{broker.port}" in text
    assert "s3cret" not in text


def test_a_missing_virtual_host_is_refused_by_name(broker: BrokerAddress) -> None:
    text = refused(broker, virtual_host="no-such-vhost", connect_timeout=LIMIT * 10)
    assert "no virtual host 'no-such-vhost'" in text


def test_a_user_without_permission_is_refused_by_name(vhost: BrokerAddress) -> None:
    vhost.rabbitmqctl("set_permissions", "--vhost", vhost.vhost, vhost.username, "^$", "^$", "^$")
    assert "refused" in refused(vhost)
    vhost.rabbitmqctl("clear_permissions", "--vhost", vhost.vhost, vhost.username)
    assert "may not use virtual host" in refused(vhost)


def test_tls_to_a_server_without_it_is_refused_at_once(broker: BrokerAddress) -> None:
    assert "TLS" in refused(broker, use_ssl=True, connect_timeout=LIMIT * 10)


def test_no_server_is_reported_with_address_and_reason() -> None:
    port = free_port()
    options = AMQPOptions(hostname="127.0.0.1", port=port, connect_timeout=0.3)
    with pytest.raises(BrokerUnreachable, match=f"127.0.0.1:{port}.*refused"):
        Link.connect(options, Topology("test"))


def test_a_connection_reset_in_the_moment_it_is_made_is_one_that_failed() -> None:
    """As by a proxy whose server is down. It is no unexpected error, and the other connection goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    outcomes: list[Any] = []

    def done(outcome: Any) -> None:
        outcomes.append(outcome)
        loop.stop()

    loop = IOLoop(lambda: None)
    IOServices(loop).create_streaming_connection(pytest.fail, client, done)
    assert not outcomes  # pika expects to be told later
    loop.start()
    loop.close()
    assert [type(one) for one in outcomes] == [OSError]
    assert client.fileno() == -1


def test_a_server_that_never_answers_is_reported_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        options = AMQPOptions(hostname="127.0.0.1", port=port, connect_timeout=0.3)
        with pytest.raises(BrokerUnreachable, match=f"127.0.0.1:{port}"):
            Link.connect(options, Topology("test"))


def test_a_server_that_starts_late_is_waited_for(own_broker: Broker) -> None:
    own_broker.stop()
    address = own_broker.address
    connected: queue.SimpleQueue[Link] = queue.SimpleQueue()
    options = options_for(address, connect_timeout=60)
    thread = threading.Thread(target=lambda: connected.put(Link.connect(options, Topology("late"))))
    thread.start()
    own_broker.start()
    connected.get(timeout=60).close(0)
    thread.join(LIMIT)


def test_one_host_of_several_is_enough(broker: BrokerAddress) -> None:
    options = options_for(
        broker, hostname=[f"127.0.0.1:{free_port()}", f"{broker.host}:{broker.port}"]
    )
    Link.connect(options, Topology("test-hosts")).close(0)


def test_closing_leaves_no_thread_behind(broker: BrokerAddress) -> None:
    before = set(threading.enumerate())
    link = Link.connect(options_for(broker), Topology("test-threads"))
    link.claim("a")
    assert link.close(LIMIT) == []
    assert set(threading.enumerate()) == before

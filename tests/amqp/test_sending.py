"""What is sent ends in time and with the right word, whatever breaks and whatever is full."""

from __future__ import annotations

import itertools
import logging
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import amqp
import pytest

from agency import Agent, AMQPSpace, MailboxFull, NotAccepted, RequestTimeout, action
from agency.spaces import amqp_space
from agency.spaces.amqp_link import Link, Outcome, Properties, Publication, Topology
from agency.spaces.amqp_topology import MAILBOX_ARGUMENTS
from tests.amqp.test_link import Box, send
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.proxy import Proxy
from tests.faults.tools import begin, ends, eventually
from tests.programs import PATIENCE

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

numbers = itertools.count()

OpenLink = Callable[..., Link]


@pytest.fixture
def open_link(broker: BrokerAddress, topology: Topology) -> Iterator[OpenLink]:
    """Opens links of one space, to the broker or to what stands before it at a port."""
    opened: list[Link] = []

    def open_link(port: int = broker.port, topology: Topology = topology) -> Link:
        options = options_for(broker, hostname="127.0.0.1", port=port, heartbeat=10)
        opened.append(Link.connect(options, topology))
        return opened[-1]

    yield open_link
    for link in opened:
        link.close(0)


def publish(link: Link, to: str, timeout: float | None = PATIENCE) -> Publication:
    properties = Properties(message_id=f"sending-{next(numbers)}")
    return link.publish(to, b"{}", properties, timeout=timeout)


@pytest.fixture
def small_mailboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAILBOX_ARGUMENTS, "x-max-length", 2)


def fill(link: Link, to: str) -> None:
    while send(link, to) is not Outcome.REFUSED:
        pass


# Refusals


@pytest.mark.usefixtures("small_mailboxes")
def test_a_link_cut_while_a_mailbox_is_full_comes_back(
    open_link: OpenLink, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is asked why a message was refused, and another one is."""
    holder, link = open_link(), open_link(proxy.port)
    holder.claim("full")
    fill(holder, "full")
    proxy.swallow("declare-ok")
    refused = [publish(link, "full")]
    eventually(lambda: proxy.swallowed > 0)  # so it is being asked
    refused.append(publish(link, "full"))
    assert publish(link, "nobody").wait(PATIENCE) is Outcome.UNROUTABLE  # so it has been refused
    proxy.swallow()
    proxy.cut()
    for publication in refused:
        assert publication.wait(PATIENCE) is Outcome.UNKNOWN
    assert publish(link, "full").wait(PATIENCE) is Outcome.REFUSED
    assert publish(link, "nobody").wait(PATIENCE) is Outcome.UNROUTABLE
    assert "unexpected error" not in caplog.text


@pytest.mark.usefixtures("small_mailboxes")
def test_a_message_given_up_while_it_is_asked_about_breaks_no_link(
    open_link: OpenLink, proxy: Proxy
) -> None:
    holder, link = open_link(), open_link(proxy.port)
    holder.claim("full")
    fill(holder, "full")
    proxy.swallow("declare-ok")
    given_up = publish(link, "full")
    eventually(lambda: proxy.swallowed > 0)
    assert given_up.wait(0) is Outcome.UNKNOWN
    proxy.swallow()
    proxy.cut()  # which answers the question as well
    eventually(lambda: link.reconnects == 2)
    assert publish(link, "full").wait(PATIENCE) is Outcome.REFUSED
    for _ in range(2):
        assert publish(link, "nobody").wait(PATIENCE) is Outcome.UNROUTABLE
    assert link.reconnects == 2


@pytest.mark.usefixtures("small_mailboxes")
def test_a_mailbox_of_which_the_server_says_nothing_holds_up_no_later_sender(
    open_link: OpenLink, proxy: Proxy
) -> None:
    holder, link = open_link(), open_link(proxy.port)
    holder.claim("full")
    fill(holder, "full")
    proxy.swallow("declare-ok")
    first = publish(link, "full")
    eventually(lambda: proxy.swallowed > 0)
    later = publish(link, "full")
    for publication in (first, later, publish(link, "full")):
        assert publication.wait(PATIENCE) is Outcome.UNKNOWN
        assert "does not say" in publication.detail
    assert proxy.swallowed == 1
    assert link.reconnects == 0


@pytest.mark.usefixtures("small_mailboxes")
@pytest.mark.parametrize("sender_has_replicated", [False, True])
@pytest.mark.parametrize("receiver_has_replicated", [False, True])
def test_a_full_mailbox_is_called_full_whichever_kind_it_is(
    broker: BrokerAddress,
    topology: Topology,
    sender_has_replicated: bool,
    receiver_has_replicated: bool,
) -> None:
    go = threading.Event()

    def space(replicated: bool) -> AMQPSpace:
        options = options_for(broker, heartbeat=10)
        return AMQPSpace(options, exchange=topology.space, replicated=replicated, grace=0.1)

    with space(receiver_has_replicated) as home, space(sender_has_replicated) as elsewhere:
        home.add(Standing("bob", go))
        fill_with_notes(elsewhere.join("ann"))
        go.set()


def test_a_full_queue_that_is_no_agents_of_this_library_is_called_full(
    broker: BrokerAddress, open_link: OpenLink, topology: Topology
) -> None:
    link = open_link()
    address = f"{broker.host}:{broker.port}"
    with amqp.Connection(
        address, broker.username, broker.password, virtual_host=broker.vhost
    ) as connection:
        channel = connection.channel()
        bound = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = channel.queue_declare("", exclusive=True, arguments=bound).queue
        channel.queue_bind(queue, topology.exchange, "me")
        assert send(link, "me") is Outcome.ACCEPTED
        assert send(link, "me") is Outcome.REFUSED


class Standing(Agent):
    """Never ends the first message, unless it is let go."""

    def __init__(self, id: str, go: threading.Event) -> None:
        super().__init__(id)
        self.go = go

    @action
    def note(self) -> None:
        self.go.wait(PATIENCE)


class Working(Agent):
    @action
    def note(self) -> None: ...


def fill_with_notes(sender: Agent) -> None:
    for _ in range(1000):  # with the 256 that bob is given
        try:
            sender.send(note("bob"))
        except MailboxFull:
            return
    raise AssertionError("the mailbox is never full")


def note(to: str) -> dict[str, Any]:
    return {"to": to, "action": {"name": "note"}}


@pytest.mark.usefixtures("small_mailboxes")
def test_senders_to_a_full_replicated_mailbox_are_told_and_break_no_link(
    broker: BrokerAddress, topology: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    go, options = threading.Event(), options_for(broker, heartbeat=10)
    with (
        AMQPSpace(options, exchange=topology.space, replicated=True, grace=0.1) as home,
        AMQPSpace(options, exchange=topology.space, replicated=True) as elsewhere,
        ThreadPoolExecutor(8) as together,
    ):
        home.add(Standing("bob", go))
        home.add(Working, "carl")
        ann = elsewhere.join("ann")
        fill_with_notes(ann)
        caplog.clear()
        full = [together.submit(ann.send, note("bob")) for _ in range(40)]
        others = [together.submit(ann.send, note("carl")) for _ in range(2)]
        assert {type(one.exception(PATIENCE)) for one in full} == {MailboxFull}
        for one in others:
            one.result(PATIENCE)
        assert "connection lost" not in caplog.text
        go.set()


# Links


@contextmanager
def no_file_descriptors() -> Iterator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_link_that_finds_no_file_descriptor_for_a_while_comes_back(
    open_link: OpenLink, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    link = open_link(proxy.port)
    link.claim("a")
    box = Box(link, "a")
    assert send(link, "a") is Outcome.ACCEPTED
    box.next()
    with no_file_descriptors(), caplog.at_level(logging.ERROR, "agency.amqp"):
        proxy.cut()
        eventually(lambda: caplog.text.count("unexpected error") >= 3)
    assert publish(link, "a").wait(PATIENCE) is Outcome.ACCEPTED
    box.next()


def test_a_forged_question_for_an_id_breaks_the_link_once_and_not_again(
    broker: BrokerAddress, open_link: OpenLink, topology: Topology
) -> None:
    link, other = open_link(), open_link()
    link.claim("a")
    box = Box(link, "a")
    forged = {"type": "agency-probe", "reply_to": "amq.rabbitmq.reply-to.g2dQAAAAAAAA.AAAA=="}
    address = f"{broker.host}:{broker.port}"
    with amqp.Connection(
        address, broker.username, broker.password, virtual_host=broker.vhost
    ) as connection:
        channel = connection.channel()

        def ask() -> None:
            channel.basic_publish(amqp.Message(b"", **forged), "", topology.lease("a"))

        ask()
        eventually(lambda: link.reconnects == 1)
        for _ in range(5):
            ask()
            assert send(other, "a") is Outcome.ACCEPTED
            box.next()  # so the question has been read
            assert publish(link, "nobody").wait(PATIENCE) is Outcome.UNROUTABLE
    assert link.reconnects == 1


# Time


def test_a_request_that_finds_no_room_ends_when_nobody_waits_for_it_any_more(
    broker: BrokerAddress,
    topology: Topology,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(amqp_space, "SEND_TIMEOUT", 1000.0)
    options = options_for(broker, hostname="127.0.0.1", port=proxy.port)
    space = AMQPSpace(options, exchange=topology.space)
    try:
        ann = space.join("ann")
        proxy.refuse()
        eventually(lambda: "publishing connection lost" in caplog.text)
        large = {"to": "bob", "action": {"name": "note", "args": {"text": "x" * 7_000_000}}}
        sending = [begin(lambda: ann.send(large)) for _ in range(3)]

        def has_no_room() -> bool:
            try:
                ends(lambda: ann.request(note("bob"), timeout=0.2))
            except RequestTimeout:
                return False
            except NotAccepted:
                return True
            raise AssertionError("nobody can have answered")

        eventually(has_no_room)
    finally:
        space.destroy()
    for one in sending:
        with pytest.raises(NotAccepted):
            one.result(PATIENCE)

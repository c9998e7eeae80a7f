"""A space in which the server proves who sent a message, attacked by one who has an account on it.

Alice and Bob have an account each, with exactly the permissions that the guide names. What an
application can do is tried with a space of its own; what an attacker can, with a bare client that
writes what it likes, and is told every name and number that it could guess.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import amqp
import pytest
from amqp.exceptions import AccessRefused, PreconditionFailed

from agency import (
    Agent,
    AgentNotFound,
    AMQPOptions,
    AMQPSpace,
    BrokerRefused,
    InvalidAgentId,
    action,
)
from agency.agent import handling
from agency.spaces.amqp_topology import Topology
from tests.broker import BrokerAddress
from tests.faults.tools import begin, eventually
from tests.programs import PATIENCE

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "spaces.md"
FORGERIES = 1000


@dataclass
class Account:
    """An account on the server, and the names that are its own there."""

    name: str
    password: str
    vhost: BrokerAddress

    @property
    def topology(self) -> Topology:
        return Topology("agency", self.name)

    def space(self, *, verified_senders: bool = True) -> AMQPSpace:
        """An application of this account."""
        options = AMQPOptions(
            hostname=self.vhost.host,
            port=self.vhost.port,
            username=self.name,
            password=self.password,
            virtual_host=self.vhost.vhost,
            heartbeat=1,
        )
        return AMQPSpace(options, verified_senders=verified_senders)

    @contextlib.contextmanager
    def client(self) -> Iterator[amqp.Connection]:
        """A bare client of this account."""
        with amqp.Connection(
            f"{self.vhost.host}:{self.vhost.port}",
            self.name,
            self.password,
            virtual_host=self.vhost.vhost,
        ) as connection:
            yield connection


@pytest.fixture(scope="module")
def accounts(broker: BrokerAddress) -> Iterator[tuple[Account, Account]]:
    """Alice's and Bob's, in a virtual host that only they can use."""
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    run = uuid.uuid4().hex[:8]
    vhost = BrokerAddress(port=broker.port, vhost=f"verified-{run}", ctl=broker.ctl, env=broker.env)
    broker.rabbitmqctl("add_vhost", vhost.vhost)
    both = tuple(Account(f"{who}-{run}", secrets.token_hex(16), vhost) for who in ("alice", "bob"))
    for one in both:
        broker.rabbitmqctl("add_user", one.name, one.password)
        permissions = one.topology.permissions(one.name)
        broker.rabbitmqctl("set_permissions", "--vhost", vhost.vhost, one.name, *permissions)
    yield both[0], both[1]
    for one in both:
        broker.rabbitmqctl("delete_user", one.name)
    broker.rabbitmqctl("delete_vhost", vhost.vhost)


@pytest.fixture
def alice(accounts: tuple[Account, Account]) -> Account:
    return accounts[0]


@pytest.fixture
def bob(accounts: tuple[Account, Account]) -> Account:
    return accounts[1]


class Vault(Agent):
    """Notes who opens it; and answers a question when it is let go."""

    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=4)
        self.opened_by: list[str] = []
        self.asked: list[str] = []
        self.is_asked, self.go = threading.Event(), threading.Event()

    @action
    def open(self) -> None:
        message = self._current_message
        self.opened_by.append(message["from"])

    @action
    def opened(self) -> list[str]:
        return list(self.opened_by)

    @action
    def answer(self) -> str:
        turn = handling.get()
        assert turn is not None
        self.asked.append(turn.envelope.id)
        self.is_asked.set()
        self.go.wait(PATIENCE)
        return "the truth"

    @action
    def count(self, to: int) -> Any:
        turn = handling.get()
        assert turn is not None
        self.asked.append(turn.envelope.id)
        for number in range(to):
            yield number
            if not number:
                self.is_asked.set()
                self.go.wait(PATIENCE)


def call(sender: str, to: str, name: str, **args: Any) -> str:
    return json.dumps({"from": sender, "to": to, "action": {"name": name, "args": args}})


# What honest applications see


def test_applications_of_several_accounts_speak_as_they_do_elsewhere(
    alice: Account, bob: Account
) -> None:
    with alice.space() as hers, bob.space() as his:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        vault.go.set()
        me = his.join()
        assert me.id.startswith(f"{bob.name}/guest-")
        assert me.proxy(vault.id).answer() == "the truth"
        counting = me.stream({"to": vault.id, "action": {"name": "count", "args": {"to": 3}}})
        assert list(counting) == [0, 1, 2]
        for to in (vault.id, "*"):
            me.send({"to": to, "action": {"name": "open"}})
        assert me.proxy(vault.id).opened() == [me.id, me.id]
        with pytest.raises(AgentNotFound):
            me.request({"to": f"{alice.name}/nobody", "action": {"name": "open"}})
        assert his.dead_letters.counts == {"no_such_agent": 1}
        assert hers.dead_letters.counts == {}


def test_mail_waits_for_an_agent_of_the_same_account_that_comes_again(
    alice: Account, bob: Account
) -> None:
    with bob.space() as his:
        me = his.join()
        first = alice.space()
        first.add(Vault, f"{alice.name}/waiting")
        first._link.close(0)  # noqa: SLF001  # as if the process had died
        me.send({"to": f"{alice.name}/waiting", "action": {"name": "open"}})
        with alice.space() as second:
            vault = second.add_foreground(Vault, f"{alice.name}/waiting")
            eventually(lambda: vault.opened_by == [me.id])
        first.destroy()


def test_an_application_adds_agents_of_its_own_account_only(alice: Account, bob: Account) -> None:
    others = [bob.name, f"{bob.name}/x", f"{alice.name}.x", f"{alice.name}x", "x", f"/{alice.name}"]
    with alice.space() as hers:
        for id in others:
            with pytest.raises(InvalidAgentId, match="does not speak for"):
                hers.add(Vault, id)
        hers.add(Vault, alice.name)
        hers.add(Vault, f"{alice.name}/" + "x" * 200)


def test_an_application_without_verification_cannot_speak_with_one_that_has_it(
    broker: BrokerAddress,
) -> None:
    options = AMQPOptions.from_environment({"AMQP_URL": broker.url()})
    name = f"half-verified-{uuid.uuid4().hex}"
    with (
        AMQPSpace(options, exchange=name, verified_senders=True) as verified,
        AMQPSpace(options, exchange=name) as other,
    ):
        vault = verified.add_foreground(Vault, f"{broker.username}/vault")
        me = other.join(f"{broker.username}/me")
        with pytest.raises(AgentNotFound):
            me.request({"to": vault.id, "action": {"name": "open"}})
        assert vault.opened_by == []


def test_the_guide_gives_the_permissions_that_are_tested_here() -> None:
    configure, write, read = Topology("agency", "alice").permissions("alice")
    guide = re.sub(r" \\\n\s*", " ", GUIDE.read_text(encoding="utf-8"))
    assert (
        f"rabbitmqctl set_permissions --vhost agency alice '{configure}' '{write}' '{read}'"
        in guide
    )


# What Bob tries

Attempt = Callable[[amqp.Channel], Any]


def contents_of(channel: amqp.Channel, queue: str) -> list[Any]:
    """All that has come into a queue so far; it is empty then."""
    channel.basic_publish(amqp.Message("the end"), "", queue)
    bodies: list[Any] = []

    def has_ended() -> bool:
        message = channel.basic_get(queue, no_ack=True)
        bodies.extend([] if message is None else [message.body])
        return bodies[-1:] == ["the end"]

    eventually(has_ended)
    return bodies[:-1]


ON_QUEUES: list[Callable[..., Any]] = [
    amqp.Channel.basic_get,
    amqp.Channel.basic_consume,
    amqp.Channel.queue_purge,
    amqp.Channel.queue_delete,
    amqp.Channel.queue_declare,
    partial(amqp.Channel.queue_declare, exclusive=True),
    partial(amqp.Channel.queue_bind, exchange="amq.direct", routing_key="x"),
    partial(amqp.Channel.queue_unbind, exchange="amq.direct", routing_key="agency.v1.*"),
]


def test_of_a_thousand_messages_in_anothers_name_none_is_accepted(
    alice: Account, bob: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "agency.amqp")
    with alice.space() as hers, bob.client() as client:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        topology = alice.topology
        ways: list[tuple[str, str]] = [
            (topology.mail_exchange, topology.key(vault.id)),
            (topology.mail_exchange, topology.express_key(vault.id)),
            (topology.exchange, topology.broadcast_key),
        ]
        names = [alice.name, vault.id, f"{alice.name}/else", f"{bob.name}x", f"/{bob.name}", "*x"]
        channel = client.channel()
        arrived = 0
        for number in range(FORGERIES):
            exchange, key = ways[number % len(ways)]
            name = names[number % len(names)]
            to = "*" if exchange == topology.exchange else vault.id
            claims = (None, bob.name, alice.name)[number // len(ways) % 3]
            properties = {} if claims is None else {"user_id": claims}
            message = amqp.Message(call(name, to, "open"), **properties)
            channel.basic_publish(message, exchange, key)
            if claims == alice.name:
                with pytest.raises(PreconditionFailed):
                    channel.wait(amqp.spec.Channel.Close)
                channel = client.channel()
            else:
                arrived += 1
        honest = amqp.Message(call(f"{bob.name}/me", vault.id, "open"), user_id=bob.name)
        channel.basic_publish(honest, "", topology.key(vault.id))
        eventually(lambda: hers.dead_letters.counts == {"bad_sender": arrived})
        eventually(lambda: vault.opened_by == [f"{bob.name}/me"])
    told = [record for record in caplog.records if "does not speak for" in record.getMessage()]
    assert len(told) == 2  # one for Bob, one for nobody


def test_nobody_else_can_answer_even_with_the_right_numbers(alice: Account, bob: Account) -> None:
    with alice.space() as hers, bob.client() as client:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        asker = hers.join(f"{alice.name}/asker")
        value = begin(
            lambda: asker.request(
                {"id": "7", "to": vault.id, "action": {"name": "answer"}}, timeout=PATIENCE
            )
        )
        assert vault.is_asked.wait(PATIENCE)
        channel, topology = client.channel(), alice.topology
        tried = 0
        for sender, user in ((vault.id, bob.name), (vault.id, None), (f"{bob.name}/x", bob.name)):
            for kind in ("response", "error"):
                for key in (topology.express_key(asker.id), topology.key(asker.id)):
                    properties = {"correlation_id": vault.asked[0], "type": "answer"}
                    if user is not None:
                        properties["user_id"] = user
                    body = call(sender, asker.id, kind, original_message_id="7")
                    channel.basic_publish(amqp.Message(body, **properties), "", key)
                    tried += 1
        eventually(lambda: sum(hers.dead_letters.counts.values()) == tried)
        assert hers.dead_letters.counts == {"bad_sender": 8, "late_answer": 4}
        vault.go.set()
        assert value.result(PATIENCE) == "the truth"


def test_the_number_of_anothers_message_gets_nobody_its_place_or_its_answer(
    alice: Account, bob: Account
) -> None:
    """Numbers of messages can be guessed by whoever was sent some. Bob sends what has Alice's next
    ones, before and while hers are handled.
    """
    with alice.space() as hers, bob.client() as client:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        asker = hers.join(f"{alice.name}/asker")
        channel, key = client.channel(), alice.topology.key(vault.id)
        trap = channel.queue_declare(bob.topology.express(f"{bob.name}/x"), exclusive=True).queue

        def send(number: str, name: str, kind: str) -> None:
            body = call(f"{bob.name}/x", vault.id, name)
            message = amqp.Message(
                body, user_id=bob.name, message_id=number, type=kind, reply_to=trap
            )
            channel.basic_publish(message, "", key)

        life = begin(lambda: asker.proxy(vault.id).answer())
        assert vault.is_asked.wait(PATIENCE)
        incarnation, _, number = vault.asked[0].partition(".")
        send(vault.asked[0], "answer", "request")
        send(f"{incarnation}.{int(number) + 1}", "open", "tell")
        eventually(lambda: len(vault.asked) == 2 and len(vault.opened_by) == 1)
        asker.send({"to": vault.id, "action": {"name": "open"}})
        eventually(lambda: vault.opened_by == [f"{bob.name}/x", asker.id])
        vault.go.set()
        assert life.result(PATIENCE) == "the truth"
        trapped: list[Any] = []

        def has_trapped() -> bool:
            found = channel.basic_get(trap, no_ack=True)
            trapped.extend([] if found is None else [json.loads(found.body)])
            return bool(trapped)

        eventually(has_trapped)  # the answer to Bob's own request
        assert [message["to"] for message in trapped] == [f"{bob.name}/x"]


def test_nobody_else_can_end_a_stream(alice: Account, bob: Account) -> None:
    with alice.space() as hers, bob.client() as client:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        asker = hers.join(f"{alice.name}/asker")
        counting = begin(
            lambda: list(
                asker.stream({"to": vault.id, "action": {"name": "count", "args": {"to": 5}}})
            )
        )
        assert vault.is_asked.wait(PATIENCE)
        channel, topology = client.channel(), alice.topology
        cancel = amqp.Message(
            call(f"{bob.name}/x", vault.id, "cancel"),
            user_id=bob.name,
            correlation_id=vault.asked[0],
            type="cancel",
        )
        channel.basic_publish(cancel, "", topology.express_key(vault.id))
        again = amqp.Message(call(f"{bob.name}/x", vault.id, "open"), user_id=bob.name)
        channel.basic_publish(again, "", topology.express_key(vault.id))
        eventually(lambda: bool(vault.opened_by))  # so the first one has arrived too
        vault.go.set()
        assert counting.result(PATIENCE) == [0, 1, 2, 3, 4]


def test_the_server_keeps_others_from_all_that_is_an_agents(alice: Account, bob: Account) -> None:
    mine = bob.topology.mailbox(bob.name)
    with alice.space() as hers, bob.client() as client:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        names, space_wide = alice.topology, alice.topology.exchange
        client.channel().queue_declare(mine, exclusive=True)
        queues = names.mailbox(vault.id), names.express(vault.id), names.lease(vault.id)
        attempts: list[Attempt] = [
            partial(attempt, queue=queue) for attempt in ON_QUEUES for queue in queues
        ]
        attempts += [
            lambda channel: channel.queue_declare(names.mailbox(f"{alice.name}/to-come")),
            lambda channel: channel.queue_declare(names.mailbox(alice.name)),
            lambda channel: channel.queue_declare("anything"),
            lambda channel: channel.queue_declare(f"{mine}x"),
            lambda channel: channel.queue_bind(mine, "", names.key(vault.id)),
            lambda channel: channel.exchange_declare("agency.v1", "direct"),
            lambda channel: channel.exchange_declare("anything", "fanout"),
            lambda channel: channel.exchange_delete(space_wide),
            lambda channel: channel.exchange_bind("amq.fanout", space_wide, names.broadcast_key),
        ]
        for attempt in attempts:
            with pytest.raises(AccessRefused):
                attempt(client.channel())
        assert hers.join().proxy(vault.id).opened() == []


def test_nobody_gets_a_copy_of_what_is_sent_to_another(alice: Account, bob: Account) -> None:
    with alice.space() as hers, bob.client() as client:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        asker = hers.join(f"{alice.name}/asker")
        names, channel = alice.topology, client.channel()
        tap = channel.queue_declare(bob.topology.mailbox(bob.name), exclusive=True).queue
        for agent in (vault.id, asker.id):
            for key in (agent, names.key(agent), names.express_key(agent), "#", "*"):
                channel.queue_bind(tap, names.exchange, key)
        asker.send({"to": vault.id, "action": {"name": "open"}})
        assert asker.proxy(vault.id).opened() == [asker.id]
        assert contents_of(channel, tap) == []


def test_nobody_can_have_what_is_sent_to_all_come_twice(alice: Account, bob: Account) -> None:
    """By binding the exchange, which he may read and write, to itself."""
    with alice.space() as hers, bob.client() as client:
        asker = hers.join(f"{alice.name}/asker")
        names, channel = alice.topology, client.channel()
        queue = channel.queue_declare(bob.topology.mailbox(bob.name), exclusive=True).queue
        channel.queue_bind(queue, names.exchange, names.broadcast_key)
        channel.exchange_bind(names.exchange, names.exchange, names.broadcast_key)
        asker.send({"to": "*", "action": {"name": "open"}})
        first, *others = contents_of(channel, queue)
        assert json.loads(first)["from"] == asker.id
        assert others == []


def test_nobody_can_send_on_what_another_has_sent_to_all(alice: Account, bob: Account) -> None:
    """A queue can hand what it holds to others, under the name of who sent it."""
    with alice.space() as hers, bob.client() as client:
        asker = hers.join(f"{alice.name}/asker")
        names, channel = alice.topology, client.channel()
        passing_on = {
            "x-dead-letter-exchange": names.exchange,
            "x-dead-letter-routing-key": names.broadcast_key,
        }
        queue = bob.topology.mailbox(bob.name)
        channel.queue_declare(queue, exclusive=True, arguments=passing_on)
        channel.queue_bind(queue, names.exchange, names.broadcast_key)
        asker.send({"to": "*", "action": {"name": "open"}})
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        held: list[Any] = []

        def holds_it() -> bool:
            message = channel.basic_get(queue)
            held.extend([] if message is None else [message])
            return bool(held)

        eventually(holds_it)
        channel.basic_reject(held[0].delivery_tag, requeue=False)
        eventually(lambda: hers.dead_letters.counts == {"bad_sender": 2})  # one for each agent
        assert asker.proxy(vault.id).opened() == []


def test_nobody_gets_the_id_of_another_by_leaving_verification_out(
    alice: Account, bob: Account
) -> None:
    with alice.space() as hers:
        vault = hers.add_foreground(Vault, f"{alice.name}/vault")
        with pytest.raises(BrokerRefused, match=r"agency\.v1"):
            bob.space(verified_senders=False)
        assert hers.join().proxy(vault.id).opened() == []

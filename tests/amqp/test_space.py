"""AMQPSpace: what is true of it beyond what every space promises, and of members that are none of ours."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import amqp
import pytest

from agency import (
    Agent,
    AgentIdInUse,
    AgentNotFound,
    AMQPOptions,
    AMQPSpace,
    BrokerRefused,
    BrokerUnreachable,
    action,
)
from tests.broker import BrokerAddress, free_port

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

LIMIT = 30.0


class Calculator(Agent):
    @action
    def add(self, a: int, b: int) -> int:
        return a + b

    @action
    def fail(self) -> None:
        raise RuntimeError("no")

    @action
    def count(self, to: int) -> Any:
        yield from range(to)


class Asker(Agent):
    """Asks another agent from inside an action."""

    @action
    def ask(self, whom: str, a: int) -> Any:
        return self.request(
            {"to": whom, "action": {"name": "add", "args": {"a": a, "b": 1}}}, timeout=LIMIT
        )


class Slow(Agent):
    """Begins, and waits until it is let go."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.began: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.go = threading.Semaphore(0)

    @action
    def work(self, number: int) -> None:
        self.began.put(number)
        self.go.acquire(timeout=LIMIT)


def options_for(broker: BrokerAddress) -> AMQPOptions:
    return AMQPOptions(
        hostname=broker.host,
        port=broker.port,
        username=broker.username,
        password=broker.password,
        virtual_host=broker.vhost,
    )


class Applications:
    """As many applications of one space as a test asks for, and bare clients of it."""

    def __init__(self, broker: BrokerAddress) -> None:
        self.broker = broker
        self.exchange = f"test-{uuid.uuid4().hex}"
        self.stack = contextlib.ExitStack()

    def join(self) -> AMQPSpace:
        space = AMQPSpace(amqp_options=options_for(self.broker), exchange=self.exchange)
        self.stack.callback(space.destroy)
        return space

    def bare(self) -> BareClient:
        client = BareClient(self.broker, f"{self.exchange}.v1")
        self.stack.callback(client.connection.close)
        return client


class BareClient:
    """A member that knows the exchange's name and the seeds' JSON, and nothing else."""

    def __init__(self, broker: BrokerAddress, exchange: str) -> None:
        self.exchange = exchange
        self.connection = amqp.Connection(
            f"{broker.host}:{broker.port}",
            broker.username,
            broker.password,
            virtual_host=broker.vhost,
        )
        self.connection.connect()
        self.channel = self.connection.channel()
        self.received: list[Any] = []

    def send(self, message: dict[str, Any], **properties: Any) -> None:
        self.send_raw(json.dumps(message), message["to"], **properties)

    def send_raw(self, body: str | bytes, key: str, **properties: Any) -> None:
        self.channel.basic_publish(amqp.Message(body, **properties), self.exchange, key)

    def listen(self, *keys: str) -> None:
        name = self.channel.queue_declare(exclusive=True).queue
        for key in keys:
            self.channel.queue_bind(name, self.exchange, key)
        self.channel.basic_consume(name, callback=self.received.append, no_ack=True)

    def next(self) -> Any:
        while not self.received:
            self.connection.drain_events(timeout=LIMIT)
        return self.received.pop(0)

    def next_message(self) -> Any:
        return json.loads(self.next().body)


@pytest.fixture
def applications(broker: BrokerAddress) -> Iterator[Applications]:
    made = Applications(broker)
    with made.stack:
        yield made


# Between applications


def test_agents_of_two_applications_ask_each_other(applications: Applications) -> None:
    one, two = applications.join(), applications.join()
    two.add(Calculator, "calc")
    one.add(Asker, "asker")
    me = two.join()
    assert me.proxy("asker").ask(whom="calc", a=1) == 2
    assert one.join().proxy("calc").add(a=2, b=3) == 5


def test_an_id_is_unique_across_applications_and_free_after_removal(
    applications: Applications,
) -> None:
    one, two = applications.join(), applications.join()
    one.add(Calculator, "calc")
    with pytest.raises(AgentIdInUse, match="calc"):
        two.add(Calculator, "calc")
    assert two.join().proxy("calc").add(a=1, b=1) == 2
    one.remove("calc")
    two.add(Calculator, "calc")
    assert one.join().proxy("calc").add(a=1, b=2) == 3


def test_asking_for_an_agent_that_exists_nowhere_ends_at_once(applications: Applications) -> None:
    space = applications.join()
    with pytest.raises(AgentNotFound, match="nobody"):
        space.join().request({"to": "nobody", "action": {"name": "x"}}, timeout=LIMIT * 10)


def test_telling_nobody_is_silent_and_counted(applications: Applications) -> None:
    space = applications.join()
    space.join().send({"to": "nobody", "action": {"name": "x"}})
    assert space.dead_letters.counts == {"no_such_agent": 1}


def test_a_broadcast_reaches_every_application(applications: Applications) -> None:
    one, two = applications.join(), applications.join()
    sender, a, b = one.join("sender"), one.join("a"), two.join("b")
    sender.send({"to": "*", "action": {"name": "say", "args": {"content": "all"}}})
    for guest in (a, b):
        assert guest.receive(LIMIT)["action"]["args"] == {"content": "all"}


def test_a_stream_comes_from_another_application(applications: Applications) -> None:
    one, two = applications.join(), applications.join()
    two.add(Calculator, "calc")
    message = {"to": "calc", "action": {"name": "count", "args": {"to": 200}}}
    assert list(one.join().stream(message)) == list(range(200))


def test_an_answer_does_not_wait_behind_a_full_mailbox(applications: Applications) -> None:
    """However much mail is here unacknowledged, the answer that an action waits for arrives."""
    one, two = applications.join(), applications.join()
    two.add(Calculator, "calc")
    one.add(Asker, "asker")
    me = two.join("me")
    for number in range(200):
        me.send(
            {
                "id": str(number),
                "to": "asker",
                "action": {"name": "ask", "args": {"whom": "calc", "a": number}},
            }
        )
    answers = [me.receive(LIMIT)["action"]["args"] for _ in range(200)]
    assert answers == [
        {"data": number + 1, "original_message_id": str(number)} for number in range(200)
    ]


def test_spaces_of_different_names_do_not_see_each_other(broker: BrokerAddress) -> None:
    first, second = Applications(broker), Applications(broker)
    with first.stack, second.stack:
        first.join().add(Calculator, "calc")
        guest = second.join().join()
        with pytest.raises(AgentNotFound):
            guest.proxy("calc").add(a=1, b=1)


def test_mail_of_an_agent_survives_a_cut_and_runs_once(broker: BrokerAddress) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"space-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    address = BrokerAddress(port=broker.port, vhost=vhost, ctl=broker.ctl, env=broker.env)
    applications = Applications(address)
    with applications.stack:
        one, two = applications.join(), applications.join()
        slow = two.add(Slow("slow"))
        me = one.join("me")
        for number in range(10):
            me.send({"to": "slow", "action": {"name": "work", "args": {"number": number}}})
        assert slow.began.get(timeout=LIMIT) == 0
        broker.rabbitmqctl("close_all_connections", "--vhost", vhost, "cut by a test")
        me.send({"to": "slow", "action": {"name": "work", "args": {"number": 10}}})
        for _ in range(11):
            slow.go.release()
        assert [slow.began.get(timeout=LIMIT) for _ in range(10)] == list(range(1, 11))
        assert slow.began.empty()
    broker.rabbitmqctl("delete_vhost", vhost)


# Members that are none of ours


def test_a_bare_client_sends_and_receives_the_seeds_json(applications: Applications) -> None:
    applications.join().add(Calculator, "calc")
    bare = applications.bare()
    bare.listen("bare")
    call = {"name": "add", "args": {"a": 1, "b": 2}}
    bare.send({"id": "7", "from": "bare", "to": "calc", "action": call})
    assert bare.next_message() == {
        "from": "calc",
        "to": "bare",
        "action": {"name": "response", "args": {"data": 3, "original_message_id": "7"}},
    }
    bare.send({"from": "bare", "to": "calc", "action": {"name": "fail"}})
    answer = bare.next_message()
    assert answer["action"]["name"] == "error"
    assert "no" in answer["action"]["args"]["error"]


def test_a_bare_client_is_asked_and_answers(applications: Applications) -> None:
    space = applications.join()
    bare = applications.bare()
    bare.listen("bare", "*")
    guest = space.join("guest")
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    question = {"id": "q", "to": "bare", "action": {"name": "ping", "args": {}}}
    thread = threading.Thread(target=lambda: results.put(guest.request(question, timeout=LIMIT)))
    thread.start()
    assert bare.next_message() == question | {"from": "guest"}
    args = {"data": "pong", "original_message_id": "q"}
    bare.send({"from": "bare", "to": "guest", "action": {"name": "response", "args": args}})
    assert results.get(timeout=LIMIT) == "pong"
    thread.join(LIMIT)
    guest.send({"to": "*", "action": {"name": "say", "args": {"content": "all"}}})
    assert bare.next_message()["action"]["args"] == {"content": "all"}


def test_a_bare_client_may_use_amqps_own_way_of_asking(applications: Applications) -> None:
    """The standard properties: `reply_to`, `correlation_id`, and `type` that says it is a request."""
    applications.join().add(Calculator, "calc")
    bare = applications.bare()
    bare.listen("somewhere else")
    call = {"name": "add", "args": {"a": 1, "b": 2}}
    bare.send(
        {"from": "bare", "to": "calc", "action": call},
        message_id="m-1",
        type="request",
        reply_to="somewhere else",
    )
    answer = bare.next()
    assert answer.properties["correlation_id"] == "m-1"
    assert answer.properties["type"] == "answer"
    assert json.loads(answer.body)["action"]["args"]["data"] == 3


def test_equal_message_ids_of_a_foreign_client_are_different_messages(
    applications: Applications,
) -> None:
    guest = applications.join().join("guest")
    bare = applications.bare()
    for number in range(3):
        say = {"name": "say", "args": {"content": str(number)}}
        bare.send({"from": "bare", "to": "guest", "action": say}, message_id="1")
    assert [guest.receive(LIMIT)["action"]["args"]["content"] for _ in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"to": "guest"}',
        b'{"to": "guest", "action": {"name": "say", "args": {"content": "x"}}}',
        b'{"from": "b", "to": "other", "action": {"name": "say", "args": {"content": "x"}}}',
        b'{"from": "b", "to": "guest", "action": {"name": "say", "args": {"content": NaN}}}',
    ],
)
def test_what_is_not_a_message_is_counted_and_harms_nobody(
    applications: Applications, body: bytes
) -> None:
    space = applications.join()
    guest = space.join("guest")
    bare = applications.bare()
    bare.send_raw(body, "guest")
    say = {"name": "say", "args": {"content": "fine"}}
    bare.send({"from": "bare", "to": "guest", "action": say})
    assert guest.receive(LIMIT)["action"] == say
    assert space.dead_letters.counts == {"undecodable": 1}


def test_malformed_properties_and_headers_are_ignored(applications: Applications) -> None:
    guest = applications.join().join("guest")
    bare = applications.bare()
    say = {"name": "say", "args": {"content": "fine"}}
    headers = {
        "agency-hops": "many",
        "agency-chain": {"a": 1},
        "agency-trace": 5,
        "agency-failure": "bad luck",
    }
    bare.send({"from": "bare", "to": "guest", "action": say}, type="?", application_headers=headers)
    assert guest.receive(LIMIT)["action"] == say


@pytest.mark.parametrize("header", ["agency-trace", "agency-chain"])
def test_a_header_too_long_to_be_handed_on_stops_nobody(
    applications: Applications, header: str
) -> None:
    # As long as the frame that carries it may be; the answer's own headers do not fit beside it.
    value = {"agency-trace": "t" * 130_000, "agency-chain": ["c" * 250] * 512}[header]
    space = applications.join()
    space.add(Asker, "asker")
    space.add(Calculator, "calculator")
    guest = space.join("guest")
    bare = applications.bare()
    ask = {"name": "ask", "args": {"whom": "calculator", "a": 1}}
    bare.send({"from": "guest", "to": "asker", "action": ask}, application_headers={header: value})
    answer = guest.receive(LIMIT)["action"]
    assert answer["name"] in {"response", "error"}
    assert guest.proxy("calculator").add(a=1, b=2) == 3


class FarFuture(dt.datetime):
    """As a header, a point in time that AMQP can express and Python cannot."""

    def utctimetuple(self) -> Any:
        return (1970, 1, 1, 0, 0, 10**15)


def test_properties_that_cannot_be_decoded_harm_nobody(applications: Applications) -> None:
    guest = applications.join().join("guest")
    bare = applications.bare()
    unreadable: list[dict[str, Any]] = [
        {"application_headers": {"x": FarFuture(2000, 1, 1, tzinfo=dt.UTC)}},
        {"message_id": "\ud800", "reply_to": "\ud800", "type": "\ud800"},
        {"application_headers": {"agency-trace": "\ud800"}},
    ]
    for number, properties in enumerate(unreadable):
        say = {"name": "say", "args": {"content": str(number)}}
        bare.send({"from": "bare", "to": "guest", "action": say}, **properties)
    assert [guest.receive(LIMIT)["action"]["args"]["content"] for _ in unreadable] == list("012")


# Without the extra


def test_without_the_client_library_only_making_a_space_fails_and_says_what_to_install() -> None:
    program = """
import sys
sys.modules["pika"] = None
from agency import AMQPOptions, AMQPSpace, MissingExtra
try:
    AMQPSpace(amqp_options=AMQPOptions())
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT
    )
    assert "pip install 'agency-space[amqp]'" in done.stdout
    assert done.stderr == ""


# Where the server is


def test_the_environment_says_where_the_server_is(
    broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMQP_URL", broker.url())
    with AMQPSpace(exchange=f"test-{uuid.uuid4().hex}") as space:
        space.add(Calculator, "calc")
        assert space.join().proxy("calc").add(a=1, b=1) == 2


def test_options_replace_the_environment(
    broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMQP_PORT", "nonsense")
    AMQPSpace(amqp_options=options_for(broker)).destroy()


def test_a_space_that_cannot_connect_says_why() -> None:
    port = free_port()
    options = AMQPOptions(hostname="127.0.0.1", port=port, connect_timeout=0.2)
    with pytest.raises(BrokerUnreachable, match=str(port)):
        AMQPSpace(amqp_options=options)


def test_a_wrong_password_is_not_repeated(broker: BrokerAddress) -> None:
    options = AMQPOptions(hostname=broker.host, port=broker.port, password="s3cret")
    with pytest.raises(BrokerRefused) as caught:
        AMQPSpace(amqp_options=options)
    assert "s3cret" not in str(caught.value)

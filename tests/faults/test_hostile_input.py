"""What hostile or broken programs send: bytes that are no message, code in disguise; and the secrets they look for."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import queue
import random
import secrets
import socket
import ssl
import threading
import traceback
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import amqp
import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency import (
    Agent,
    AMQPOptions,
    AMQPSpace,
    BrokerRefused,
    BrokerUnreachable,
    DeadLetter,
    InvalidMessage,
    Space,
    StartFailed,
    action,
)
from agency.schema import decode, encode
from tests.broker import BrokerAddress, free_port
from tests.faults.certificates import Authority
from tests.faults.conftest import options_for
from tests.faults.members import Odd
from tests.faults.proxy import Proxy
from tests.faults.tools import begin, eventually
from tests.programs import PATIENCE

pytestmark = pytest.mark.timeout(180)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
almost_messages = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values,
        "meta": json_values,
        "from": st.just("me") | json_values,
        "to": st.just("you") | json_values,
        "action": st.fixed_dictionaries(
            {}, optional={"name": st.just("say") | json_values, "args": json_values}
        )
        | json_values,
        "other": json_values,
    },
)


any_bytes = st.binary() | almost_messages.map(lambda value: json.dumps(value).encode())
ANY = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(ANY)
@given(any_bytes)
def test_any_bytes_are_a_message_that_comes_back_the_same_or_are_refused(data: bytes) -> None:
    is_refused_or_comes_back_the_same(data)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_times_any_bytes_are_such_a_message_or_are_refused(
    seed: random.Random,
) -> None:
    """In portions: Hypothesis remembers all that it has tried, and becomes slow."""
    how = settings(ANY, max_examples=1_000, database=None, print_blob=True)
    for _ in range(100):
        portion = given(any_bytes)(is_refused_or_comes_back_the_same)
        how(hypothesis.seed(seed.getrandbits(32))(portion))()


def is_refused_or_comes_back_the_same(data: bytes) -> None:
    try:
        message = decode(data)
    except InvalidMessage:
        return
    assert decode(encode(message)) == message


class Bomb:
    """Unpickled, it leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.broker
def test_nothing_that_is_put_on_a_mailbox_is_run_or_unpacked(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    exchange = f"hostile-{uuid.uuid4().hex}"
    trace = tmp_path / "trace"
    say = {"from": "x", "to": "me", "action": {"name": "say", "args": {"content": "hello"}}}
    bodies = [
        (pickle.dumps(Bomb(trace)), {"content_type": "application/x-python-serialize"}),
        (f"!!python/object/apply:os.mkdir ['{trace}']".encode(), {"content_type": "text/yaml"}),
        (zlib.compress(json.dumps(say).encode()), {"content_encoding": "deflate"}),
        (zlib.compress(b"0" * 100_000_000), {"content_encoding": "deflate"}),
    ]
    with AMQPSpace(options_for(broker), exchange=exchange) as space, foreign(broker) as channel:
        me = space.join("me")
        for body, properties in bodies:
            channel.basic_publish(amqp.Message(body, **properties), f"{exchange}.v1", "me")
        channel.basic_publish(amqp.Message(json.dumps(say)), f"{exchange}.v1", "me")
        assert me.receive(PATIENCE) == say
        assert space.dead_letters.counts == {"undecodable": len(bodies)}
    assert not trace.exists()


@pytest.mark.broker
def test_an_answer_counts_only_from_the_one_who_was_asked_even_with_the_right_numbers(
    broker: BrokerAddress,
) -> None:
    """A foreign client that reads along knows every number, and still cannot answer for another."""
    exchange = f"hostile-{uuid.uuid4().hex}"
    with AMQPSpace(options_for(broker), exchange=exchange) as space, foreign(broker) as channel:
        held = space.add(Held("held"))
        me = space.join("me")
        tapped = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(tapped, f"{exchange}.v1", "held")
        question = {"id": "7", "to": "held", "action": {"name": "answer"}}
        value = begin(lambda: me.request(question, timeout=PATIENCE))
        assert held.asked.wait(PATIENCE)
        asked = channel.basic_get(tapped, no_ack=True)
        args = {"data": "forged", "original_message_id": "7"}
        forged = {"from": "x", "to": "me", "action": {"name": "response", "args": args}}
        for key in (asked.properties["reply_to"], "me"):
            properties = {"correlation_id": asked.properties["message_id"], "type": "answer"}
            channel.basic_publish(
                amqp.Message(json.dumps(forged), **properties), f"{exchange}.v1", key
            )
        eventually(lambda: space.dead_letters.counts.get("late_answer") == 2)
        held.go.set()
        assert value.result(PATIENCE) == "the truth"


@pytest.mark.broker
def test_a_request_and_its_answer_that_are_replayed_do_nothing_once_more(
    broker: BrokerAddress,
) -> None:
    exchange = f"hostile-{uuid.uuid4().hex}"
    with AMQPSpace(options_for(broker), exchange=exchange) as space, foreign(broker) as channel:
        counting = space.add(Counting("counting"))
        me = space.join("me")

        def ask(number: int) -> Future[Any]:
            question = {"id": str(number), "to": "counting", "action": {"name": "answer"}}
            value = begin(lambda: me.request(question, timeout=PATIENCE))
            assert counting.asked.get(timeout=PATIENCE) == number
            return value

        def tap(key: str) -> Callable[[], amqp.Message]:
            """The next message that is sent there, with all that it has."""
            queue_name = channel.queue_declare(exclusive=True).queue
            channel.queue_bind(queue_name, f"{exchange}.v1", key)
            return lambda: channel.basic_get(queue_name, no_ack=True)

        tapped = tap("counting")
        value = ask(1)
        asked = tapped()
        back = asked.properties["reply_to"]
        tapped = tap(back)
        counting.answers.put("first")
        assert value.result(PATIENCE) == "first"
        answered = tapped()
        assert b"first" in answered.body

        value = ask(2)
        for _ in range(3):
            channel.basic_publish(asked, f"{exchange}.v1", "counting")
            channel.basic_publish(answered, f"{exchange}.v1", back)
        # An answer to nobody, which comes after those: it is heard of.
        heard: queue.SimpleQueue[DeadLetter] = queue.SimpleQueue()
        space.dead_letters.listen(heard.put)
        args = {"data": "the last", "original_message_id": "0"}
        last = {"from": "x", "to": "me", "action": {"name": "response", "args": args}}
        properties = {"correlation_id": "nobody's", "type": "answer"}
        channel.basic_publish(amqp.Message(json.dumps(last), **properties), f"{exchange}.v1", back)
        while heard.get(timeout=PATIENCE).message != last:
            pass
        assert not value.done()
        counting.answers.put("second")
        assert value.result(PATIENCE) == "second"
        value = ask(3)  # what was replayed came before
        counting.answers.put("third")
        assert value.result(PATIENCE) == "third"


class Counting(Agent):
    """Says which question this is, and answers what the test wants."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.asked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._count = 0

    @action
    def answer(self) -> str:
        self._count += 1
        self.asked.put(self._count)
        return self.answers.get(timeout=PATIENCE)


class Held(Agent):
    """Answers when it is let go."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.asked, self.go = threading.Event(), threading.Event()

    @action
    def answer(self) -> str:
        self.asked.set()
        self.go.wait(PATIENCE)
        return "the truth"


@contextlib.contextmanager
def foreign(broker: BrokerAddress) -> Any:
    """A channel of a client that is none of ours."""
    connection = amqp.Connection(
        f"{broker.host}:{broker.port}", broker.username, broker.password, virtual_host=broker.vhost
    )
    connection.connect()
    with connection:
        yield connection.channel()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged, however unimportant."""
    caplog.set_level(logging.DEBUG)
    for name in ("pika", "agency"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def all_of(error: BaseException) -> str:
    """Whatever is shown of an error: its text, its representation, and its traceback with all causes."""
    return "\n".join([str(error), repr(error), *traceback.format_exception(error)])


@contextlib.contextmanager
def server_of_nobody(folder: Path) -> Iterator[int]:
    """A port where somebody shows a certificate that nobody has reason to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(folder / "stranger").server("x", subjects="IP:127.0.0.1"))

    def show() -> None:
        with contextlib.suppress(OSError):  # it is refused
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        shown = begin(show)
        yield listener.getsockname()[1]
        shown.result(PATIENCE)


@pytest.mark.broker
def test_no_password_is_logged_or_shown_whatever_goes_wrong(
    broker: BrokerAddress, proxy: Proxy, log: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    user, password = f"user-{uuid.uuid4().hex}", secrets.token_hex(16)
    broker.rabbitmqctl("add_user", user, password)
    shown: list[str] = []
    try:
        url = f"amqp://{user}:{password}@127.0.0.1"
        right = AMQPOptions.from_environment({"AMQP_URL": f"{url}:{proxy.port}/?heartbeat=1"})
        with pytest.raises(BrokerRefused) as refused:  # it may not use the virtual host
            AMQPSpace(right)
        shown += [all_of(refused.value), repr(right)]
        broker.rabbitmqctl("set_permissions", user, ".*", ".*", ".*")
        with AMQPSpace(right, exchange=f"secret-{uuid.uuid4().hex}") as space:
            space.add(Odd, "odd")
            me = space.join("me")
            shown += [repr(space), str(me.proxy("odd").ping())]
            connections = proxy.accepted
            proxy.cut()
            eventually(lambda: proxy.accepted > connections)
            shown += [repr(space), str(me.proxy("odd", timeout=PATIENCE).ping())]
            proxy.refuse()
            eventually(lambda: proxy.connections == 0)
            proxy.accept()
            shown += [str(me.proxy("odd", timeout=PATIENCE).ping())]
        with pytest.raises(BrokerRefused, match="password") as wrong:
            AMQPSpace(AMQPOptions(**(vars(right) | {"username": "guest"})))
        shown += [all_of(wrong.value)]
        with server_of_nobody(tmp_path) as port:
            secure = AMQPOptions(**(vars(right) | {"port": port, "use_ssl": True}))
            with pytest.raises(BrokerRefused, match="not trusted") as not_trusted:
                AMQPSpace(secure)
            shown += [all_of(not_trusted.value), repr(secure)]
        with pytest.raises(BrokerUnreachable) as unreachable:
            AMQPSpace(
                AMQPOptions.from_environment(
                    {"AMQP_URL": f"{url}:{free_port()}/?connection_timeout=200"}
                )
            )
        shown += [all_of(unreachable.value)]
        with pytest.raises(ValueError, match="AMQP_URL") as unreadable:
            AMQPOptions.from_environment({"AMQP_URL": f"{url}:port/"})
        shown += [all_of(unreadable.value)]
    finally:
        broker.rabbitmqctl("delete_user", user)
    assert log.text
    assert password not in "\n".join(shown) + log.text


class Keyed(Agent):
    """Has a secret among its arguments, and cannot be added."""

    def __init__(self, id: str, where: str, *, api_key: str) -> None:
        super().__init__(id)
        self._where, self._api_key = where, api_key
        self._fail_in("the constructor")

    def after_add(self) -> None:
        self._fail_in("after_add")

    def _fail_in(self, where: str) -> None:
        if self._where == where:
            raise ValueError(f"in {where}")


@pytest.mark.parametrize("where", ["the constructor", "after_add", "the call", "the way there"])
def test_a_secret_among_the_arguments_of_an_agent_that_cannot_be_added_is_not_shown(
    space: Space, log: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], where: str
) -> None:
    key = secrets.token_hex(16)
    more: dict[str, Any] = {}
    if where == "the call":
        more["colour"] = "red"
    elif where == "the way there":
        more["lock"] = threading.Lock()
    with pytest.raises((StartFailed, TypeError)) as failed:
        space.add(Keyed, "keyed", where, api_key=key, **more)
    space.destroy()
    printed = capfd.readouterr()
    assert key not in all_of(failed.value) + log.text + printed.out + printed.err

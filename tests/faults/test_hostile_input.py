"""What hostile or broken programs send: bytes that are no message, code in disguise; and the secrets they look for."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import secrets
import threading
import uuid
import zlib
from pathlib import Path
from typing import Any

import amqp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency import (
    Agent,
    AMQPOptions,
    AMQPSpace,
    BrokerRefused,
    BrokerUnreachable,
    InvalidMessage,
    action,
)
from agency.schema import decode, encode
from tests.broker import BrokerAddress, free_port
from tests.faults.conftest import options_for
from tests.faults.members import Odd
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
@settings(ANY, max_examples=100_000, database=None)
@given(any_bytes)
def test_a_hundred_thousand_times_any_bytes_are_such_a_message_or_are_refused(data: bytes) -> None:
    is_refused_or_comes_back_the_same(data)


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


@pytest.mark.broker
def test_no_password_is_logged_or_shown_whatever_goes_wrong(
    broker: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    caplog.set_level(logging.DEBUG)
    for name in ("pika", "agency"):
        caplog.set_level(logging.DEBUG, name)
    user, password = f"user-{uuid.uuid4().hex}", secrets.token_hex(16)
    broker.rabbitmqctl("add_user", user, password)
    shown: list[str] = []
    try:
        url = f"amqp://{user}:{password}@{broker.host}"
        right = AMQPOptions.from_environment({"AMQP_URL": f"{url}:{broker.port}/"})
        with pytest.raises(BrokerRefused) as refused:  # it may not use the virtual host
            AMQPSpace(right)
        shown += [str(refused.value), repr(refused.value), repr(right)]
        broker.rabbitmqctl("set_permissions", user, ".*", ".*", ".*")
        with AMQPSpace(right, exchange=f"secret-{uuid.uuid4().hex}") as space:
            space.add(Odd, "odd")
            shown += [repr(space), str(space.join("me").proxy("odd").ping())]
        with pytest.raises(BrokerUnreachable) as unreachable:
            AMQPSpace(
                AMQPOptions.from_environment(
                    {"AMQP_URL": f"{url}:{free_port()}/?connection_timeout=200"}
                )
            )
        shown += [str(unreachable.value), repr(unreachable.value)]
        with pytest.raises(ValueError, match="AMQP_URL") as unreadable:
            AMQPOptions.from_environment({"AMQP_URL": f"{url}:port/"})
        shown += [str(unreadable.value)]
    finally:
        broker.rabbitmqctl("delete_user", user)
    assert caplog.text
    assert password not in "\n".join(shown) + caplog.text

"""Replicated mailboxes on one node: what is different, and messages that their receivers die of. With three nodes they
are in `test_cluster.py`.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest

from agency import Agent, AgentIdInUse, AMQPOptions, AMQPSpace
from agency.spaces.amqp_link import Delivery, Link, Properties, Topology
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.ledger import Ledger
from tests.faults.members import Odd, Recorder
from tests.faults.proxy import Proxy
from tests.faults.test_workers import ENVIRONMENT, PROGRAMS
from tests.faults.tools import begin, ends, eventually, queues_of
from tests.programs import PATIENCE, Program

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


@pytest.fixture
def space(vhost: BrokerAddress, ledger: Ledger) -> Iterator[AMQPSpace]:
    with AMQPSpace(options_for(vhost), replicated=True, grace=0.5) as space:
        space.dead_letters.listen(ledger.dead)
        yield space


def test_an_id_is_unique_and_its_agent_reached_whichever_kind_of_mailbox_it_has(
    vhost: BrokerAddress, space: AMQPSpace
) -> None:
    space.add(Odd, "odd")
    kinds = vhost.rabbitmqctl(
        "list_queues", "--vhost", vhost.vhost, "name", "type", "--no-table-headers"
    )
    assert "agency.v1.quorum-mailbox.odd\tquorum" in kinds
    assert "agency.v1.lease.odd\tclassic" in kinds
    with AMQPSpace(options_for(vhost)) as other:
        with pytest.raises(AgentIdInUse):
            other.add(Odd, "odd")
        assert other.join("me").proxy("odd").ping() == "pong"


def test_a_message_that_five_receivers_died_of_is_set_aside_and_those_behind_it_are_handled(
    vhost: BrokerAddress, space: AMQPSpace, ledger: Ledger, tmp_path: Path
) -> None:
    ann = space.join("ann")
    path = str(tmp_path / "ledger")
    environment = ENVIRONMENT | {"AMQP_URL": f"{vhost.url()}?heartbeat=1"}
    command = PROGRAMS / "receives.py", "agency", path, "Recorder", "replicated"
    with Program(*command, env=environment) as program:
        program.wait_for("serves")
        for number, name in enumerate(["note_and_die", *["note"] * 20]):
            with ledger.sending("ann", "bob", number):
                ann.send(call(name, number))
        assert program.end() != 0
    for _ in range(4):
        with Program(*command, env=environment) as program:
            assert program.end() != 0
    space.add(Recorder, "bob", path)
    assert ann.receive(PATIENCE)["action"]["args"]["original_message_id"] == "0"
    assert ann.proxy("bob").process()
    verdict = ledger.verdict()
    assert verdict.duplicated == [("ann", "bob", 0)]
    assert not verdict.lost
    assert verdict.dead == {"delivery_limit": 1}
    assert ledger.times_begun("ann", "bob", 0) == 5
    space.destroy()
    eventually(lambda: queues_of(vhost) == {"agency.v1.dead-letters": 1})
    assert dead_letter(vhost) == call("note_and_die", 0) | {"from": "ann"}


@pytest.fixture
def proxy(vhost: BrokerAddress) -> Iterator[Proxy]:
    """A bad network before the broker."""
    with Proxy(vhost.port) as proxy:
        yield proxy


@pytest.mark.long
def test_a_server_that_forgets_to_confirm_is_connected_to_again_and_the_message_begun_once(
    vhost: BrokerAddress, space: AMQPSpace, proxy: Proxy, ledger: Ledger, tmp_path: Path
) -> None:
    space.add(Recorder, "bob", tmp_path / "ledger")
    with AMQPSpace(through(proxy, vhost), replicated=True) as sending:
        ann = sending.join("ann")
        before = proxy.accepted
        proxy.swallow("confirm")
        unconfirmed = begin(lambda: send(ledger, ann, 0))
        eventually(lambda: proxy.swallowed > 0)
        proxy.swallow()
        ends(unconfirmed.result)
        assert proxy.accepted > before
        send(ledger, ann, 1)
    eventually(lambda: not ledger.verdict().lost)
    assert ledger.verdict().is_clean()


@pytest.mark.long
def test_a_server_that_forgets_a_consumer_is_connected_to_again(
    vhost: BrokerAddress, proxy: Proxy
) -> None:
    delivered: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
    link = Link.connect(through(proxy, vhost), Topology("forgetful", replicated=True))
    try:
        link.claim("a")
        proxy.swallow("consume-ok")
        link.consume("a", delivered.put)
        eventually(lambda: proxy.swallowed > 0)
        proxy.swallow()
        link.publish("a", b"{}", Properties(message_id="1"), timeout=PATIENCE)
        assert delivered.get(timeout=PATIENCE).body == b"{}"
    finally:
        link.release("a", delete_mailbox=True)
        link.close(1.0)


def through(proxy: Proxy, vhost: BrokerAddress) -> AMQPOptions:
    return options_for(vhost, hostname="127.0.0.1", port=proxy.port)


def send(ledger: Ledger, sender: Agent, number: int) -> None:
    with ledger.sending(sender.id, "bob", number):
        sender.send(call("note", number))


def call(name: str, number: int) -> dict[str, Any]:
    return {"id": str(number), "to": "bob", "action": {"name": name, "args": {"number": number}}}


def dead_letter(broker: BrokerAddress) -> Any:
    """What an operator finds among the dead letters, with any client."""
    with amqp.Connection(
        f"{broker.host}:{broker.port}",
        broker.username,
        broker.password,
        virtual_host=broker.vhost,
    ) as connection:
        return json.loads(connection.channel().basic_get("agency.v1.dead-letters").body)

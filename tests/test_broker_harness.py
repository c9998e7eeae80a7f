"""The private RabbitMQ that the other tests stand on keeps its own promises."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pika
import psutil
import pytest

from tests.broker import Broker, BrokerAddress, BrokerError, family

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """A broker for one test, which may do to it what it likes."""
    with Broker() as broker:
        yield broker


def processes_of(broker: Broker) -> list[psutil.Process]:
    pids = [broker.pid, broker.epmd.pid]
    return [process for pid in pids if pid for process in family(pid)]


def first_message(broker: Broker, queue: str) -> object:
    """What a client is given first, and gives back by closing without an acknowledgement."""
    with pika.BlockingConnection(pika.URLParameters(broker.url())) as connection:
        _, _, body = connection.channel().basic_get(queue)
    return body


def test_the_shared_broker_accepts_a_client(broker: BrokerAddress) -> None:
    with pika.BlockingConnection(pika.URLParameters(broker.url())) as connection:
        assert connection.is_open


def test_a_test_may_have_a_virtual_host_of_its_own(broker: BrokerAddress) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"harness/{os.getpid()}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    with pika.BlockingConnection(pika.URLParameters(broker.url(vhost))) as connection:
        assert connection.is_open
    broker.rabbitmqctl("delete_vhost", vhost)


def test_everything_listens_on_loopback_only(own_broker: Broker) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes_of(own_broker)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert [ip for ip, _ in listening if not ipaddress.ip_address(ip).is_loopback] == []
    # The node's clients, the other nodes, and the name service.
    assert len({port for _, port in listening}) == 3


def test_a_restart_and_a_kill_keep_durable_queues_and_persistent_messages(
    own_broker: Broker,
) -> None:
    with pika.BlockingConnection(pika.URLParameters(own_broker.url())) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("", "kept", b"still here", pika.BasicProperties(delivery_mode=2))

    own_broker.restart()
    assert first_message(own_broker, "kept") == b"still here"

    node = processes_of(own_broker)
    own_broker.kill()
    alive = [process.pid for process in node if process.is_running()]
    assert alive == [own_broker.epmd.pid]

    own_broker.start()
    assert first_message(own_broker, "kept") == b"still here"


def test_its_end_leaves_no_process_and_no_folder(own_broker: Broker) -> None:
    processes = processes_of(own_broker)
    own_broker.close()
    assert [process for process in processes if process.is_running()] == []
    assert not own_broker.folder.exists()


def test_nothing_is_left_when_the_process_that_runs_it_is_killed() -> None:
    program = """
        import signal
        from tests.broker import Broker
        with Broker() as broker:
            print(broker.pid, broker.epmd.pid, broker._guard.pid, broker.folder, flush=True)
            signal.pause()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        *pids, folder = owner.stdout.readline().split()
        processes = [process for pid in pids for process in family(int(pid))]
        owner.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert not Path(folder).exists()


def test_a_foreign_broker_is_used_but_not_controlled() -> None:
    address = BrokerAddress.from_environment({"AMQP_URL": "amqp://me:p%40ss@broker.test/my%2Fhost"})
    assert address
    assert (address.username, address.password, address.vhost) == ("me", "p@ss", "my/host")
    assert address.port == 5672
    assert address.url() == "amqp://me:p%40ss@broker.test:5672/my%2Fhost"
    with pytest.raises(BrokerError, match="not controlled"):
        address.rabbitmqctl("status")

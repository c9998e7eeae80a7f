"""Three RabbitMQ nodes on this machine that are one cluster, and what can happen to them.

    with Cluster() as cluster:
        cluster.nodes[0].kill()                # and start(), stop(), freeze(), thaw()
        cluster.cut_off(cluster.nodes[1])      # a partition: that node on one side, the rest on the other
        cluster.join_again(cluster.nodes[1])

The minority of a partition pauses, as `cluster_partition_handling = pause_minority` says.
"""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from agency import AMQPOptions
from tests.broker import LOOPBACK, Broker, BrokerError
from tests.faults.tools import eventually

__all__ = ["Cluster"]


class Cluster:
    """Three nodes with one name service and one cookie. All of it ends with the block."""

    def __init__(self) -> None:
        names = [f"agency{number}" for number in (1, 2, 3)]
        settings = [
            "cluster_partition_handling = pause_minority",
            "cluster_formation.peer_discovery_backend = classic_config",
            *(
                f"cluster_formation.classic_config.nodes.{number} = {name}@localhost"
                for number, name in enumerate(names, start=1)
            ),
        ]
        cookie = secrets.token_hex(16)
        first = Broker(name=names[0], cookie=cookie, settings=settings)
        self.nodes = [
            first,
            *(
                Broker(name=name, epmd=first.epmd, cookie=cookie, settings=settings)
                for name in names[1:]
            ),
        ]

    def options(self, **others: object) -> AMQPOptions:
        """How a client reaches whichever nodes there are."""
        hosts = [f"{LOOPBACK}:{node.port}" for node in self.nodes]
        return AMQPOptions(hostname=hosts, **others)  # type: ignore[arg-type]

    def running(self, seen_from: Broker) -> set[str]:
        """The nodes that this one sees, itself included."""
        try:
            status = seen_from.rabbitmqctl("cluster_status", "--formatter", "json")
        except BrokerError:  # it pauses, or is about to
            return set()
        return set(json.loads(status)["running_nodes"])

    def home_of(self, queue: str) -> Broker:
        """The node that the queue lives on; of a replicated one, the node that leads it."""
        queues = self.nodes[0].rabbitmqctl("list_queues", "name", "pid", "--no-table-headers")
        process = dict(line.split("\t") for line in queues.splitlines())[queue]
        return next(node for node in self.nodes if process.startswith(f"<{node.node}."))

    def cut_off(self, node: Broker) -> None:
        """End the node's links to the others and let it make no new ones; returns when the others
        are without it.
        """
        others = ", ".join(f"'{other.node}'" for other in self.nodes if other is not node)
        node.rabbitmqctl(
            "eval",
            f"[begin erlang:set_cookie(N, cut_off), erlang:disconnect_node(N) end || N <- [{others}]].",
        )
        remaining = [other for other in self.nodes if other is not node and other.pid]
        for other in remaining:
            eventually(lambda other=other: node.node not in self.running(other))  # type: ignore[misc]

    def join_again(self, node: Broker) -> None:
        """End the partition; returns when every node sees all that run."""
        for other in self.nodes:
            if other is not node:
                node.rabbitmqctl("eval", f"erlang:set_cookie('{other.node}', erlang:get_cookie()).")
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return when every node that has been started sees all others that have."""
        alive = {node.node for node in self.nodes if node.pid}
        for node in self.nodes:
            if node.pid:
                eventually(lambda node=node: self.running(node) == alive, limit=60.0)  # type: ignore[misc]

    def __enter__(self) -> Self:
        try:
            self.nodes[0].epmd.start()
            with ThreadPoolExecutor(len(self.nodes)) as together:
                list(together.map(Broker.start, self.nodes))
            self.wait_until_whole()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        for node in reversed(self.nodes):  # the first has the name service
            node.close()

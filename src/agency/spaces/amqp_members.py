"""The consuming half of a link: the agent ids that this process holds, on one connection.

Each id has a channel of its own, so that trouble with one does not touch the others (an AMQP server
allows about 2,000 a connection). Runs on the I/O thread. Above: `amqp_link`. Below: `amqp_member`,
`amqp_connection`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import pika.exceptions

from agency.spaces.amqp_connection import Connection, IOLoop
from agency.spaces.amqp_member import Member
from agency.spaces.amqp_options import AMQPOptions
from agency.spaces.amqp_properties import Delivery
from agency.spaces.amqp_publisher import Publisher
from agency.spaces.amqp_topology import Topology

__all__ = ["Members"]

_REASSERT_INTERVAL: Final = 5.0  # seconds


class Members:
    """All ids of this process, on one connection. All of it runs on the I/O thread."""

    def __init__(
        self,
        loop: IOLoop,
        options: AMQPOptions,
        topology: Topology,
        publisher: Publisher,
        on_change: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.topology = topology
        self.publisher = publisher
        self.by_id: dict[str, Member] = {}
        self.generations = itertools.count(1)
        self.connection = Connection(
            loop,
            options,
            "consuming",
            on_open=self._connected,
            on_lost=self._lost,
            on_failed=on_change,
        )
        self._on_change = on_change
        self._asking: Callable[[], None] | None = None
        self._reassert_timer: object | None = None

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Take these out of their mailboxes, in one piece; those of earlier channels are ignored."""
        tags: dict[str, list[int]] = {}
        for delivery in deliveries:
            member = self.by_id.get(delivery.agent_id)
            if member is not None and delivery.generation == member.generation:
                tags.setdefault(delivery.agent_id, []).append(delivery.tag)
        frames = b"".join(self.by_id[agent_id].acknowledged(tags[agent_id]) for agent_id in tags)
        if frames:
            self.connection.write(frames)

    def set_aside(self, delivery: Delivery) -> None:
        """Take this out of its mailbox, to where dead letters go, if there is such a place."""
        member = self.by_id.get(delivery.agent_id)
        if member is not None and delivery.generation == member.generation:
            member.set_aside(delivery.tag)

    def ask(self, answered: Callable[[], None]) -> None:
        """Call `answered` when the server has done anything at all, or the connection is lost and every
        member fenced.
        """
        if not self.connection.is_open:
            answered()
            return
        self._asking = answered
        try:
            self.connection.channel(self._answered)
        except pika.exceptions.NoFreeChannels:
            self._asking = None
            answered()

    def hurry(self) -> None:
        """The link is going to be closed: see `Farewell.hurry`."""
        for member in self.by_id.values():
            member.hurry()

    def stop(self) -> None:
        """Fence every member; the leases end with the connection."""
        while self.by_id:  # the end of one may be the beginning of its successor
            next(iter(self.by_id.values())).end()
        if self._reassert_timer is not None:
            self.loop.remove_timeout(self._reassert_timer)
            self._reassert_timer = None

    def _connected(self) -> None:
        self._on_change()
        self._reassert_timer = self.loop.call_later(_REASSERT_INTERVAL, self._reassert)
        for member in list(self.by_id.values()):
            member.set_up()

    def _lost(self) -> None:
        if self._reassert_timer is not None:
            self.loop.remove_timeout(self._reassert_timer)
            self._reassert_timer = None
        for member in list(self.by_id.values()):
            member.fence()
        self._answered()

    def _answered(self, channel: Any = None) -> None:
        if channel is not None:
            channel.close()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking()

    def _reassert(self) -> None:
        self._reassert_timer = self.loop.call_later(_REASSERT_INTERVAL, self._reassert)
        with self.connection.batch():
            for member in self.by_id.values():
                member.reassert()

"""Where the two sides of a work live, on each kind of space.

    native   both in this process
    local    each agent in a worker process of its own
    amqp     the driver in this application, the others in a second one, on one broker (AMQP_URL)

A script says `house.here(...)` for the side that drives and `house.there(...)` for the other.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agency import Agent, AMQPSpace, LocalSpace, NativeSpace, Space
from benchmarks.agents import PATIENCE
from benchmarks.common import Figures

SPACES = ("native", "local", "amqp")


class House:
    """A space with two sides."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._guest = space.join("benchmark")

    def here(self, agent_class: type[Agent], agent_id: str) -> None:
        self.space.add(agent_class, agent_id)

    def there(self, agent_class: type[Agent], *agent_ids: str) -> None:
        for agent_id in agent_ids:
            self.space.add(agent_class, agent_id)

    def run(self, agent_id: str, name: str, **args: Any) -> Figures:
        """Ask an agent to do and measure something."""
        message = {"to": agent_id, "action": {"name": name, "args": args}}
        figures: Figures = self._guest.request(message, timeout=PATIENCE)
        return figures


class TwoApplications(House):
    """On AMQP, the other side is another application."""

    def __init__(self, space: Space, other: Connection) -> None:
        super().__init__(space)
        self._other = other

    def there(self, agent_class: type[Agent], *agent_ids: str) -> None:
        self._other.send((agent_class, agent_ids))
        assert self._other.poll(60), "the second application does not answer"
        self._other.recv()


@contextmanager
def house(
    kind: str, *, max_workers: int | None = None, audit: Path | None = None
) -> Iterator[House]:
    if kind == "native":
        with NativeSpace(audit=audit) as native:
            yield House(native)
    elif kind == "local":
        with LocalSpace(max_workers=max_workers, audit=audit) as local:
            yield House(local)
    else:
        exchange = f"benchmark-{os.urandom(6).hex()}"
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=second_application, args=(exchange, theirs, audit), daemon=True
        )
        process.start()
        theirs.close()
        try:
            with AMQPSpace(exchange=exchange) as space:
                yield TwoApplications(space, ours)
        finally:
            ours.close()
            process.join(30)
            if process.is_alive():
                process.kill()


def second_application(exchange: str, other: Connection, audit: Path | None) -> None:
    """Add what the first application asks for, until that closes its end."""
    with AMQPSpace(exchange=exchange, audit=audit) as space:
        while True:
            try:
                agent_class, agent_ids = other.recv()
            except EOFError:
                return
            for agent_id in agent_ids:
                space.add(agent_class, agent_id)
            other.send(None)

"""Agents that remove themselves or destroy their space while they come or go, on every kind of space."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agency import Agent, LocalSpace, NativeSpace, Space, SpaceClosed, StartFailed
from tests.broker import BrokerAddress
from tests.programs import PATIENCE

GRACE = 3600.0
"""So long that a test in which somebody waits for himself does not end."""


@pytest.fixture(
    params=["NativeSpace", "LocalSpace", pytest.param("AMQPSpace", marks=pytest.mark.broker)]
)
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    made: Space
    if request.param == "NativeSpace":
        made = NativeSpace(grace=GRACE)
    elif request.param == "LocalSpace":
        made = LocalSpace(grace=GRACE)
    else:
        from agency import AMQPOptions, AMQPSpace

        broker: BrokerAddress = request.getfixturevalue("broker")
        options = AMQPOptions.from_environment({"AMQP_URL": broker.url()})
        made = AMQPSpace(options, exchange=f"test-{uuid.uuid4().hex}", grace=GRACE)
    with made:
        yield made


class Member(Agent):
    """Does something to its space in one of its callbacks."""

    def __init__(self, id: str, space: Space, *, coming: str = "", going: str = "") -> None:
        super().__init__(id)
        self.space = space
        self.coming = coming
        self.going = going
        self.left = 0

    def act(self, what: str) -> None:
        if what == "remove":
            self.space.remove(self)
        elif what == "destroy":
            self.space.destroy()

    def after_add(self) -> Any:
        self.act(self.coming)

    def before_remove(self) -> Any:
        self.left += 1
        self.act(self.going)


class AsyncMember(Member):
    async def after_add(self) -> None:
        self.act(self.coming)

    async def before_remove(self) -> None:
        self.left += 1
        self.act(self.going)


KINDS = pytest.mark.parametrize("kind", [Member, AsyncMember])


def test_an_agent_that_removes_itself_as_it_comes_was_not_added(space: Space) -> None:
    member = Member("member", space, coming="remove")
    with pytest.raises(StartFailed, match="left the space in its after_add"):
        space.add(member)
    assert member.left == 1
    space.add(Member("member", space))


def test_an_agent_that_destroys_the_space_as_it_comes_was_not_added(space: Space) -> None:
    member = Member("member", space, coming="destroy")
    with pytest.raises(SpaceClosed):
        space.add(member)
    assert member.left == 1
    assert space.wait(0)


@KINDS
def test_an_agent_that_destroys_the_space_as_it_is_removed_ends_it(
    kind: type[Member], space: Space
) -> None:
    other = space.add(Member("other", space))
    member = space.add(kind("member", space, going="destroy"))
    space.remove(member)
    assert space.wait(0)
    assert (member.left, other.left) == (1, 1)


@KINDS
def test_an_agent_that_destroys_the_space_as_it_is_destroyed_does_not_hold_it_up(
    kind: type[Member], space: Space
) -> None:
    other = space.add(Member("other", space))
    member = space.add(kind("member", space, going="destroy"))
    space.destroy()
    assert (member.left, other.left) == (1, 1)


class Slow(Agent):
    """Looks, while it is leaving, whether its space is destroyed without it."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self.space = space
        self.is_leaving = threading.Event()
        self.was_left_behind: bool | None = None

    def before_remove(self) -> None:
        self.is_leaving.set()
        self.was_left_behind = self.space.wait(0.3)


def test_destroy_waits_for_an_agent_that_somebody_else_removes(space: Space) -> None:
    slow = space.add(Slow("slow", space))
    removing = threading.Thread(target=space.remove, args=("slow",))
    removing.start()
    assert slow.is_leaving.wait(PATIENCE)
    space.destroy()
    assert slow.was_left_behind is False
    removing.join(PATIENCE)

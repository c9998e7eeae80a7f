"""What every suite of the conformance kit stands on: the space under test, its guests, and a few verbs.

Above: `agency.testing.suites`, the tests themselves. Below: `agency.testing.agents`, whom they talk
to. A test uses public names only, never asks which kind of space it has, and waits only for
answers, notes and arrivals.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from agency.agent import Agent
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Gate, Witness
from agency.testing.manifest import PROMISES

__all__ = [
    "Conformance",
    "ask",
    "dead_letters_of",
    "in_background",
    "nothing_else_reaches",
    "proves",
    "request",
    "tell",
]

Test = TypeVar("Test", bound=Callable[..., Any])
Value = TypeVar("Value")

_IDS = frozenset(promise.id for promise in PROMISES)


def proves(*promise_ids: str) -> Callable[[Test], Test]:
    """Mark a test with the promises that it fails for if they are broken.

    Raises:
        ValueError: there is no such promise.
    """
    unknown = sorted(set(promise_ids) - _IDS)
    if unknown or not promise_ids:
        raise ValueError(f"no such promise: {', '.join(unknown) or 'none is named'}")

    def mark(test: Test) -> Test:
        test.__agency_proves__ = promise_ids  # type: ignore[attr-defined]
        return test

    return mark


class Conformance:
    """The fixtures. A subclass says how to make a space; it may override any fixture besides."""

    def make_space(self) -> Space:
        """Return a new, empty space of the kind under test. Called once a test."""
        raise NotImplementedError

    @pytest.fixture
    def space(self) -> Iterator[Space]:
        """The space under test."""
        space = self.make_space()
        yield space
        space.destroy()

    @pytest.fixture
    def guest(self, space: Space) -> Guest:
        """The test itself, as a member of the space; its id is `me`."""
        return space.join("me")

    @pytest.fixture
    def witness(self, space: Space) -> Witness:
        """Whom the agents report to."""
        return space.add(Witness("witness"))

    @pytest.fixture
    def gate(self, space: Space) -> Iterator[Gate]:
        """Where agents wait for the test. Open at the test's end, however it ends."""
        gate = space.add(Gate("gate"))
        yield gate
        gate.open_all()


def request(to: str, name: str, /, **args: Any) -> dict[str, Any]:
    """A message with nothing in it that may be left out, except for `args`."""
    return {"to": to, "action": {"name": name, "args": args}}


def ask(agent: Agent, to: str, name: str, /, **args: Any) -> Any:
    """Invoke an action and wait for its value."""
    return agent.request(request(to, name, **args), timeout=LIMIT)


def tell(agent: Agent, to: str, name: str, /, id: str | None = None, **args: Any) -> None:
    """Invoke an action with a message that has this id, and wait for nothing."""
    message = request(to, name, **args)
    agent.send(message if id is None else message | {"id": id})


def in_background(function: Callable[[], Value]) -> Future[Value]:
    """Call the function on a thread of its own; `result(LIMIT)` waits for what it returns or raises."""
    outcome: Future[Value] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  # belongs to the thread that waits for the result
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def nothing_else_reaches(guest: Guest, sender: str) -> bool:
    """Whether `sender`, any agent with the action `help`, has sent the guest nothing that it has not received.

    The answer to this last message comes after all that `sender` sent before: order is kept.
    """
    tell(guest, sender, "help", id="the last", action_name="help")
    last = guest.receive(timeout=LIMIT)
    return bool(last["action"]["args"].get("original_message_id") == "the last")


def dead_letters_of(space: Space) -> Callable[[], str]:
    """Begin to listen; the function returned waits for the next message that is lost, and returns the reason."""
    letters: queue.SimpleQueue[str] = queue.SimpleQueue()
    space.dead_letters.listen(lambda letter: letters.put(letter.reason.value))
    return lambda: letters.get(timeout=LIMIT)

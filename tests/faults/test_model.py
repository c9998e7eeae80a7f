"""Anything that can be done to a space, in any order, against a model of what it promises: the same on all spaces."""

from __future__ import annotations

import os
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agency import (
    ACCESS_DENIED,
    ACCESS_REQUESTED,
    ActionError,
    ActionNotFound,
    ActionNotPermitted,
    Agent,
    AgentIdInUse,
    AgentNotFound,
    AMQPSpace,
    LocalSpace,
    NativeSpace,
    OutcomeUnknown,
    Space,
    UnknownAgent,
    action,
)
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Verdict
from tests.faults.proxy import Proxy
from tests.faults.tools import eventually
from tests.programs import PATIENCE

pytestmark = pytest.mark.timeout(180)

ids = st.sampled_from(["ann", "bob", "#", "a.*"])
numbers = st.integers(0, 1000)


class Notebook(Agent):
    """Notes numbers, and may not be asked for everything."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._noted: list[int] = []

    @action
    def note(self, number: int) -> int:
        self._noted.append(number)
        return number

    @action
    def noted(self) -> list[int]:
        return self._noted

    @action
    def note_and_fail(self, number: int) -> None:
        self.note(number)
        raise ValueError(f"after {number}")

    @action(access_policy=ACCESS_DENIED)
    def denied(self, number: int) -> None:
        self.note(number)

    @action(access_policy=ACCESS_REQUESTED)
    def requested(self, number: int) -> int:
        return self.note(number)

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        return bool(proposed_message["action"]["args"]["number"] % 2)

    @action
    def tell(self, to: str, number: int) -> None:
        """Send a number on, from inside an action."""
        self.send({"to": to, "action": {"name": "note", "args": {"number": number}}})

    @action
    def die(self) -> None:
        os.abort()


class Model(RuleBasedStateMachine):
    """The space beside a dict: whoever is in it, and the numbers they have noted."""

    kind: str
    figures: Figures
    sent: Counter[str]
    """Over all that Hypothesis tries: messages and faults."""
    options: Any = None
    proxy: Proxy | None = None

    @initialize()
    def begin(self) -> None:
        self.noted: dict[str, list[int]] = {}
        self.exchange = f"model-{uuid.uuid4().hex}"
        self.space: Space = self.open()
        self.me = self.space.join("me")
        for agent_id in ("ann", "bob"):
            self.add(agent_id, agent_id == "ann")

    def open(self) -> Space:
        if self.kind == "AMQPSpace":
            return AMQPSpace(self.options, exchange=self.exchange, grace=2.0)
        return (NativeSpace if self.kind == "NativeSpace" else LocalSpace)(grace=2.0)

    def teardown(self) -> None:
        if hasattr(self, "space"):
            self.figures.stop(self.space)

    def ask(self, to: str, name: str, /, **args: Any) -> Any:
        self.sent["messages"] += 1
        message = {"to": to, "action": {"name": name, "args": args}}
        return self.me.request(message, timeout=PATIENCE)

    # Coming and going

    @rule(agent_id=ids, here=st.booleans())
    def add(self, agent_id: str, here: bool) -> None:
        def add() -> None:
            if here:
                self.space.add(Notebook(agent_id))
            else:
                self.space.add(Notebook, agent_id)

        if agent_id in self.noted:
            with pytest.raises(AgentIdInUse):
                add()
        else:
            add()
            self.noted[agent_id] = []

    @rule(agent_id=ids)
    def remove(self, agent_id: str) -> None:
        if agent_id in self.noted:
            self.check(agent_id)
            self.space.remove(agent_id)
            self.sent["faults"] += 1
            del self.noted[agent_id]
        else:
            with pytest.raises(UnknownAgent):
                self.space.remove(agent_id)

    @precondition(lambda self: self.kind == "LocalSpace")
    @rule(agent_id=ids)
    def kill(self, agent_id: str) -> None:
        """The process of an agent that has one dies in the middle of an action."""
        if agent_id in self.noted:
            self.space.remove(agent_id)
        self.space.add(Notebook, agent_id)
        self.sent["faults"] += 1
        with pytest.raises(OutcomeUnknown):
            self.ask(agent_id, "die")
        self.noted.pop(agent_id, None)

    @precondition(lambda self: self.proxy is not None)
    @rule()
    def cut(self) -> None:
        """Every connection to the broker breaks."""
        assert self.proxy is not None
        self.sent["faults"] += 1
        self.proxy.cut()

    # Speaking

    @rule(to=ids, number=numbers)
    def send(self, to: str, number: int) -> None:
        self.sent["messages"] += 1
        self.me.send({"to": to, "action": {"name": "note", "args": {"number": number}}})
        if to in self.noted:
            self.noted[to].append(number)

    @rule(number=numbers)
    def broadcast(self, number: int) -> None:
        self.sent["messages"] += 1
        self.me.send({"to": "*", "action": {"name": "note", "args": {"number": number}}})
        for noted in self.noted.values():
            noted.append(number)

    @rule(to=ids, number=numbers)
    def request(self, to: str, number: int) -> None:
        if to in self.noted:
            assert self.ask(to, "note", number=number) == number
            self.noted[to].append(number)
        else:
            # What was written again after a cut may have had a receiver before, for all that one can know.
            unknown = () if self.proxy is None else (OutcomeUnknown,)
            with pytest.raises((AgentNotFound, *unknown)):
                self.ask(to, "note", number=number)

    @rule(to=ids, number=numbers)
    def fail(self, to: str, number: int) -> None:
        if to in self.noted:
            self.sent["faults"] += 1
            with pytest.raises(ActionError, match=f"after {number}"):
                self.ask(to, "note_and_fail", number=number)
            self.noted[to].append(number)

    @rule(to=ids, number=numbers)
    def try_what_is_denied(self, to: str, number: int) -> None:
        if to in self.noted:
            with pytest.raises(ActionNotPermitted):
                self.ask(to, "denied", number=number)
            with pytest.raises(ActionNotFound):
                self.ask(to, "_noted")

    @rule(to=ids, number=numbers)
    def ask_for_permission(self, to: str, number: int) -> None:
        if to not in self.noted:
            return
        if number % 2:
            assert self.ask(to, "requested", number=number) == number
            self.noted[to].append(number)
        else:
            with pytest.raises(ActionNotPermitted):
                self.ask(to, "requested", number=number)

    @rule(through=ids, to=ids, number=numbers)
    def tell_through(self, through: str, to: str, number: int) -> None:
        """One agent sends to another; the question to the first comes after, so its message has been sent."""
        if through in self.noted and to in self.noted:
            self.ask(through, "tell", to=to, number=number)
            self.check(to, at_last=number)
            self.noted[to].append(number)

    # What must hold

    @invariant()
    def nobody_noted_anything_else(self) -> None:
        for agent_id in getattr(self, "noted", {}):
            self.check(agent_id)

    def check(self, agent_id: str, at_last: int | None = None) -> None:
        """The agent has noted what it should have, in order; what it notes `at_last` may be under way."""
        expected = self.noted[agent_id]
        if at_last is not None:
            expected = [*expected, at_last]
            eventually(lambda: len(self.ask(agent_id, "noted")) == len(expected))
        assert self.ask(agent_id, "noted") == expected


@contextmanager
def model(
    kind: str, request: pytest.FixtureRequest, figures: Figures, *, bad_network: bool
) -> Iterator[type[Model]]:
    """The machine for Hypothesis; notes its figures when nothing has gone wrong."""
    members: dict[str, Any] = {"kind": kind, "figures": figures, "sent": Counter()}
    began = time.monotonic()
    with ExitStack() as stack:
        if kind == "AMQPSpace":
            broker: BrokerAddress = request.getfixturevalue("broker")
            proxy = stack.enter_context(Proxy(broker.port))
            members["options"] = options_for(broker, hostname="127.0.0.1", port=proxy.port)
            members["proxy"] = proxy if bad_network else None
        yield type("TheModel", (Model,), members)
    sent = members["sent"]
    figures.add(
        Verdict(
            accepted=sent["messages"],
            begun=sent["messages"],
            faults={"of all kinds": sent["faults"]},
            duration=time.monotonic() - began,
        )
    )


CALM = settings(
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=True, database=None
)


def test_a_space_does_what_its_model_does(
    kind: str, request: pytest.FixtureRequest, figures: Figures
) -> None:
    how = settings(CALM, max_examples=4, stateful_step_count=12, derandomize=True)
    with model(kind, request, figures, bad_network=False) as machine:
        run_state_machine_as_test(machine, settings=how)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_space_does_what_its_model_does_for_long(
    kind: str, request: pytest.FixtureRequest, figures: Figures
) -> None:
    """On AMQP the link breaks at random besides. About ten minutes for the three."""
    seed = int(os.environ.get("SEED") or secrets.randbits(32))
    print(f"repeat with SEED={seed}")  # noqa: T201
    examples = {"NativeSpace": 3000, "LocalSpace": 100, "AMQPSpace": 50}[kind]
    how = settings(CALM, max_examples=examples, stateful_step_count=50)
    with model(kind, request, figures, bad_network=True) as machine:
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=how)

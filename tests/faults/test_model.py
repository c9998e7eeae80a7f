"""Anything that can be done to a space, in any order, against a model of what it promises: the same on all spaces."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

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
    NotAccepted,
    OutcomeUnknown,
    RequestTimeout,
    Space,
    Supervision,
    UnknownAgent,
    action,
)
from tests.broker import BrokerAddress
from tests.faults.conftest import options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Verdict
from tests.faults.proxy import Proxy
from tests.faults.tools import ends, eventually
from tests.programs import PATIENCE

pytestmark = pytest.mark.timeout(180)

ids = st.sampled_from(["ann", "bob", "#", "a.*"])
senders = st.sampled_from(["me", "you"])
numbers = st.integers(0, 1000)

Noted = defaultdict[str, list[int]]
"""The numbers that each sender has sent to one agent, in order: between senders there is none."""


class Notebook(Agent):
    """Notes numbers and whose they are, and may not be asked for everything."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._noted: list[tuple[str, int]] = []

    @action
    def note(self, number: int) -> int:
        self._noted.append((self._current_message["from"], number))
        return number

    @action
    def noted(self) -> list[tuple[str, int]]:
        return self._noted

    @action
    def wait_at(self, door: str) -> None:
        """Begin with nothing else until the door, a pipe, is opened."""
        Path(door).read_bytes()

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


class Phoenix(Notebook):
    """Comes again when its process has died."""

    supervision: ClassVar[Supervision | None] = Supervision(backoff=0.01, intensity=1000)


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
        self.noted: dict[str, Noted] = {}
        self.exchange = f"model-{uuid.uuid4().hex}"
        self.space: Space = self.open()
        self.me = self.space.join("me")
        self.senders = {"me": self.me, "you": self.space.join("you")}
        for agent_id in ("ann", "bob"):
            self.add(agent_id, agent_id == "ann")

    def open(self) -> Space:
        if self.kind == "AMQPSpace":
            return AMQPSpace(self.options, exchange=self.exchange, grace=2.0)
        return (NativeSpace if self.kind == "NativeSpace" else LocalSpace)(grace=2.0)

    def teardown(self) -> None:
        if hasattr(self, "space"):
            self.figures.stop(self.space)

    def ask(self, to: str, name: str, /, by: str = "me", **args: Any) -> Any:
        self.sent["messages"] += 1
        message = {"to": to, "action": {"name": name, "args": args}}
        return self.senders[by].request(message, timeout=PATIENCE)

    def tell(self, to: str, name: str, /, by: str = "me", **args: Any) -> None:
        self.sent["messages"] += 1
        self.senders[by].send({"to": to, "action": {"name": name, "args": args}})

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
            self.noted[agent_id] = defaultdict(list)

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

    @precondition(lambda self: self.kind == "LocalSpace")
    @rule(agent_id=ids, number=numbers)
    def restart(self, agent_id: str, number: int) -> None:
        """An agent that comes again knows nothing of its life before, and has the mail since."""
        if agent_id in self.noted:
            self.space.remove(agent_id)
        self.space.add(Phoenix, agent_id)
        assert self.ask(agent_id, "note", number=number) == number
        self.sent["faults"] += 1
        with pytest.raises(OutcomeUnknown):
            self.ask(agent_id, "die")
        self.noted[agent_id] = defaultdict(list)
        self.send("you", agent_id, number)

    @precondition(lambda self: self.proxy is not None)
    @rule()
    def cut(self) -> None:
        """Every connection to the broker breaks."""
        assert self.proxy is not None
        self.sent["faults"] += 1
        self.proxy.cut()

    # Speaking

    @property
    def of_nobody(self) -> tuple[type[Exception], ...]:
        """What is said of a message to nobody, besides that there is nobody: when it was written again after a
        cut, it may have had a receiver before, for all that one can know.
        """
        return () if self.proxy is None else (OutcomeUnknown,)

    @rule(by=senders, to=ids, number=numbers)
    def send(self, by: str, to: str, number: int) -> None:
        if to in self.noted:
            self.tell(to, "note", by=by, number=number)
            self.noted[to][by].append(number)
        else:
            with suppress(*self.of_nobody):
                self.tell(to, "note", by=by, number=number)

    @rule(by=senders, number=numbers)
    def broadcast(self, by: str, number: int) -> None:
        self.tell("*", "note", by=by, number=number)
        for noted in self.noted.values():
            noted[by].append(number)

    @rule(by=senders, to=ids, number=numbers)
    def request(self, by: str, to: str, number: int) -> None:
        if to in self.noted:
            assert self.ask(to, "note", by=by, number=number) == number
            self.noted[to][by].append(number)
        else:
            with pytest.raises((AgentNotFound, *self.of_nobody)):
                self.ask(to, "note", by=by, number=number)

    @rule(to=ids, number=numbers)
    def expire(self, to: str, number: int) -> None:
        """A request times out at an agent that is held up: it is void."""
        if to not in self.noted:
            return
        with tempfile.TemporaryDirectory() as folder:
            door = Path(folder) / "door"
            os.mkfifo(door)
            self.tell(to, "wait_at", door=str(door))
            self.sent["faults"] += 1
            message = {"to": to, "action": {"name": "note", "args": {"number": number}}}
            # A broker may have taken no notice of it in so short a time.
            unknown = (NotAccepted, OutcomeUnknown) if self.kind == "AMQPSpace" else ()
            with pytest.raises((RequestTimeout, *unknown)):
                self.me.request(message, timeout=0.01)
            ends(lambda: door.write_bytes(b""))  # the agent stands there
        if self.kind == "AMQPSpace":
            # Its time is counted from when it came, which is later: it may have been in time still.
            mine = [one for by, one in self.ask(to, "noted") if by == "me"]
            if len(mine) > len(self.noted[to]["me"]):
                self.noted[to]["me"].append(number)

    @rule(to=ids, number=numbers)
    def fail(self, to: str, number: int) -> None:
        if to in self.noted:
            self.sent["faults"] += 1
            with pytest.raises(ActionError, match=f"after {number}"):
                self.ask(to, "note_and_fail", number=number)
            self.noted[to]["me"].append(number)

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
            self.noted[to]["me"].append(number)
        else:
            with pytest.raises(ActionNotPermitted):
                self.ask(to, "requested", number=number)

    @rule(through=ids, to=ids, number=numbers)
    def tell_through(self, through: str, to: str, number: int) -> None:
        """One agent sends to another."""
        if through in self.noted and to in self.noted:
            self.ask(through, "tell", to=to, number=number)
            self.noted[to][through].append(number)

    # What must hold

    @invariant()
    def nobody_noted_anything_else(self) -> None:
        for agent_id in getattr(self, "noted", {}):
            self.check(agent_id)

    def check(self, agent_id: str) -> None:
        """The agent has noted what it should have, of each sender in order. What was sent by the one
        who asks comes before the question; what others have sent may be under way.
        """
        expected = {by: numbers for by, numbers in self.noted[agent_id].items() if numbers}

        def has_noted_all() -> bool:
            noted: Noted = defaultdict(list)
            for by, number in self.ask(agent_id, "noted"):
                noted[by].append(number)
            assert noted["me"] == expected.get("me", [])
            for by, numbers in noted.items():
                assert numbers == expected.get(by, [])[: len(numbers)], by
            return sum(map(len, noted.values())) == sum(map(len, expected.values()))

        eventually(has_noted_all, lambda: f"{agent_id} has not noted all of {expected}")


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
    """On AMQP the link breaks at random besides: most of its time goes by between attempts to connect
    again. Ten to twenty minutes on LocalSpace and AMQPSpace each, three on NativeSpace.
    """
    seed = int(os.environ.get("SEED") or secrets.randbits(32))
    print(f"repeat with SEED={seed}")  # noqa: T201
    examples = {"NativeSpace": 2000, "LocalSpace": 100, "AMQPSpace": 25}[kind]
    how = settings(CALM, max_examples=examples, stateful_step_count=50)
    with model(kind, request, figures, bad_network=True) as machine:
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=how)

"""Faults of agents themselves, on every space: what they raise, what never ends, who comes and goes at once."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agency import (
    ACCESS_REQUESTED,
    ActionError,
    ActionNotPermitted,
    AgencyError,
    Agent,
    DeadLetter,
    LocalSpace,
    NativeSpace,
    NotAccepted,
    OutcomeUnknown,
    RequestError,
    RequestTimeout,
    Space,
    StartFailed,
    UnknownAgent,
    action,
)
from tests.faults.conftest import MakeSpace
from tests.faults.members import Busy, Odd
from tests.faults.tools import begin, ends, eventually, leaves_nothing_behind
from tests.programs import PATIENCE

pytestmark = pytest.mark.timeout(180)

MOST_ERROR_TEXT = 8 * 1024 + 200
"""Characters: 8,192 of the error's own and a few words around them."""


def test_hundreds_of_errors_are_as_many_answers_in_order(space: Space) -> None:
    space.add(Odd, "odd")
    me = space.join("me")
    for number in range(300):
        call = {"name": "raise_error", "args": {"number": number}}
        me.send({"id": str(number), "to": "odd", "action": call})
    answers = [me.receive(PATIENCE)["action"] for _ in range(300)]
    assert {answer["name"] for answer in answers} == {"error"}
    ids = [answer["args"]["original_message_id"] for answer in answers]
    assert ids == [str(number) for number in range(300)]
    assert me.proxy("odd").ping() == "pong"


def test_an_error_that_cannot_be_shown_is_an_error_all_the_same(space: Space) -> None:
    space.add(Odd, "odd")
    odd = space.join("me").proxy("odd")
    with pytest.raises(ActionError, match="Unprintable"):
        odd.raise_unprintable()
    assert odd.ping() == "pong"


def test_an_error_of_ten_megabytes_is_told_in_brief(space: Space) -> None:
    space.add(Odd, "odd")
    odd = space.join("me").proxy("odd")
    with pytest.raises(ActionError) as caught:
        odd.raise_at_length()
    assert 1000 < len(caught.value.message) <= MOST_ERROR_TEXT
    assert odd.ping() == "pong"


def test_memory_that_cannot_be_had_is_the_failure_of_that_action_only(space: Space) -> None:
    space.add(Odd, "odd")
    odd = space.join("me").proxy("odd")
    with pytest.raises(ActionError, match="MemoryError"):
        odd.exhaust_memory()
    assert odd.ping() == "pong"


def test_an_action_that_never_returns_costs_its_requester_a_timeout_and_others_nothing(
    make_space: MakeSpace,
) -> None:
    space = make_space(grace=0.2)
    space.add(Odd, "stuck")
    space.add(Odd, "well")
    me = space.join("me")
    with pytest.raises(RequestTimeout):
        me.proxy("stuck", timeout=0.2).never_return()
    for _ in range(100):
        assert me.proxy("well").ping() == "pong"
    waiting = begin(lambda: me.proxy("stuck", timeout=None).ping())
    ends(space.destroy)
    with pytest.raises(RequestError):
        waiting.result(PATIENCE)


class Stuck(Agent):
    """Has an action that never ends, and says when it has begun with it."""

    @action
    def never_return(self) -> None:
        self.send({"to": "me", "action": {"name": "say", "args": {"content": "begun"}}})
        threading.Event().wait()


@pytest.mark.parametrize("form", ["add", "add_foreground"])
def test_who_waits_for_an_action_that_never_ends_is_told_when_its_agent_is_removed(
    make_space: MakeSpace, form: str
) -> None:
    space = make_space(grace=0.2)
    getattr(space, form)(Stuck, "stuck")
    me = space.join("me")
    waiting = begin(lambda: me.proxy("stuck", timeout=None).never_return())
    assert me.receive(PATIENCE)["action"]["args"]["content"] == "begun"
    ends(lambda: space.remove("stuck"))
    with pytest.raises(OutcomeUnknown):
        waiting.result(PATIENCE)


def test_who_waits_for_an_agent_that_is_removed_is_told_though_its_worker_goes_on() -> None:
    with LocalSpace(max_workers=1, grace=0.2) as space:
        space.add(Stuck, "stuck")
        space.add(Odd, "odd")
        me = space.join("me")
        waiting = begin(lambda: me.proxy("stuck", timeout=None).never_return())
        assert me.receive(PATIENCE)["action"]["args"]["content"] == "begun"
        ends(lambda: space.remove("stuck"))
        with pytest.raises(OutcomeUnknown, match="left the space"):
            waiting.result(PATIENCE)
        assert me.proxy("odd").ping() == "pong"


class Producing(Agent):
    """Produces without end."""

    @action
    def numbers(self) -> Iterator[int]:
        yield from itertools.count()

    @action
    def ping(self) -> str:
        return "pong"


class Reading(Agent):
    """Reads until it dies."""

    @action
    def read_and_die(self) -> None:
        for number in self.stream({"to": "producing", "action": {"name": "numbers"}}):
            if number == 10:
                os.abort()


def test_a_stream_without_end_ends_with_the_worker_that_reads_it() -> None:
    with LocalSpace(grace=0.2) as space:
        space.add(Producing, "producing")
        space.add(Reading, "reading")
        me = space.join("me")
        with pytest.raises(OutcomeUnknown):
            me.proxy("reading", timeout=PATIENCE).read_and_die()
        assert me.proxy("producing", timeout=PATIENCE).ping() == "pong"


@pytest.mark.long
def test_a_space_is_destroyed_within_one_grace_wherever_actions_never_end() -> None:
    """Twice the grace would be 40 seconds."""
    space = LocalSpace(grace=20.0)
    space.add(Stuck, "elsewhere")
    space.add_foreground(Stuck, "here")
    me = space.join("me")
    for agent_id in ("elsewhere", "here"):
        me.send({"to": agent_id, "action": {"name": "never_return"}})
        assert me.receive(PATIENCE)["action"]["args"]["content"] == "begun"
    ends(space.destroy, limit=35.0)


class Unbearable(Agent):
    """Cannot be added."""

    def after_add(self) -> None:
        raise ValueError("not here")


def test_agents_that_cannot_be_added_leave_nothing_behind_however_often_it_is_tried(
    make_space: MakeSpace,
) -> None:
    space = make_space()
    space.add(Odd, "well")
    with leaves_nothing_behind():
        for _ in range(8):
            with pytest.raises(StartFailed, match="not here"):
                space.add(Unbearable, "a")
    space.add(Odd, "a")
    assert space.join("me").proxy("a").ping() == "pong"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_listener_for_dead_letters_that_raises_harms_nobody(
    space: Space, error: type[BaseException]
) -> None:
    heard: set[str] = set()

    def raises(_letter: DeadLetter) -> None:
        raise error("a mistake in the listener")

    space.dead_letters.listen(raises)
    space.dead_letters.listen(lambda letter: heard.add(letter.reason.value))
    space.add(Odd, "odd")
    me = space.join("me")
    me.send({"to": "nobody", "action": {"name": "say"}})

    def is_told_where_mail_comes_through() -> bool:
        with suppress(RequestTimeout, NotAccepted):
            me.request({"to": "odd", "action": {"name": "ping"}}, timeout=0.001)
        return bool(heard & {"expired", "late_answer"})

    eventually(is_told_where_mail_comes_through)
    assert me.proxy("odd").ping() == "pong"
    eventually(lambda: "no_such_agent" in heard)


def test_coming_going_and_speaking_at_once_ends_and_leaves_nothing(
    make_space: MakeSpace, seed: random.Random
) -> None:
    """Eight threads add and remove an agent each, and speak to everybody, until the space is destroyed under them."""
    with leaves_nothing_behind():
        space = make_space(grace=2.0)
        started = threading.Barrier(9)

        def trouble(number: int, chance: random.Random) -> None:
            me = space.join()
            started.wait(PATIENCE)
            for _ in range(10):
                try:
                    match chance.randrange(4):
                        case 0:
                            space.add(Busy, f"agent-{number}")
                        case 1:
                            space.remove(f"agent-{number}")
                        case 2:
                            me.send({"to": "*", "action": {"name": "work", "args": {"number": 1}}})
                        case _:
                            me.proxy(f"agent-{chance.randrange(8)}", timeout=1.0).done()
                except AgencyError:
                    pass  # which one depends on who came first; that all of it ends does not

        chances = [random.Random(seed.random()) for _ in range(8)]  # noqa: S311
        troubles = [begin(partial(trouble, *one)) for one in enumerate(chances)]
        started.wait(PATIENCE)
        for one in troubles[:4]:
            one.result(PATIENCE)
        ends(space.destroy)
        for one in troubles:
            one.result(PATIENCE)


class Lingering(Agent):
    """Leaves when it is let go."""

    def __init__(self, id: str, door: str) -> None:
        super().__init__(id)
        self._door = door

    def before_remove(self) -> None:
        self.send({"to": "me", "action": {"name": "say", "args": {"content": "leaving"}}})
        with open(self._door, "rb") as door:  # noqa: PTH123  # a pipe: opens when the test does
            door.read()


def test_of_two_who_remove_an_agent_at_once_one_is_told_that_it_is_gone(
    make_space: MakeSpace, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "door")
    space = make_space(grace=10 * PATIENCE)
    space.add(Lingering, "a", str(tmp_path / "door"))
    me = space.join("me")
    removals = [begin(lambda: space.remove("a")) for _ in range(2)]
    assert me.receive(PATIENCE)["action"]["args"]["content"] == "leaving"
    eventually(lambda: sum(removal.done() for removal in removals) == 1)
    (tmp_path / "door").write_bytes(b"")
    outcomes = {type(removal.exception(PATIENCE)) for removal in removals}
    assert outcomes == {type(None), UnknownAgent}
    space.add(Odd, "a")
    assert me.proxy("a").ping() == "pong"


class HoldsOut(Agent):
    """Does not want to leave."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.let_go = threading.Event()

    def before_remove(self) -> None:
        self.let_go.wait()


def test_an_agent_that_never_finishes_to_clean_up_does_not_hold_up_the_end() -> None:
    space = NativeSpace(grace=0.2)
    agent = space.add(HoldsOut("a"))
    destroyed = begin(space.destroy)
    try:
        eventually(destroyed.done)
    finally:
        agent.let_go.set()
        destroyed.result(PATIENCE)


class Destroyer(Agent):
    """Destroys the space it lives in."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self.space = space
        self.destroyed = threading.Event()

    @action
    def destroy(self) -> None:
        self.space.destroy()
        self.destroyed.set()


def test_an_action_may_destroy_the_space_it_runs_in(make_space: MakeSpace) -> None:
    with leaves_nothing_behind():
        space = make_space()
        destroyer = space.add(Destroyer("destroyer", space))
        space.join("me").send({"to": "destroyer", "action": {"name": "destroy"}})
        assert destroyer.destroyed.wait(PATIENCE)
        assert space.wait(PATIENCE)


def test_a_clock_that_jumps_disturbs_no_timeout(
    make_space: MakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_space(grace=0.2)
    real = time.time
    jumps = itertools.cycle([3600.0, -3600.0, 0.0])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    space.add(Odd, "odd")
    me = space.join("me")
    for _ in range(100):
        assert me.proxy("odd", timeout=PATIENCE).ping() == "pong"
    with pytest.raises(RequestTimeout):
        me.proxy("odd", timeout=0.1).never_return()


class Jumping(Agent):
    """Lives where the clock jumps by an hour at each look, in its own process if it has one."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        real, jumps = time.time, itertools.cycle([3600.0, -3600.0, 0.0])
        setattr(time, "time", lambda: real() + next(jumps))  # noqa: B010  # for mypy, a function is no variable

    @action
    def jumps(self) -> bool:
        now = [time.time() for _ in range(3)]
        return max(now) - min(now) > 3600

    @action
    def ask(self, to: str, name: str, timeout: float) -> Any:
        return self.request({"to": to, "action": {"name": name}}, timeout=timeout)

    @action
    def ask_in_vain(self, to: str) -> str:
        """Ask what is never answered, as long as it may take."""
        try:
            self.ask(to, "never_return", 0.1)
        except RequestTimeout:
            return "timed out"
        return "answered"

    @action(access_policy=ACCESS_REQUESTED)
    def permitted_in_time(self) -> str:
        return "done"

    @action(access_policy=ACCESS_REQUESTED)
    def never_permitted(self) -> None: ...

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        if proposed_message["action"]["name"] == "never_permitted":
            self.leaving.wait()
        return True


def test_a_clock_that_jumps_where_an_agent_lives_disturbs_no_timeout_of_its_own(
    make_space: MakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", time.time)  # as it was, when the test is over
    space = make_space(grace=0.2)
    space.add(Odd, "odd")
    space.add(Odd, "stuck")
    space.add(Jumping, "patient", permission_timeout=PATIENCE)
    space.add(Jumping, "impatient", permission_timeout=0.2)
    me = space.join("me")
    patient, impatient = (me.proxy(one, timeout=PATIENCE) for one in ("patient", "impatient"))
    assert patient.jumps()
    for _ in range(30):
        assert patient.ask(to="odd", name="ping", timeout=PATIENCE) == "pong"
        assert patient.permitted_in_time() == "done"
    assert patient.ask_in_vain(to="stuck") == "timed out"
    with pytest.raises(ActionNotPermitted):
        impatient.never_permitted()
    assert impatient.jumps()

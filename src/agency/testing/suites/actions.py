"""What an agent's actions are, how they are called, and how an agent handles its messages."""

from __future__ import annotations

from typing import Any

import pytest

from agency.agent import current_message
from agency.errors import ActionError, ActionNotFound, ActionNotPermitted, InvalidArguments
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.acting import Alias, BadActions, Disguised, Namesake
from agency.testing.agents.basics import LIMIT, Calculator, Gate, Witness
from agency.testing.agents.guarding import HeedlessGuard
from agency.testing.agents.talking import AsyncTalker, Worker
from agency.testing.kit import Conformance, ask, in_background, proves, request, tell

__all__ = ["ActionConformance", "HandlingConformance"]

HIDDEN = (
    "secret",
    "_count",
    "__init__",
    "__class__",
    "send",
    "request",
    "after_add",
    "before_remove",
    "before_action",
    "request_permission",
    "_current_message",
    "id",
    "calc.add",
    "add ",
    "ADD",
    "\uff41dd",
)


class ActionConformance(Conformance):
    """Which methods can be called, and how."""

    @proves("action-1", "action-3", "action-6", "access-1", "ask-1")
    def test_marked_methods_are_called_with_the_arguments_of_the_message(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc")
        assert ask(guest, "calc", "add", a=1, b=2) == 3
        assert ask(guest, "calc", "same", value="x") == "x"

    @proves("action-2", "ask-4")
    def test_nothing_but_actions_can_be_invoked(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        for name in HIDDEN:
            with pytest.raises(ActionNotFound):
                ask(guest, "calc", name)
        assert ask(guest, "calc", "count") == 1

    @proves("action-3", "action-4")
    def test_a_declared_name_is_called_and_the_methods_is_not(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Namesake, "agent")
        assert ask(guest, "agent", "a name with spaces, dots. and ünïcödé") == "odd"
        for method in ("odd", "go", "talk"):
            with pytest.raises(ActionNotFound):
                ask(guest, "agent", method)

    @proves("action-3")
    def test_an_action_has_the_name_that_the_class_has_for_it(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Alias, "alias")
        assert sorted(ask(guest, "alias", "help")) == ["__hide", "say", "tell"]
        assert ask(guest, "alias", "say") == "say"
        assert ask(guest, "alias", "tell") == "tell"
        assert ask(guest, "alias", "__hide") == "hide"

    @proves("action-5")
    def test_an_unmarked_override_keeps_what_was_declared(self, space: Space, guest: Guest) -> None:
        space.add(Namesake, "agent")
        assert ask(guest, "agent", "rest") == "base"
        assert ask(guest, "agent", "walk") == "override elsewhere"
        assert ask(guest, "agent", "help", action_name="walk") == {"walk": {"any": ["structure"]}}
        with pytest.raises(ActionNotPermitted):
            ask(guest, "agent", "speak")

    @proves("action-6", "action-7")
    def test_what_is_left_out_has_the_default(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        assert ask(guest, "calc", "divide", a=3) == 1.5
        assert guest.request({"to": "calc", "action": {"name": "count"}}, timeout=LIMIT) == 1

    @proves("action-8")
    def test_arguments_are_converted_where_nothing_is_lost(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc")
        assert ask(guest, "calc", "add", a="1", b=2.0) == 3

    @proves("action-9", "ask-6")
    def test_a_wrong_call_names_the_argument_and_does_not_run(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc")
        wrong: dict[str, dict[str, Any]] = {
            "b": {"a": 1},
            "a": {"a": "one", "b": 2},
            "c": {"a": 1, "b": 2, "c": 3},
            "self": {"a": 1, "b": 2, "self": 3},
        }
        for argument, args in wrong.items():
            with pytest.raises(InvalidArguments, match=f'"{argument}"'):
                guest.request(request("calc", "add", **args), timeout=LIMIT)
        with pytest.raises(InvalidArguments, match='"x"'):
            ask(guest, "calc", "count", x=1)
        assert ask(guest, "calc", "count") == 1

    @proves("action-10", "action-9")
    def test_an_action_may_take_any_arguments(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        args: dict[str, Any] = {"class": [2], "with space": {"x": None}, "id": "y"}
        assert guest.request(request("calc", "given", **args), timeout=LIMIT) == args
        with pytest.raises(InvalidArguments, match='"self"'):
            guest.request(request("calc", "given", self=1), timeout=LIMIT)

    @proves("action-22", "ask-3", "answer-2")
    def test_an_agent_survives_whatever_its_action_raises(self, space: Space, guest: Guest) -> None:
        space.add(BadActions, "bad")
        with pytest.raises(ActionError, match="ValueError: no such file"):
            ask(guest, "bad", "fail", text="no such file")
        with pytest.raises(ActionError, match="SystemExit: leaving"):
            ask(guest, "bad", "leave")
        with pytest.raises(ActionError, match="KeyboardInterrupt"):
            ask(guest, "bad", "interrupt")
        with pytest.raises(ActionError, match="GeneratorExit: closing"):
            ask(guest, "bad", "close")
        with pytest.raises(PermissionError, match="not yours"):
            ask(guest, "bad", "forbid")
        with pytest.raises(ActionError, match="SpeechlessError"):
            ask(guest, "bad", "speechless")
        assert ask(guest, "bad", "ping") == "pong"

    @proves("action-22", "action-24")
    @pytest.mark.parametrize("name", ["breaks_off", "ends_when_read"])
    def test_an_agent_survives_whatever_its_value_raises(
        self, space: Space, guest: Guest, name: str
    ) -> None:
        space.add(BadActions, "bad")
        with pytest.raises(ActionError):
            ask(guest, "bad", name)
        assert ask(guest, "bad", "ping") == "pong"

    @proves("action-22", "action-19")
    def test_an_agent_survives_what_an_async_action_raises(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(AsyncTalker, "talker")
        with pytest.raises(ActionError, match="ValueError: no such file"):
            ask(guest, "talker", "fail", text="no such file")
        with pytest.raises(ActionError, match="SystemExit: leaving"):
            ask(guest, "talker", "leave")
        with pytest.raises(ActionError, match="KeyboardInterrupt"):
            ask(guest, "talker", "interrupt")
        with pytest.raises(ActionError, match="CancelledError: cancelling"):
            ask(guest, "talker", "cancel")
        with pytest.raises(ActionError, match="GeneratorExit: closing"):
            ask(guest, "talker", "close")
        assert ask(guest, "talker", "leave_aside") == "leaving"
        assert ask(guest, "talker", "add", a=1, b=2) == 3

    @proves("action-23")
    def test_a_value_with_an_equivalent_in_json_is_sent_as_that(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(BadActions, "bad")
        assert ask(guest, "bad", "beyond_json") == {"path": "a/b", "pair": [1, 2]}

    @proves("action-24")
    def test_a_value_without_one_is_an_error(self, space: Space, guest: Guest) -> None:
        space.add(BadActions, "bad")
        with pytest.raises(ActionError, match="unsendable"):
            ask(guest, "bad", "unsendable")
        assert ask(guest, "bad", "ping") == "pong"

    @proves("action-25")
    def test_an_agent_keeps_its_state(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        assert [ask(guest, "calc", "count") for _ in range(3)] == [1, 2, 3]


class HandlingConformance(Conformance):
    """How an agent works through its messages."""

    @proves("action-11")
    def test_the_current_message_is_whole(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        message = request("calc", "whole", x=[1]) | {"id": "one", "meta": {"why": "so"}}
        assert guest.request(message, timeout=LIMIT) == message | {"from": "me"}

    @proves("action-11")
    def test_the_current_message_is_there_for_functions_too(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Worker, "worker")
        assert ask(guest, "worker", "others") == "me"

    @proves("action-26")
    def test_an_agent_can_tell_on_whose_behalf_it_is_asked(
        self, space: Space, guest: Guest
    ) -> None:
        for agent_id in ("first", "second", "last"):
            space.add(Worker, agent_id)
        of_second = request("second", "ask", message=request("last", "led_here"))
        assert ask(guest, "first", "ask", message=of_second) == ["me", "first", "second"]

    @proves("action-27")
    def test_what_comes_once_is_run_at_most_once_and_not_redelivered(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Worker, "worker")
        assert [ask(guest, "worker", "is_redelivered") for _ in range(3)] == [False] * 3

    @proves("action-14")
    def test_there_is_no_current_message_outside_of_actions(self, guest: Guest) -> None:
        assert guest._current_message is None
        assert current_message() is None

    @proves("action-12", "action-18")
    @pytest.mark.parametrize("action_name", ["meet", "block"])
    def test_concurrent_async_agents_tell_their_messages_apart(
        self, space: Space, guest: Guest, gate: Gate, action_name: str
    ) -> None:
        space.add(AsyncTalker, "talker", concurrency=3)
        self._meet_and_compare("talker", action_name, guest, gate)

    @proves("action-12", "action-18")
    def test_concurrent_actions_tell_their_messages_apart(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(Worker, "worker", concurrency=3)
        self._meet_and_compare("worker", "meet", guest, gate)

    def _meet_and_compare(self, agent_id: str, action_name: str, guest: Guest, gate: Gate) -> None:
        """Have three actions in progress at once, which no agent does that handles fewer."""
        for number in range(3):
            tell(guest, agent_id, action_name, id=f"message {number}", door=f"door {number}")
        assert {gate.arrival() for _ in range(3)} == {"door 0", "door 1", "door 2"}
        for number in (1, 2, 0):
            gate.open(f"door {number}")
            answer = guest.receive(timeout=LIMIT)["action"]["args"]
            assert answer["data"] == answer["original_message_id"] == f"message {number}"

    @proves("action-13")
    def test_the_current_message_is_right_in_tasks_and_threads(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(AsyncTalker, "talker")
        tell(guest, "talker", "everywhere", id="this one")
        answer = guest.receive(timeout=LIMIT)
        assert answer["action"]["args"]["data"] == ["this one"] * 3

    @proves("action-15", "action-16")
    def test_messages_are_handled_one_at_a_time_in_each_senders_order(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Worker, "worker")
        other = space.join("other")
        for number in range(10):
            tell(guest, "worker", "work", number=number)
            tell(other, "worker", "work", number=number)
        notes = witness.events(40)
        for begin, end in zip(notes[::2], notes[1::2], strict=True):
            assert [begin[0], end[0]] == ["begin", "end"]
            assert begin[1:] == end[1:]
        for sender in ("me", "other"):
            mine = [number for what, who, number in notes if (what, who) == ("begin", sender)]
            assert mine == list(range(10))

    @proves("action-17")
    def test_an_agent_that_blocks_delays_no_other(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        for agent_id in ("blocked", "free"):
            space.add(Worker, agent_id)
        space.add(Worker("near"))
        answer = in_background(lambda: ask(guest, "blocked", "meet", door="closed"))
        assert gate.arrival() == "closed"
        assert ask(guest, "free", "ping") == "pong"
        assert ask(guest, "near", "ping") == "pong"
        gate.open("closed")
        assert answer.result(LIMIT) is None

    @proves("action-19")
    def test_async_actions_are_answered(self, space: Space, guest: Guest) -> None:
        space.add(AsyncTalker, "talker")
        space.add(AsyncTalker("near"))
        assert ask(guest, "talker", "add", a=1, b=2) == 3
        assert ask(guest, "near", "add", a=1, b=2) == 3

    @proves("action-19")
    def test_an_async_action_that_a_decorator_hides_is_answered(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Disguised, "disguised")
        assert ask(guest, "disguised", "work") == "worked"

    @proves("action-20", "action-15")
    def test_a_serial_agents_async_actions_do_not_interleave(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(AsyncTalker, "talker")
        tell(guest, "talker", "meet", id="first", door="a")
        tell(guest, "talker", "add", id="second", a=1, b=2)
        assert gate.arrival() == "a"
        gate.open("a")
        answers = [guest.receive(timeout=LIMIT)["action"]["args"] for _ in range(2)]
        assert [answer["original_message_id"] for answer in answers] == ["first", "second"]

    @proves("action-21")
    def test_a_blocking_action_does_not_stop_async_ones(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(AsyncTalker, "talker", concurrency=2)
        answer = in_background(lambda: ask(guest, "talker", "block", door="closed"))
        assert gate.arrival() == "closed"
        assert ask(guest, "talker", "add", a=1, b=2) == 3
        gate.open("closed")
        assert answer.result(LIMIT) is None

    @proves("access-1", "callback-11")
    def test_a_plain_agent_needs_no_callbacks(self, space: Space, guest: Guest) -> None:
        space.add(HeedlessGuard, "guard")
        assert ask(guest, "guard", "permitted") == "done"
        space.remove("guard")

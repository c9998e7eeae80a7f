"""The decision table: what one message makes one agent do, driven by hand and without a thread."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from agency import ACCESS_DENIED, ACCESS_REQUESTED, Agent, action
from agency.actions import ActionTable
from agency.envelope import Envelope, Kind
from agency.errors import AgentNotFound, Failure
from agency.schema import Message, digest
from agency.turn import UNRECORDED, Ask, Call, Emit, describe, straight, turn

WAITING = [Kind.REQUEST, Kind.STREAM]
ALL_WAYS = [Kind.TELL, *WAITING]


class Table(Agent):
    """One action for each row of the table."""

    @action
    def work(self, value: Any = None) -> Any:
        return value

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> str:
        return "ran"

    @action(access_policy=ACCESS_REQUESTED)
    def requested(self, command: str) -> str:
        return f"ran {command}"

    @action
    def fail(self) -> None:
        raise ValueError("no such file")

    @action
    def forbid(self) -> None:
        raise PermissionError("not yours")

    @action
    def leave(self) -> None:
        raise SystemExit("leaving")

    @action
    def unsendable(self) -> object:
        return object()

    @action
    async def later(self) -> str:
        return "later"

    @action
    def count(self, to: int) -> Iterator[int]:
        yield from range(1, to + 1)

    @action
    def count_and_fail(self) -> Iterator[int]:
        yield 1
        raise ValueError("out of numbers")


class Watched(Table):
    """The same, with callbacks that fail on demand."""

    failing = ""

    def before_action(self, message: dict[str, Any]) -> None:
        if self.failing == "before_action":
            raise RuntimeError("not now")

    def after_action(
        self, message: dict[str, Any], return_value: Any, error: BaseException | None
    ) -> None:
        if self.failing == "after_action":
            raise RuntimeError("too late")


@dataclass
class Outcome:
    """What a turn did: the names of the functions it called, whom it asked, what it sent."""

    answer: Envelope | None = None
    called: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    proposed: list[dict[str, Any]] = field(default_factory=list)
    emitted: list[Envelope] = field(default_factory=list)

    @property
    def action(self) -> Any:
        assert self.answer is not None
        return self.answer.message["action"]

    @property
    def failure(self) -> Failure | None:
        assert self.answer is not None
        return self.answer.failure


def asked(
    name: str, args: dict[str, Any] | None = None, *, to: str = "table", kind: Kind = Kind.TELL
) -> Envelope:
    message: dict[str, Any] = {"id": "one", "from": "me", "to": to, "action": {"name": name}}
    if args is not None:
        message["action"]["args"] = args
    return Envelope.of(cast("Message", message), "asked", kind, hops=3, trace="trace")


def drive(
    agent: Agent,
    name: str,
    args: dict[str, Any] | None = None,
    *,
    to: str = "table",
    kind: Kind = Kind.TELL,
    permit: Any = True,
    wanted: int = 1000,
) -> Outcome:
    """Play the runner: do each step as it comes, and send back what became of it."""
    numbers = itertools.count(1)
    envelope = asked(name, args, to=to, kind=kind)
    steps = turn(agent, envelope, lambda: f"answer {next(numbers)}")
    outcome = Outcome()
    try:
        step = next(steps)
        while True:
            match step:
                case Call(function, positional, named):
                    outcome.called.append(function.__name__)
                    outcome.arguments.append(positional or named)
                    try:
                        result = function(*positional, **(named or {}))
                        if inspect.iscoroutine(result):
                            result = asyncio.run(result)
                    except BaseException as error:  # noqa: BLE001  # a runner hands all of them in
                        step = steps.throw(error)
                    else:
                        step = steps.send(result)
                case Ask(proposed):
                    outcome.proposed.append(proposed)
                    step = steps.send(permit)
                case Emit(part):
                    outcome.emitted.append(part)
                    step = steps.send(len(outcome.emitted) < wanted)
    except StopIteration as end:
        outcome.answer = end.value
    return outcome


def test_a_permitted_action_is_called_and_its_value_answered() -> None:
    outcome = drive(Table("table"), "work", {"value": [1]})
    assert outcome.called == ["work"]
    assert outcome.arguments == [{"value": [1]}]
    assert outcome.answer == Envelope.of(
        message={
            "from": "table",
            "to": "me",
            "action": {"name": "response", "args": {"data": [1], "original_message_id": "one"}},
        },
        id="answer 1",
        kind=Kind.TELL,
        correlation_id="asked",
        via=("me",),
        hops=4,
        trace="trace",
    )


@pytest.mark.parametrize("kind", WAITING)
def test_somebody_who_waits_gets_an_answer_rather_than_a_message(kind: Kind) -> None:
    answer = drive(Table("table"), "work", {"value": 1}, kind=kind).answer
    assert answer is not None
    assert (answer.kind, answer.correlation_id) == (Kind.ANSWER, "asked")


def test_none_is_answered_only_to_those_who_wait() -> None:
    assert drive(Table("table"), "work").answer is None
    for kind in WAITING:
        assert drive(Table("table"), "work", kind=kind).action["args"]["data"] is None


def test_a_coroutine_is_called_like_any_other_action() -> None:
    assert drive(Table("table"), "later").action["args"]["data"] == "later"


@pytest.mark.parametrize("kind", ALL_WAYS)
def test_an_unknown_action_is_an_error(kind: Kind) -> None:
    outcome = drive(Watched("table"), "missing", kind=kind)
    assert outcome.called == []
    assert outcome.failure is Failure.NOT_FOUND
    assert outcome.action == {
        "name": "error",
        "args": {"error": '"missing" not found on "table"', "original_message_id": "one"},
    }


def test_an_unknown_action_in_a_broadcast_is_silence() -> None:
    outcome = drive(Watched("table"), "missing", to="*")
    assert (outcome.answer, outcome.called) == (None, [])


@pytest.mark.parametrize("to", ["table", "*"])
def test_a_denied_action_is_refused_before_anything_is_looked_at(to: str) -> None:
    outcome = drive(Watched("table"), "denied", {"no such": "argument"}, to=to)
    assert (outcome.called, outcome.proposed) == ([], [])
    assert outcome.failure is Failure.NOT_PERMITTED
    assert outcome.action["args"]["error"] == '"table.denied" not permitted'


@pytest.mark.parametrize("to", ["table", "*"])
def test_what_is_on_request_runs_if_it_is_permitted(to: str) -> None:
    outcome = drive(Watched("table"), "requested", {"command": "ls"}, to=to)
    assert outcome.proposed == [
        {
            "id": "one",
            "from": "me",
            "to": to,
            "action": {"name": "requested", "args": {"command": "ls"}},
        }
    ]
    assert outcome.called == ["before_action", "requested", "after_action"]
    assert outcome.action["args"]["data"] == "ran ls"


@pytest.mark.parametrize("answer", [False, None, 1, "yes", [True]])
def test_anything_but_true_is_a_refusal(answer: Any) -> None:
    outcome = drive(Watched("table"), "requested", {"command": "rm"}, permit=answer)
    assert outcome.called == []
    assert outcome.failure is Failure.NOT_PERMITTED
    assert outcome.action["args"]["error"] == '"table.requested" not permitted'


@pytest.mark.parametrize("part", ["from", "to", "id", "name", "args", "argument", "more"])
def test_what_is_changed_after_it_was_shown_does_not_run(part: str) -> None:
    agent, envelope = Table("table"), asked("requested", {"command": "ls"}, kind=Kind.REQUEST)
    steps = turn(agent, envelope, lambda: "answer")
    shown = next(steps)
    assert isinstance(shown, Ask)
    assert shown.digest == digest(shown.proposed)
    message = cast("dict[str, Any]", envelope.message)
    match part:
        case "name":
            message["action"]["name"] = "denied"
        case "args":
            message["action"] = {"name": "requested", "args": {"command": "rm"}}
        case "argument":
            message["action"]["args"]["command"] = "rm"
        case "more":
            message["meta"] = {}
        case _:
            message[part] = "other"
    with pytest.raises(StopIteration) as end:
        steps.send(True)
    assert end.value.value.failure is Failure.NOT_PERMITTED


def test_what_cannot_be_recorded_is_refused_and_it_is_said_why() -> None:
    outcome = drive(Table("table"), "requested", {"command": "ls"}, permit=UNRECORDED)
    assert outcome.called == []
    assert outcome.failure is Failure.NOT_PERMITTED
    assert outcome.action["args"]["error"] == (
        '"table.requested" not permitted: the audit log cannot be written'
    )


def test_nobody_is_asked_about_a_wrong_call() -> None:
    outcome = drive(Watched("table"), "requested", {})
    assert (outcome.called, outcome.proposed) == ([], [])
    assert outcome.failure is Failure.INVALID_ARGUMENTS


def test_what_is_proposed_is_a_copy() -> None:
    args = {"command": "ls"}
    outcome = drive(Table("table"), "requested", args)
    outcome.proposed[0]["action"]["args"]["command"] = "rm"
    assert args == {"command": "ls"}


@pytest.mark.parametrize("to", ["table", "*"])
def test_a_wrong_call_is_an_error_that_names_the_argument(to: str) -> None:
    outcome = drive(Watched("table"), "work", {"no such": "argument"}, to=to)
    assert outcome.called == []
    assert outcome.failure is Failure.INVALID_ARGUMENTS
    assert '"no such"' in outcome.action["args"]["error"]


def test_the_callbacks_stand_around_the_action() -> None:
    outcome = drive(Watched("table"), "work", {"value": 1})
    assert outcome.called == ["before_action", "work", "after_action"]
    message, value, error = outcome.arguments[2]
    assert (message["id"], value, error) == ("one", 1, None)


def test_after_action_is_told_what_the_action_raised() -> None:
    outcome = drive(Watched("table"), "fail")
    assert outcome.called == ["before_action", "fail", "after_action"]
    _, value, error = outcome.arguments[2]
    assert value is None
    assert isinstance(error, ValueError)
    assert outcome.action["args"]["error"] == "ValueError: no such file"


def test_if_before_action_raises_the_rest_is_left_out() -> None:
    agent = Watched("table")
    agent.failing = "before_action"
    outcome = drive(agent, "work")
    assert outcome.called == ["before_action"]
    assert outcome.action["args"]["error"] == "RuntimeError: not now"


def test_if_after_action_raises_the_answer_stays_the_same() -> None:
    agent = Watched("table")
    agent.failing = "after_action"
    assert drive(agent, "work", {"value": 1}).action["args"]["data"] == 1
    assert drive(agent, "fail").action["args"]["error"] == "ValueError: no such file"


@pytest.mark.parametrize(
    ("name", "failure", "text"),
    [
        ("fail", Failure.FAILED, "ValueError: no such file"),
        ("forbid", Failure.NOT_PERMITTED, "PermissionError: not yours"),
        ("leave", Failure.FAILED, "SystemExit: leaving"),
    ],
)
def test_whatever_an_action_raises_is_its_answer(name: str, failure: Failure, text: str) -> None:
    outcome = drive(Table("table"), name)
    assert outcome.failure is failure
    assert outcome.action == {
        "name": "error",
        "args": {"error": text, "original_message_id": "one"},
    }


@pytest.mark.parametrize("agent_class", [Table, Watched])
def test_the_traceback_of_what_an_action_raised_is_in_the_log(
    agent_class: type[Table], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="agency"):
        drive(agent_class("table"), "fail")
        straight(Table("table"), asked("fail"), str, ActionTable.of(Table).straight["fail"])
    for record in caplog.records:
        assert record.getMessage() == 'the action "fail" of "table" failed'
    assert caplog.text.count("in fail\n    raise ValueError") == 2


def test_the_traceback_of_what_before_action_raised_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Watched("table")
    agent.failing = "before_action"
    with caplog.at_level(logging.INFO, logger="agency"):
        drive(agent, "work")
    assert "in before_action\n    raise RuntimeError" in caplog.text


def test_a_value_that_cannot_travel_is_an_error() -> None:
    outcome = drive(Table("table"), "unsendable")
    assert outcome.failure is Failure.FAILED
    assert "unsendable" in outcome.action["args"]["error"]


class Touchy(Agent):
    """Answers what must not be answered."""

    def response(self, data: Any = None, original_message_id: str | None = None) -> str:
        return "an answer to an answer"

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        raise RuntimeError("no errors, please")


@pytest.mark.parametrize("name", ["response", "error"])
@pytest.mark.parametrize("args", [{}, {"no such": "argument"}])
def test_answers_are_never_answered(name: str, args: dict[str, Any]) -> None:
    assert drive(Touchy("table"), name, args).answer is None


@pytest.mark.parametrize("name", ["response", "error"])
def test_somebody_who_waits_is_answered_even_so(name: str) -> None:
    assert drive(Touchy("table"), name, kind=Kind.REQUEST).answer is not None


def test_a_generator_sends_each_value() -> None:
    outcome = drive(Table("table"), "count", {"to": 3})
    assert [part.message["action"] for part in outcome.emitted] == [
        {"name": "response", "args": {"data": number, "original_message_id": "one"}}
        for number in (1, 2, 3)
    ]
    assert {part.kind for part in outcome.emitted} == {Kind.TELL}
    assert outcome.answer is None


def test_a_stream_gets_parts_and_an_end() -> None:
    outcome = drive(Table("table"), "count", {"to": 2}, kind=Kind.STREAM)
    assert [part.kind for part in outcome.emitted] == [Kind.PART, Kind.PART]
    assert {part.correlation_id for part in outcome.emitted} == {"asked"}
    assert outcome.answer is not None
    assert outcome.answer.kind is Kind.ANSWER
    assert outcome.action["args"]["data"] is None


def test_a_request_gets_all_values_at_once() -> None:
    outcome = drive(Table("table"), "count", {"to": 3}, kind=Kind.REQUEST)
    assert outcome.emitted == []
    assert outcome.action["args"]["data"] == [1, 2, 3]


def test_a_stream_that_nobody_wants_is_closed() -> None:
    outcome = drive(Table("table"), "count", {"to": 1000}, kind=Kind.STREAM, wanted=2)
    assert len(outcome.emitted) == 2
    assert outcome.called[-1] == "close"


def test_a_generator_that_raises_is_answered_after_its_values() -> None:
    outcome = drive(Table("table"), "count_and_fail", kind=Kind.STREAM)
    assert len(outcome.emitted) == 1
    assert outcome.action["args"]["error"] == "ValueError: out of numbers"


@pytest.mark.parametrize("kind", ALL_WAYS)
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("work", None),
        ("work", {"value": [1]}),
        ("work", {"vlaue": 1}),
        ("fail", {}),
        ("forbid", {}),
        ("leave", {}),
        ("unsendable", {}),
        ("response", {"data": 1}),
        ("error", {"error": 5}),
    ],
)
def test_the_straight_way_ends_as_the_turn_does(
    name: str, args: dict[str, Any] | None, kind: Kind
) -> None:
    agent = Table("table")
    spec = ActionTable.of(Table).straight[name]
    straightly = straight(agent, asked(name, args, kind=kind), lambda: "answer 1", spec)
    assert straightly == drive(agent, name, args, kind=kind).answer


def test_there_is_no_straight_way_past_permission_callbacks_loops_and_streams() -> None:
    for name in ("denied", "requested", "later", "count"):
        assert name not in ActionTable.of(Table).straight
    assert not ActionTable.of(Watched).straight


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such file"), "ValueError: no such file"),
        (ValueError(), "ValueError"),
        (Unspeakable(), "Unspeakable: (its text cannot be shown)"),
        (ValueError("\ud800"), "ValueError: \\ud800"),
        (AgentNotFound('there is no agent "x"'), 'there is no agent "x"'),
    ],
)
def test_every_exception_has_a_line_that_can_travel(error: BaseException, text: str) -> None:
    assert describe(error) == text
    text.encode()


def test_a_long_text_is_cut_and_said_to_be() -> None:
    described = describe(ValueError("x" * 100_000))
    assert len(described) < 10_000
    assert described.endswith("(100012 characters)")

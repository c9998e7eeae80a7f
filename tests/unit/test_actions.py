"""The `@action` decorator, and the table of what a class offers."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from agency import (
    ACCESS_DENIED,
    ACCESS_PERMITTED,
    ACCESS_REQUESTED,
    Agent,
    InvalidAction,
    InvalidArguments,
    action,
)
from agency.actions import ActionSpec, ActionTable

if TYPE_CHECKING:
    from decimal import Decimal


class Colour(enum.Enum):
    RED = "red"


class Shape(Protocol):
    corners: int


class Point(BaseModel):
    x: int
    y: int = 0


class Painter(Agent):
    @action
    def plain(self, a: int, b: str = "default") -> None: ...

    @action()
    def with_parentheses(self) -> None: ...

    @action(name="renamed", help=["any"], access_policy=ACCESS_REQUESTED)
    def original(self) -> None: ...

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> None: ...

    @action
    def rich(
        self,
        colour: Colour,
        point: Point,
        when: dt.datetime,
        choices: list[int] | None = None,
    ) -> None: ...

    @action
    def open(self, a: int, **others: Any) -> None: ...

    @action
    async def coroutine(self) -> None: ...

    @action
    def produce(self) -> Iterator[int]:
        yield 1

    @action
    async def aproduce(self) -> AsyncIterator[int]:
        yield 1

    def unmarked(self) -> None: ...


def spec(name: str, agent_class: type[Agent] = Painter) -> ActionSpec:
    found = ActionTable.of(agent_class).get(name)
    assert found is not None
    return found


def test_only_marked_methods_are_in_the_table() -> None:
    for name in ("unmarked", "original", "send", "__init__", "after_add", ""):
        assert ActionTable.of(Painter).get(name) is None
    for name in ("plain", "with_parentheses", "renamed", "help", "response", "error"):
        assert spec(name).name == name


def test_what_was_declared_is_kept() -> None:
    assert spec("plain").access_policy is ACCESS_PERMITTED
    assert spec("plain").help_override is None
    assert spec("denied").access_policy is ACCESS_DENIED
    assert spec("renamed").access_policy is ACCESS_REQUESTED
    assert spec("renamed").help_override == ["any"]
    assert spec("renamed").method_name == "original"


@pytest.mark.parametrize(
    ("name", "is_async", "is_stream"),
    [
        ("plain", False, False),
        ("coroutine", True, False),
        ("produce", False, True),
        ("aproduce", True, True),
    ],
)
def test_every_kind_of_function_is_told_apart(name: str, is_async: bool, is_stream: bool) -> None:
    assert (spec(name).is_async, spec(name).is_stream) == (is_async, is_stream)


def test_a_table_is_made_once_a_class() -> None:
    assert ActionTable.of(Painter) is ActionTable.of(Painter)


def test_whether_an_action_may_be_run_twice_is_declared_and_kept_by_overrides() -> None:
    class Parent(Agent):
        @action(at_most_once=True)
        def once(self) -> None: ...

        @action
        def again(self) -> None: ...

    class Child(Parent):
        def once(self) -> None: ...

    assert [spec(name, Child).at_most_once for name in ("once", "again")] == [True, False]
    with pytest.raises(InvalidAction, match="at_most_once"):
        action(at_most_once="yes")  # type: ignore[call-overload]


def test_an_override_keeps_what_was_declared_unless_it_declares_anew() -> None:
    class Child(Painter):
        def original(self) -> None: ...

        @action
        def denied(self) -> None: ...

        plain = None  # type: ignore[assignment]

    assert spec("renamed", Child).access_policy is ACCESS_REQUESTED
    assert spec("denied", Child).access_policy is ACCESS_PERMITTED
    assert ActionTable.of(Child).get("plain") is None


def test_help_shows_neither_the_special_actions_nor_denied_ones() -> None:
    shown = {each.name for each in ActionTable.of(Painter).shown()}
    assert "plain" in shown
    assert not shown & {"help", "response", "error", "denied"}
    assert [each.name for each in ActionTable.of(Painter).shown("help")] == ["help"]
    assert ActionTable.of(Painter).shown("denied") == []


@pytest.mark.parametrize(
    ("name", "given_args", "converted"),
    [
        ("plain", {"a": 1}, {"a": 1}),
        ("plain", {"a": "1", "b": "x"}, {"a": 1, "b": "x"}),
        ("with_parentheses", {}, {}),
        ("open", {"a": 1, "x": [2], "class": 3}, {"a": 1, "x": [2], "class": 3}),
        (
            "rich",
            {"colour": "red", "point": {"x": 1}, "when": "2026-01-02T00:00:00", "choices": None},
            {
                "colour": Colour.RED,
                "point": Point(x=1),
                "when": dt.datetime(2026, 1, 2),  # noqa: DTZ001  # as it was given
                "choices": None,
            },
        ),
    ],
)
def test_arguments_are_converted_and_defaults_left_to_python(
    name: str, given_args: dict[str, Any], converted: dict[str, Any]
) -> None:
    assert spec(name).check_arguments(given_args) == converted


@pytest.mark.parametrize(
    "annotation", [str, int, float, bool, Any, str | None, int | str, bool | int]
)
@pytest.mark.parametrize("value", ["1", 1, 1.5, 2.0, True, None, [1], {"a": 1}], ids=repr)
def test_what_is_passed_unasked_is_what_validation_makes_of_it(annotation: Any, value: Any) -> None:
    def take(self: Agent, value: Any) -> None:
        """Nothing."""

    take.__annotations__["value"] = annotation
    offered = ActionTable.of(type("Taker", (Agent,), {"take": action(take)})).get("take")
    assert offered is not None
    try:
        expected = TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        with pytest.raises(InvalidArguments):
            offered.check_arguments({"value": value})
    else:
        taken = offered.check_arguments({"value": value})["value"]
        assert taken == expected
        assert type(taken) is type(expected)


@pytest.mark.parametrize(
    ("name", "args", "argument"),
    [
        ("plain", {}, '"a"'),
        ("plain", {"a": "x"}, '"a"'),
        ("plain", {"a": 1.5}, '"a"'),
        ("plain", {"a": 1, "c": 2}, '"c"'),
        ("plain", {"a": 1, "self": 2}, '"self"'),
        ("with_parentheses", {"a": 1}, '"a"'),
        ("open", {"a": 1, "self": 2}, '"self"'),
        ("open", {"x": 1}, '"a"'),
        ("rich", {"colour": "blue", "point": {"x": 1}, "when": "2026-01-02"}, '"colour"'),
        ("rich", {"colour": "red", "point": {"x": "y"}, "when": "2026-01-02"}, '"point.x"'),
    ],
)
def test_a_wrong_call_names_the_action_and_the_argument(
    name: str, args: dict[str, Any], argument: str
) -> None:
    with pytest.raises(InvalidArguments) as raised:
        spec(name).check_arguments(args)
    assert str(raised.value).startswith(f'"{name}" cannot be called like this: ')
    assert f"argument {argument}: " in str(raised.value)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_no_arguments_get_through_that_the_method_cannot_take(args: dict[str, Any]) -> None:
    def method(a: int, b: str = "default") -> None: ...

    try:
        checked = spec("plain").check_arguments(args)
    except InvalidArguments:
        return
    method(**checked)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: action(name=""),
        lambda: action(name=cast("Any", 5)),
        lambda: action(access_policy=cast("Any", "ACCESS_MAYBE")),
        lambda: action(cast("Any", "not a function")),
        lambda: action()(cast("Any", 5)),
    ],
    ids=["no name", "a number as name", "no such policy", "no function", "no function later"],
)
def test_a_wrong_declaration_is_refused(declare: Any) -> None:
    with pytest.raises(InvalidAction, match="@action"):
        declare()


def test_two_actions_of_one_name_are_refused() -> None:
    class Twins(Agent):
        @action
        def a(self) -> None: ...

        @action(name="a")
        def b(self) -> None: ...

    with pytest.raises(InvalidAction, match=r"Twins.*\"a\""):
        Twins("twins")


@pytest.mark.parametrize("kind", [staticmethod, classmethod, functools.cache])
def test_what_is_no_method_cannot_be_an_action(kind: Callable[..., Any]) -> None:
    class Odd(Agent):
        @kind
        @action
        def a(self) -> None: ...

    with pytest.raises(InvalidAction, match=r"Odd\.a cannot be an action"):
        Odd("odd")


def test_a_function_may_be_an_action_under_several_names() -> None:
    def shared(self: Agent) -> None: ...

    class Several(Agent):
        one = two = action(shared)

    assert [spec(name, Several).method_name for name in ("one", "two")] == ["one", "two"]


class Unresolved(Agent):
    @action
    def work(self, count: int, when: dt.datetime, price: Decimal, note: "how it went") -> Decimal:  # type: ignore[valid-type]  # noqa: F722
        return price


def test_a_type_that_cannot_be_found_takes_no_others_away() -> None:
    given_args = {"count": "1", "when": "2026-01-02T00:00:00", "price": "2", "note": 3}
    assert spec("work", Unresolved).check_arguments(given_args) == {
        "count": 1,
        "when": dt.datetime(2026, 1, 2),  # noqa: DTZ001  # as it was given
        "price": "2",
        "note": 3,
    }
    with pytest.raises(InvalidArguments, match='"count"'):
        spec("work", Unresolved).check_arguments(given_args | {"count": "one"})
    args = Unresolved("agent").help()["work"]["args"]
    assert args["count"] == {"type": "integer"}
    assert args["price"] == args["note"] == {}


def test_a_type_that_nothing_can_be_checked_against_is_refused() -> None:
    class Odd(Agent):
        @action
        def a(self, shape: Shape) -> None: ...

    with pytest.raises(InvalidAction, match=r"Odd\.a cannot be an action"):
        Odd("odd")


def test_a_type_that_has_no_schema_is_no_harm_as_what_is_returned() -> None:
    class Maker(Agent):
        @action
        def make(self) -> Shape:
            raise NotImplementedError

    assert Maker("maker").help(format="json_schema")["make"]["returns"] == {}


def test_help_that_cannot_be_sent_is_refused_where_it_is_declared() -> None:
    with pytest.raises(InvalidAction, match="help: "):
        action(help={"an": object()})


def test_what_a_class_declares_stays_as_it_is() -> None:
    declared = {"any": ["thing"]}

    class Declaring(Agent):
        @action(help=declared)
        def a(self) -> None: ...

        @action
        def b(self, x: int) -> None: ...

    declared["any"].append("more")
    agent = Declaring("agent")
    for form in ("help", "json_schema"):
        shown = agent.help(format=form)
        before = copy.deepcopy(shown)
        shown["a"].clear()
        shown["b"].clear()
        assert agent.help(format=form) == before
    assert agent.help()["a"] == {"any": ["thing"]}


def test_an_argument_that_has_no_name_is_refused() -> None:
    class Nameless(Agent):
        @action
        def a(self, x: int, /) -> None: ...

    with pytest.raises(InvalidAction, match=r'Nameless\.a .*"x"'):
        Nameless("nameless")


def test_a_method_without_self_is_refused() -> None:
    class Selfless(Agent):
        @action
        def a() -> None: ...  # type: ignore[misc]  # the mistake under test

    with pytest.raises(InvalidAction, match=r"Selfless\.a .*self"):
        Selfless("selfless")

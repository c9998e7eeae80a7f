"""Help and JSON Schema from signature and docstring. The common cases stand in the conformance kit."""

# The functions in here are specimens: documented in part, and called by nobody.
# ruff: noqa: ARG001, D415, D417, PLR0917

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agency.help import Description, parameters_of

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


def description_of(function: Callable[..., Any]) -> Description:
    parameters, takes_others = parameters_of(function)
    return Description(function, parameters, takes_others=takes_others)


def shown(annotation: Any) -> Any:
    """What help says of an argument with this annotation."""

    def method(self: Any, x: Any) -> None: ...

    method.__annotations__ = {"x": annotation}
    return description_of(method).help["args"]["x"]


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(BaseModel):
    x: int


@dataclasses.dataclass
class Pair:
    a: int


class Shape(TypedDict):
    sides: int


class Opaque:
    pass


@pytest.mark.parametrize(
    ("annotation", "type_name"),
    [
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (bool, "boolean"),
        (None, "null"),
        (list, "array"),
        (list[str], "array"),
        (Sequence[int], "array"),
        (tuple[int, str], "array"),
        (set[int], "array"),
        (dict, "object"),
        (dict[str, int], "object"),
        (Mapping[str, Any], "object"),
        (Point, "object"),
        (Pair, "object"),
        (Shape, "object"),
        (Colour, "string"),
        (Level, "integer"),
        (Literal["a", "b"], "string"),
        (dt.datetime, "string"),
        (uuid.UUID, "string"),
        (Path, "string"),
        (bytes, "string"),
        (Optional[str], ["string", "null"]),  # noqa: UP045  # the spelling is the case
        (int | None, ["integer", "null"]),
        (int | str, ["integer", "string"]),
        (Annotated[int, Field(gt=0)], "integer"),
    ],
    ids=str,
)
def test_every_annotation_has_its_name_in_json_schema(annotation: Any, type_name: Any) -> None:
    assert shown(annotation)["type"] == type_name


@pytest.mark.parametrize("annotation", [Any, object, Opaque, decimal.Decimal, "Unknown"], ids=str)
def test_an_annotation_that_json_schema_cannot_name_is_no_error(annotation: Any) -> None:
    shown(annotation)


def test_limits_and_choices_are_shown() -> None:
    assert shown(Literal["a", "b"]) == {"type": "string", "enum": ["a", "b"]}
    assert shown(Annotated[int, Field(gt=0, le=9)]) == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "maximum": 9,
    }


def test_a_name_that_only_type_checkers_know_is_left_open() -> None:
    def method(self: Any, a: Unknown, b: int) -> None: ...

    assert description_of(method).help["args"]["a"] == {}


def test_the_documented_example_yields_the_documented_object() -> None:
    def shell_command(self: Any, command: str) -> str:
        """Execute a shell command

        Args:
            command (str): The command to execute

        Returns:
            str: The output of the command
        """
        return command

    assert description_of(shell_command).help == {
        "description": "Execute a shell command",
        "args": {"command": {"type": "string", "description": "The command to execute"}},
        "returns": {"type": "string", "description": "The output of the command"},
    }


def test_types_come_from_the_docstring_where_the_signature_has_none() -> None:
    def method(self, a, b, c, d, e):  # type: ignore[no-untyped-def]
        """Do.

        Args:
            a (int): One
            b (str, optional): Two
            c (Gadget): Three
            d: Four

        Returns:
            dict: Five
        """

    assert description_of(method).help == {
        "description": "Do.",
        "args": {
            "a": {"type": "integer", "description": "One"},
            "b": {"type": "string", "description": "Two"},
            "c": {"type": "Gadget", "description": "Three"},
            "d": {"description": "Four"},
            "e": {},
        },
        "returns": {"type": "object", "description": "Five"},
    }


def test_returns_is_shown_only_if_it_is_documented() -> None:
    def method(self: Any) -> int:
        """Do."""
        return 1

    assert description_of(method).help == {"description": "Do.", "args": {}}


def test_documented_arguments_that_do_not_exist_are_not_shown() -> None:
    def method(self: Any, a: int) -> None:
        """Do.

        Args:
            b: Not there
        """

    assert description_of(method).help["args"] == {"a": {"type": "integer"}}


def test_variable_arguments_are_no_arguments_with_a_name() -> None:
    def method(self: Any, a: int, *rest: int, b: str = "", **others: Any) -> None: ...

    assert list(description_of(method).help["args"]) == ["a", "b"]
    assert description_of(method).json_schema["parameters"]["additionalProperties"] is True


def test_an_argument_that_has_no_name_cannot_be_described() -> None:
    def method(self: Any, a: int, /) -> None: ...

    with pytest.raises(TypeError, match='"a"'):
        parameters_of(method)


def test_the_full_schema_has_what_callers_of_functions_need() -> None:
    def move(
        self: Any, to: Point, speed: float = 1.5, mode: Literal["walk", "run"] = "walk"
    ) -> bool:
        """Move.

        Args:
            to: Where to
            speed: How fast

        Returns:
            bool: Whether it arrived
        """
        return True

    schema = description_of(move).json_schema
    assert schema["description"] == "Move."
    assert schema["returns"] == {"type": "boolean", "description": "Whether it arrived"}
    parameters = schema["parameters"]
    assert parameters["type"] == "object"
    assert parameters["required"] == ["to"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["to"]["description"] == "Where to"
    assert parameters["properties"]["to"]["properties"]["x"]["type"] == "integer"
    assert parameters["properties"]["speed"] == {
        "type": "number",
        "default": 1.5,
        "description": "How fast",
    }
    assert parameters["properties"]["mode"] == {
        "type": "string",
        "enum": ["walk", "run"],
        "default": "walk",
    }


def test_nested_models_are_defined_where_they_can_be_found() -> None:
    class Line(BaseModel):
        start: Point
        end: Point

    def draw(self: Any, line: Line) -> None: ...

    draw.__annotations__["line"] = Line
    parameters = description_of(draw).json_schema["parameters"]
    assert parameters["properties"]["line"]["properties"]["start"] == {"$ref": "#/$defs/Point"}
    assert parameters["$defs"]["Point"]["properties"]["x"]["type"] == "integer"


@pytest.mark.parametrize("default", [object(), float("inf"), [float("nan")]])
def test_a_default_that_is_no_json_is_left_out(default: Any) -> None:
    def method(self: Any, a: Any = default) -> None: ...

    assert description_of(method).json_schema["parameters"]["properties"]["a"] == {}


@given(st.text())
def test_no_docstring_is_an_error(text: str) -> None:
    def method(self: Any, a: int) -> None: ...

    method.__doc__ = text
    assert description_of(method).help["args"]["a"]["type"] == "integer"

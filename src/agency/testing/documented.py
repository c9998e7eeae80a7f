"""Agents that the conformance suite asks for help."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any, Literal, Optional, Union

from pydantic import BaseModel

from agency.access import ACCESS_DENIED
from agency.actions import action
from agency.agent import Agent

__all__ = ["Colour", "Documented", "Point", "Reticent"]


class Colour(enum.Enum):
    """An enum as annotation."""

    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    """A model as annotation."""

    x: int
    y: int = 0


class Documented(Agent):
    """Actions with every kind of documentation."""

    @action
    def shell_command(self, command: str) -> str:
        """Execute a shell command

        Args:
            command (str): The command to execute

        Returns:
            str: The output of the command
        """  # noqa: D415  # the published example, letter by letter
        return command

    @action
    def terse(self) -> None:  # what help makes of it is the test
        ...

    @action(name="renamed")
    def original(self, x):  # type: ignore[no-untyped-def]
        """Have another name."""

    @action(name="typed in the docstring")
    def documented(self, a: str, b):  # type: ignore[no-untyped-def]
        """Document types.

        Args:
            a (int): Documented as a number
            b (float): Documented only

        Returns:
            str: Documented only
        """

    @action
    def wordy(self, a: int) -> None:
        """Say it shortly.

        Then say it at length,
        over several lines.

        Args:
            a: Described over
                two lines
        """

    @action
    def annotated(  # noqa: PLR0917  # one argument for each kind of annotation
        self,
        optional: Optional[str],  # noqa: UP045  # the old spelling is a case of its own
        either: int | None,
        union: Union[int, str],  # noqa: UP007  # so is this one
        numbers: list[int],
        colour: Colour,
        word: Literal["yes", "no"],
        when: dt.datetime,
        point: Point,
        table: dict[str, int] = {},  # noqa: B006  # read only
        ratio: float = 1.5,
        flag: bool = True,
        anything: Any = None,
    ) -> list[str]:
        """Return the types of the arguments."""
        given = (optional, either, union, numbers, colour, word, when, point)
        return [type(value).__name__ for value in given]

    @action(help={"You": "can define", "any": {"structure": ["you", "want", "here."]}})
    def overridden(self, content: str) -> None:
        """Never shown."""

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> None:
        """Never shown."""


class Reticent(Agent):
    """Says of itself only what it likes."""

    def help(self, action_name: str | None = None) -> dict[str, Any]:  # type: ignore[override]
        """Show one action."""
        return {"sing": {"args": {}}}

    @action
    def hidden(self) -> str:
        """Not shown."""
        return "found"

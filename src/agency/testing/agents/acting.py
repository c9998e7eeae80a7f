"""Agents with actions that should not be, or are called otherwise than they look."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agency.access import ACCESS_DENIED
from agency.actions import action
from agency.agent import Agent
from agency.schema import MAX_DEPTH, MAX_MESSAGE_BYTES

__all__ = ["Alias", "BadActions", "Disguised", "Namesake"]


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class BadActions(Agent):
    """Actions that go wrong."""

    @action
    def fail(self, text: str) -> None:
        """Raise."""
        raise ValueError(text)

    @action
    def leave(self) -> None:
        """Raise what would end a program."""
        raise SystemExit("leaving")

    @action
    def interrupt(self) -> None:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    @action
    def close(self) -> None:
        """Raise what ends a generator."""
        raise GeneratorExit("closing")

    @action
    def forbid(self) -> None:
        """Raise Python's own error for what is not permitted."""
        raise PermissionError("not yours")

    @action
    def speechless(self) -> None:
        """Raise what cannot even be shown."""
        raise _SpeechlessError

    @action
    def breaks_off(self) -> Any:
        """Return what raises when it is looked at."""
        return (1 // number for number in (1, 0))

    @action
    def ends_when_read(self) -> Any:
        """Return what would end a program when it is looked at."""
        return (sys.exit(3) for _ in "x")

    @action
    def unsendable(self) -> Any:
        """Return what no message can hold."""
        return object()

    @action
    def too_large(self) -> Any:
        """Return more than a message can hold."""
        return "x" * MAX_MESSAGE_BYTES

    @action
    def without_end(self) -> Any:
        """Return lists that share lists: little in memory, and much too large as JSON."""
        value: list[Any] = ["x" * 1000]
        for _ in range(MAX_DEPTH - 4):
            value = [value, value]
        return value

    @action
    def beyond_json(self) -> Any:
        """Return what has a plain equivalent in JSON."""
        return {"path": Path("a") / "b", "pair": (1, 2)}

    @action
    def ping(self) -> str:
        """Show that the agent lives on."""
        return "pong"


def _undeclared(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that does not say what it decorates."""

    def decorated(self: Any) -> Any:
        return function(self)

    return decorated


def _declared(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that says so."""
    return functools.wraps(function)(_undeclared(function))


class Disguised(Agent):
    """Has an `async` action that looks like any other."""

    @action
    @_declared
    async def work(self) -> str:
        """Work."""
        await asyncio.sleep(0)
        return "worked"


class Alias(Agent):
    """Has actions whose functions have other names than the class has for them."""

    @action
    @_undeclared
    def say(self) -> str:
        """Say something."""
        return "say"

    tell = action(lambda _: "tell")

    @action
    def __hide(self) -> str:
        """Be the class's own, and an action all the same."""
        return "hide"


class _Base(Agent):
    @action(name="speak", access_policy=ACCESS_DENIED)
    def talk(self) -> str:
        """Talk."""
        return "base"

    @action(name="walk", help={"any": ["structure"]})
    def go(self, to: str = "there") -> str:
        """Walk."""
        return f"base {to}"

    @action
    def rest(self) -> str:
        """Rest."""
        return "base"


class Namesake(_Base):
    """Declares names other than its methods', and overrides methods without marking them again."""

    def talk(self) -> str:
        """Talk more."""
        return "override"

    def go(self, to: str = "elsewhere") -> str:
        """Walk further."""
        return f"override {to}"

    @action(name="a name with spaces, dots. and ünïcödé")
    def odd(self) -> str:
        """Have an odd name."""
        return "odd"

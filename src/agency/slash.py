r"""The slash syntax: how a person types an invocation, and how one is shown to a person.

    /Host.list_files directory_path:"."            invoke list_files on the agent "Host"
    /Calculator.add a:1 b:2.5                      values are JSON: numbers, true, null, lists, objects
    /*.help                                        to every agent in the space
    /"an id. with dots".say content:"two\nlines"   names with other characters are JSON strings, too
    Hello, world!                                  anything else is said to everyone

`parse_command` reads it, `format_command` writes it, and each is the inverse of the other. Pure;
beside `agency.schema`, which says what else a message may hold. Read by the faces of Agency: chat
pages, consoles, prompts for approval.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from agency.errors import InvalidCommand
from agency.schema import BROADCAST

__all__ = ["format_command", "parse_command"]

_OTHER_QUOTES: Final = "'\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}“”"
_BARE_NAME: Final = re.compile(rf'[^\s/."{_OTHER_QUOTES}:*]+')
_SPACE: Final = re.compile(r"\s*")
_MAX_DIGITS: Final = 20  # of a 64-bit integer with its sign, the largest that a message may hold
_VALUE_KINDS: Final = 'a JSON value: "text", 3.14, true, null, [1, 2] or {"key": "value"}'


def parse_command(text: str) -> dict[str, Any]:
    """Return the message that the text stands for, ready for `Agent.send`.

    Text that does not begin with a slash (after white space) becomes a `say` to everyone, with
    exactly this text.

    Raises:
        InvalidCommand: it begins with a slash and breaks the syntax. Whether such an agent or
            action exists, and what arguments it takes, is not decided here.
    """
    if not text.lstrip().startswith("/"):
        return _message(BROADCAST, "say", {"content": text})
    return _Reader(text).command()


def format_command(message: Mapping[str, Any]) -> str:
    """Return the command that invokes what the message invokes, on one line.

    `from`, `id` and `meta` are no part of a command and are left out. Characters that cannot be
    printed are escaped, so that showing the result to a person is safe and nothing in it is
    invisible.

    Raises:
        ValueError: an argument is not a JSON value.
        TypeError: the same, by type.
    """
    action = message["action"]
    receiver = message["to"] if message["to"] == BROADCAST else _format_name(message["to"])
    arguments = (action.get("args") or {}).items()
    return " ".join(
        [
            f"/{receiver}.{_format_name(action['name'])}",
            *(f"{_format_name(name)}:{_format_value(value)}" for name, value in arguments),
        ]
    )


def _message(to: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"to": to, "action": {"name": name, "args": args}}


def _format_name(name: str) -> str:
    return name if name.isprintable() and _BARE_NAME.fullmatch(name) else _format_value(name)


def _format_value(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return shown if shown.isprintable() else "".join(map(_printable, shown))


def _printable(character: str) -> str:
    """The character itself or its JSON escape. Outside of strings, JSON text is always printable."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


class _Reader:
    """Reads one command from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
            strict=False,  # a person may press Enter inside of quotes
        )

    def command(self) -> dict[str, Any]:
        self._skip_space()
        self._position += len("/")
        receiver = self._receiver()
        if not self._take("."):
            self._fail(f'"." and the name of an action after the agent, as in /{receiver}.help')
        action = self._name("the name of an action")
        if self._next == ".":
            self._fail('a space; if the agent\'s id has dots, quote it, as in /"a.b".help')
        args: dict[str, Any] = {}
        while self._separated():
            start = self._position
            name = self._name('the name of an argument, as in name:"value"')
            if not self._take(":"):
                self._fail('an argument with its name, as in name:"value"', start)
            if name in args:
                self._fail(f"another argument; {name} is given twice", start)
            args[name] = self._value()
        return _message(receiver, action, args)

    @property
    def _next(self) -> str:
        """The next character, or nothing at the end."""
        return self._text[self._position : self._position + 1]

    def _take(self, character: str) -> bool:
        taken = self._next == character
        self._position += taken
        return taken

    def _skip_space(self) -> bool:
        before = self._position
        found = _SPACE.match(self._text, self._position)
        self._position = found.end() if found else before
        return self._position > before

    def _separated(self) -> bool:
        """Whether more follows, apart from what stands before by white space."""
        spaced = self._skip_space()
        if not self._next:
            return False
        if not spaced:
            self._fail("a space or the end")
        return True

    def _receiver(self) -> str:
        if self._take(BROADCAST):
            return BROADCAST
        start = self._position
        receiver = self._name('the id of an agent, or "*" for all of them')
        if receiver in {BROADCAST, ""}:
            self._fail('the id of an agent; "*" without quotes means all of them', start)
        return receiver

    def _name(self, what: str) -> str:
        if self._next == '"':
            name: str = self._json(what)
            return name
        found = _BARE_NAME.match(self._text, self._position)
        if found is None:
            self._fail(what)
        self._position = found.end()
        return found.group()

    def _value(self) -> Any:
        self._skip_space()
        if not self._next:
            self._fail(_VALUE_KINDS)
        if self._next in _OTHER_QUOTES:
            self._fail('straight double quotes around text, as in "value"')
        return self._json(_VALUE_KINDS)

    def _json(self, what: str) -> Any:
        try:
            value, self._position = self._decoder.raw_decode(self._text, self._position)
        except json.JSONDecodeError as error:
            if error.msg == "Expecting value" and error.pos == self._position:
                self._fail(f"{what}; text stands in double quotes")
            if error.msg.startswith("Unterminated string"):
                self._fail("a closing double quote after this one", error.pos)
            self._fail(f"valid JSON; {error.msg[0].lower()}{error.msg[1:]}", error.pos)
        except RecursionError:
            self._fail("a value that is not nested as deeply as this")
        except ValueError as error:
            self._fail(f"a JSON value; {error}")
        return value

    def _fail(self, expected: str, position: int | None = None) -> NoReturn:
        where = self._position if position is None else position
        raise InvalidCommand(where, expected) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("this object has a key twice")
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_constant(digits)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("this number has too many digits; send it as text")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not one")

"""Messages that no space takes, and what each is to be told: the same on every space, whoever sends.

Made anew for each use, and named so that an agent in another process can try them too. Above:
`agency.testing.agents`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from agency.schema import MAX_DEPTH, MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from agency.agent import Agent

__all__ = ["BAD_MESSAGES", "bad_message", "expected_verdicts", "verdicts"]

_SURROGATE: Final = "\ud800"


class _Colour(enum.StrEnum):
    RED = "red"


class _Disguised:
    """Says that it is a string."""

    __class__ = str  # type: ignore[assignment]


def _message(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"to": "nobody", "action": {"name": "say", "args": {}}}
    return whole | changes


def _action(**changes: Any) -> dict[str, Any]:
    return _message(action={"name": "say", "args": {}} | changes)


def _without(field: str) -> dict[str, Any]:
    message = _message()
    del message[field]
    return message


def _value(value: Any) -> dict[str, Any]:
    return _action(args={"x": value})


def _key(key: Any) -> dict[str, Any]:
    return _action(args={"x": {key: 1}})


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _cyclic_list() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def _cyclic_dict() -> dict[str, Any]:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    return cycle


def _shared_lists() -> list[Any]:
    """A kilobyte in memory, 2**60 values as JSON."""
    value: list[Any] = []
    for _ in range(MAX_DEPTH - 4):
        value = [value, value]
    return value


BAD_MESSAGES: Final[dict[str, tuple[Callable[[], Any], str]]] = {
    # Not a message at all
    "a list": (lambda: [("to", "nobody")], "TypeError"),
    "a string": (lambda: '{"to": "nobody"}', "TypeError"),
    "None": (lambda: None, "TypeError"),
    "bytes": (lambda: b"{}", "TypeError"),
    # The fields
    "empty": (dict, "to"),
    "no to": (lambda: _without("to"), "to"),
    "to is None": (lambda: _message(to=None), "to"),
    "to is a number": (lambda: _message(to=5), "to"),
    "to is a list": (lambda: _message(to=["nobody"]), "to"),
    "to is empty": (lambda: _message(to=""), "to"),
    "to is reserved": (lambda: _message(to="amq.direct"), "to"),
    "to is too long": (lambda: _message(to="x" * 256), "to"),
    "to is too long in UTF-8": (lambda: _message(to="é" * 128), "to"),
    "to has a control character": (lambda: _message(to="no\x00body"), "to"),
    "to is not Unicode": (lambda: _message(to=_SURROGATE), "to"),
    "no action": (lambda: _without("action"), "action"),
    "action is None": (lambda: _message(action=None), "action"),
    "action is a string": (lambda: _message(action="say"), "action"),
    "action is a list": (lambda: _message(action=["say"]), "action"),
    "no name": (lambda: _message(action={"args": {}}), "action.name"),
    "name is None": (lambda: _action(name=None), "action.name"),
    "name is a number": (lambda: _action(name=5), "action.name"),
    "name is empty": (lambda: _action(name=""), "action.name"),
    "name is too long": (lambda: _action(name="x" * 256), "action.name"),
    "name is not Unicode": (lambda: _action(name=_SURROGATE), "action.name"),
    "args is None": (lambda: _action(args=None), "action.args"),
    "args is a list": (lambda: _action(args=[1]), "action.args"),
    "args has a number as key": (lambda: _action(args={1: 1}), "action.args"),
    "id is a number": (lambda: _message(id=5), "id"),
    "id is None": (lambda: _message(id=None), "id"),
    "id is bytes": (lambda: _message(id=b"x"), "id"),
    "id is not Unicode": (lambda: _message(id=_SURROGATE), "id"),
    "meta is None": (lambda: _message(meta=None), "meta"),
    "meta is a string": (lambda: _message(meta="x"), "meta"),
    "meta holds NaN": (lambda: _message(meta={"x": float("nan")}), "meta.x"),
    "meta holds bytes": (lambda: _message(meta={"x": {"y": b"z"}}), "meta.x.y"),
    "from is somebody else": (lambda: _message(**{"from": "somebody else"}), "from"),
    "from is everybody": (lambda: _message(**{"from": "*"}), "from"),
    "from is None": (lambda: _message(**{"from": None}), "from"),
    "from is empty": (lambda: _message(**{"from": ""}), "from"),
    "unknown field": (lambda: _message(priority=1), "priority"),
    "unknown field of the action": (lambda: _action(timeout=1), "action.timeout"),
    # What JSON does not have
    "NaN": (lambda: _value(float("nan")), "action.args.x"),
    "infinity": (lambda: _value(float("inf")), "action.args.x"),
    "minus infinity": (lambda: _value(float("-inf")), "action.args.x"),
    "1e400": (lambda: _value(float("1e400")), "action.args.x"),
    "NaN in a list": (lambda: _value([0, float("nan")]), "action.args.x.1"),
    "a tuple": (lambda: _value((1, 2)), "action.args.x"),
    "a set": (lambda: _value({1}), "action.args.x"),
    "bytes as value": (lambda: _value(b"x"), "action.args.x"),
    "a bytearray": (lambda: _value(bytearray(b"x")), "action.args.x"),
    "a decimal": (lambda: _value(decimal.Decimal(1)), "action.args.x"),
    "a date": (lambda: _value(dt.date(2026, 1, 1)), "action.args.x"),
    "a complex number": (lambda: _value(1j), "action.args.x"),
    "an object": (lambda: _value(object()), "action.args.x"),
    "a class": (lambda: _value(int), "action.args.x"),
    "a function": (lambda: _value(print), "action.args.x"),
    "an enum": (lambda: _value(_Colour.RED), "action.args.x"),
    "a disguised object": (lambda: _value(_Disguised()), "action.args.x"),
    "an ordered dict": (lambda: _value(OrderedDict(a=1)), "action.args.x"),
    "a number as key": (lambda: _key(1), "action.args.x"),
    "None as key": (lambda: _key(None), "action.args.x"),
    "a boolean as key": (lambda: _key(True), "action.args.x"),
    "a tuple as key": (lambda: _key((1,)), "action.args.x"),
    "a key that is not Unicode": (lambda: _key(_SURROGATE), "action.args.x"),
    "a text that is not Unicode": (lambda: _value(_SURROGATE), "action.args.x"),
    # Beyond the bounds
    "2**63": (lambda: _value(2**63), "action.args.x"),
    "-2**63-1": (lambda: _value(-(2**63) - 1), "action.args.x"),
    "5000 digits": (lambda: _value(10**5000), "action.args.x"),
    "nested too deep": (lambda: _value(_nested(MAX_DEPTH)), "action.args.x"),
    "nested 100000 deep": (lambda: _value(_nested(100_000)), "action.args.x"),
    "a list in itself": (lambda: _value(_cyclic_list()), "action.args.x"),
    "an object in itself": (lambda: _value(_cyclic_dict()), "action.args.x"),
    "too large": (lambda: _value("x" * MAX_MESSAGE_BYTES), "message"),
    "too large in UTF-8": (lambda: _value("é" * (MAX_MESSAGE_BYTES // 2)), "message"),
    "lists that share lists": (lambda: _value(_shared_lists()), "message"),
    "a long text many times": (lambda: _value(["x" * 65_536] * 2**20), "message"),
    "too large when escaped": (lambda: _value("\x00" * (MAX_MESSAGE_BYTES // 6)), "message"),
}
"""By name: how to make the message, and the field that the `ValueError` names, or "TypeError"."""


def bad_message(name: str) -> Any:
    """One of them, made anew."""
    make, _ = BAD_MESSAGES[name]
    return make()


def expected_verdicts() -> dict[str, str]:
    """What becomes of each: the kind of error, and the field that its text begins with."""
    return {
        name: field if field == "TypeError" else f"ValueError: {field}"
        for name, (_, field) in BAD_MESSAGES.items()
    }


def verdicts(agent: Agent) -> dict[str, str]:
    """What becomes of each when this agent tries to send it."""
    return {name: _verdict(agent, bad_message(name)) for name in BAD_MESSAGES}


def _verdict(agent: Agent, message: Any) -> str:
    try:
        agent.send(message)
    except TypeError:
        return "TypeError"
    except ValueError as error:
        text = str(error)
        path = text.partition(":")[0]
        return f"ValueError: {path}"
    return "sent"

"""The message: what agents see, and the rules that every space enforces on it.

A message is a plain dict of JSON values::

    {"id": "optional", "meta": {"any": "thing"}, "from": "sender", "to": "receiver or *",
     "action": {"name": "say", "args": {"content": "Hello"}}}

`freeze` turns what a caller passed into a copy that nobody else holds, or says what is wrong with
it; `encode` and `decode` are its form on a wire. All spaces use these and nothing else, so their
verdict is the same. Read `agency.envelope` next: what the framework needs besides travels around
the message, never in it.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any, Final, NoReturn, NotRequired, Required, TypeVar

import pydantic_core
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from agency.errors import InvalidAgentId, InvalidMessage, MessageTooLarge

__all__ = [
    "BROADCAST",
    "MAX_DEPTH",
    "MAX_MESSAGE_BYTES",
    "MAX_VALUE_BYTES",
    "Action",
    "Message",
    "Signed",
    "assembled",
    "check_agent_id",
    "decode",
    "digest",
    "duplicate",
    "encode",
    "freeze",
    "freeze_value",
    "signed",
    "weighed_value",
]

BROADCAST: Final = "*"
"""The receiver id that means every agent in the space."""

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
"""The largest message, as JSON. RabbitMQ 4 takes 16 MiB by default; half of it leaves room for an
operator's own.
"""

MAX_DEPTH: Final = 64
"""How many lists and objects may stand inside each other in `args` and `meta`."""

MAX_VALUE_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
"""The largest value that an action can return, as JSON: it leaves room for the answer's other fields."""

_MAX_ID_BYTES: Final = 255  # of an AMQP routing key, AMQP 0-9-1 section 4.2.5.3
_MAX_NAME: Final = 255
_DEPTH_OF_ARGS: Final = 2
_DEPTH_OF_META: Final = 1
_INT_BOUND: Final = 2**63  # 64-bit signed, what JSON readers in other languages can hold
_LARGEST_SURELY_FITTING_WEIGHT: Final = MAX_MESSAGE_BYTES // 8
_LIFT: Final = -(2**62)  # what `_copy` begins with where any weight will do
_SHORT: Final = MAX_VALUE_BYTES // 8  # the same for values
_VALUE_WEIGHT: Final = 4  # times 8 is more than the brackets, commas and digits of any one value
_SMALL: Final = 64 * 1024  # bytes up to which a second copy of the JSON costs next to nothing
_SURELY_TOO_LARGE_WEIGHT: Final = 2 * MAX_MESSAGE_BYTES  # each value has two bytes at least

_Container = TypeVar("_Container", bound="Message | dict[str, Any] | list[Any]")

_STRICT: Final = ConfigDict(extra="forbid", strict=True)


class Action(TypedDict, total=False):
    """The invocation that a message carries; `args` may be left out and then means no arguments."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # pydantic's documented way to configure a TypedDict

    name: Required[Annotated[str, Field(min_length=1, max_length=_MAX_NAME)]]
    args: dict[str, Any]


Message = TypedDict(
    "Message",
    {
        "id": NotRequired[str],
        "meta": NotRequired[dict[str, Any]],
        "from": NotRequired[str],
        "to": Required[str],
        "action": Required[Action],
    },
)
Message.__doc__ = "A message as agents see it. On receipt `from` is always there; when sending it may be left out."
Message.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]

_MESSAGE = TypeAdapter(Message)


def check_agent_id(agent_id: str) -> str:
    """Return the id if an agent may have it.

    An id is compared character by character on every space and is never a pattern: `#` and `a.*`
    are plain names.

    Raises:
        InvalidAgentId: not a string of 1 to 255 characters (and at most 255 bytes of UTF-8, which
            is what AMQP can route), `*`, begins with `amq.`, or has characters that cannot be
            printed.
    """
    if not isinstance(agent_id, str):
        raise InvalidAgentId(f"an agent id is a string, not {type(agent_id).__name__}")
    return _check_agent_id(agent_id)


@lru_cache(maxsize=4096)
def _check_agent_id(agent_id: str) -> str:
    shown = ascii(agent_id if len(agent_id) <= 40 else agent_id[:40] + "…")
    try:
        size = len(agent_id.encode())
    except UnicodeEncodeError:
        raise InvalidAgentId(f"agent id {shown} is not valid Unicode") from None
    if not 1 <= size <= _MAX_ID_BYTES:
        raise InvalidAgentId(f"agent id {shown} has {size} bytes; 1 to {_MAX_ID_BYTES} are allowed")
    if agent_id == BROADCAST:
        raise InvalidAgentId('"*" means every agent and cannot be the id of one')
    if agent_id.startswith("amq."):
        raise InvalidAgentId(f'agent id {shown} begins with "amq.", which AMQP servers reserve')
    if not agent_id.isprintable():
        raise InvalidAgentId(f"agent id {shown} has control or invisible characters")
    return agent_id


def freeze(message: object) -> Message:
    """Return the message as a deep copy that shares nothing with the argument, which is left as it
    is.

    Raises:
        TypeError: not a dict.
        InvalidMessage: anything else that is wrong; the text begins with the path of the field.
        MessageTooLarge: more than `MAX_MESSAGE_BYTES` as JSON.
    """
    to, name, args, whole, _ = signed(message, None)
    return assembled(to, None, name, args) if whole is None else whole


Signed = tuple[str, str, dict[str, Any] | None, Message | None, int]
"""A message that was checked and copied: to whom, which action, its `args` if it has any; the whole, if
there is more to it; and about how many bytes it has as JSON, not fewer than its texts.

The two dicts around `args` are made when somebody wants to see them: most messages are never looked at
as a whole, and Python's garbage collector would look at both while they wait.
"""


def signed(message: Any, sender: str | None) -> Signed:
    """What `freeze` returns, in its parts, with `from` filled in if there is a sender.

    Raises:
        InvalidMessage: it says that it is from somebody else; or what `freeze` raises.
    """
    try:  # in 0.5 µs for what is in order at first sight, as most messages are
        if type(message) is not dict:
            _unusual()
        to, action = message["to"], message["action"]
        if type(to) is not str or type(action) is not dict:
            _unusual()
        if to != BROADCAST:
            _check_agent_id(to)
        name = action["name"]
        if type(name) is not str or not (0 < len(name) <= _MAX_NAME and name.isascii()):
            _unusual()
        args, whole, weight = None, None, 0
        if len(action) > 1:
            args = action["args"]
            if type(args) is not dict or len(action) > 2:
                _unusual()
            args, weight = _copy(args, _DEPTH_OF_ARGS, weight)
        if len(message) > 2:
            whole = assembled(to, sender, name, args)
            weight = _copy_rest(message, whole, weight)
        if weight > _LARGEST_SURELY_FITTING_WEIGHT:
            _unusual()
    except (KeyError, InvalidAgentId, _Unusual):
        pass
    else:
        return to, name, args, whole, weight
    return _thorough(message, sender)  # in 2 µs: it has the last word


def assembled(to: str, sender: str | None, name: str, args: dict[str, Any] | None) -> Message:
    """The message of these parts, which are not copied."""
    action: Action = {"name": name} if args is None else {"name": name, "args": args}
    return (
        {"to": to, "action": action}
        if sender is None
        else {"from": sender, "to": to, "action": action}
    )


def freeze_value(value: Any, what: str) -> Any:
    """Return any JSON value as a deep copy; what Python has besides JSON is converted if pydantic
    knows how.

    Dataclasses, pydantic models, tuples, sets, enums, dates, paths and the like become what
    `pydantic_core.to_jsonable_python` makes of them. Used for the values that actions return.

    Raises:
        InvalidMessage: cannot be JSON; the text begins with `what`.
        MessageTooLarge: more than `MAX_VALUE_BYTES` as JSON.
    """
    return weighed_value(value, what)[0]


def weighed_value(value: Any, what: str) -> tuple[Any, int]:
    """What `freeze_value` returns, and about how many bytes it has as JSON."""
    if value is None:
        return None, 0  # as most are
    if type(value) is str and len(value) <= _SHORT and value.isascii():
        return value, len(value)
    try:
        try:
            return _own_value(value, what)
        except MessageTooLarge:
            raise
        except InvalidMessage:
            return _own_value(pydantic_core.to_jsonable_python(value), what)
    except MessageTooLarge:
        raise MessageTooLarge(f"{what}: more than {MAX_VALUE_BYTES} bytes as JSON") from None
    except InvalidMessage:
        raise
    except Exception as error:  # noqa: BLE001  # the value's own code may run: properties, generators
        raise InvalidMessage(f"{what}: cannot be sent as JSON: {error}") from None


def duplicate(message: _Container) -> _Container:
    """A deep copy of a message, or a part of one, that is known to be valid."""
    own: Any = message.copy()
    for key, item in own.items() if type(own) is dict else enumerate(own):
        kind = type(item)
        if kind is dict or kind is list:
            own[key] = duplicate(item)
    return own  # type: ignore[no-any-return]


def digest(message: Message | dict[str, Any]) -> str:
    """A text that stands for this message, every part of it: two that differ never have the same.

    It is `sha256:` and 64 hexadecimal digits, of the JSON with sorted keys, in ASCII, without spaces.
    """
    text = json.dumps(message, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def encode(message: Message) -> bytes:
    """The message as JSON in UTF-8.

    Raises:
        MessageTooLarge: more than `MAX_MESSAGE_BYTES`.
    """
    body = pydantic_core.to_json(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"message: {len(body)} bytes as JSON; at most {MAX_MESSAGE_BYTES} are allowed"
        )
    return body


def decode(body: bytes) -> Message:
    """Read a message that came over a wire from anybody, by the rules that `freeze` has for
    senders.

    Stricter than `json.loads`: NaN, Infinity and repeated keys are refused.

    Raises:
        InvalidMessage: the bytes are not one valid message with a sender.
        MessageTooLarge: more than `MAX_MESSAGE_BYTES`; not parsed at all.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"message: {len(body)} bytes; at most {MAX_MESSAGE_BYTES} are allowed"
        )
    value = _as_encoded(body) if len(body) <= _SMALL else None
    if value is None:
        try:
            value = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidMessage(f"message: not valid JSON: {error}") from None
    try:
        message = freeze(value)
    except TypeError as error:
        raise InvalidMessage(str(error)) from None
    if "from" not in message:
        raise InvalidMessage("from: missing; a message on the wire names its sender")
    return message


def _copy_rest(message: dict[str, Any], own: Message, weight: int) -> int:
    """What `signed` does about the fields that a message may have or not."""
    known = 2
    if type(text := message.get("id")) is str and text.isascii():
        known += 1
        own["id"] = text
        weight += len(text)
    if type(sender := message.get("from")) is str and own.setdefault("from", sender) == sender:
        known += 1
        _check_agent_id(sender)
    if type(meta := message.get("meta")) is dict:
        known += 1
        own["meta"], weight = _copy(meta, _DEPTH_OF_META, weight)
    if len(message) > known:
        _unusual()
    return weight


def _thorough(message: object, sender: str | None) -> Signed:
    """What `signed` returns; or what is wrong with the message and where."""
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, not {type(message).__name__}")
    try:
        own = _MESSAGE.validate_python(message)
    except ValidationError as error:
        _refuse(error)
    except (RecursionError, UnicodeEncodeError) as error:
        raise InvalidMessage(f"message: {error}") from None
    _check_address("to", own["to"])
    if "from" in own:
        _check_address("from", own["from"])
        if own["from"] == BROADCAST:
            raise InvalidMessage('from: "*" is not a sender')
    action = own["action"]
    weight = _own({"action.name": action["name"]})[1]
    if "id" in own:
        weight += _own({"id": own["id"]})[1]
    if "args" in action:
        action["args"], more = _own(action["args"], "action", "args")
        weight += more
    if "meta" in own:
        own["meta"], more = _own(own["meta"], "meta")
        weight += more
    if sender is not None and own.setdefault("from", sender) != sender:
        raise InvalidMessage(
            f'from: "{own["from"]}" is not the sender; leave it out, or write "{sender}"'
        )
    if weight > _LARGEST_SURELY_FITTING_WEIGHT:
        encode(own)
    return own["to"], action["name"], action.get("args"), own, weight


class _Unusual(Exception):
    """Something has to be looked at thoroughly."""


class _Heavy(_Unusual):
    """A value is large enough to be weighed before it is copied."""


class _Refused(_Unusual):
    """Something inside a value that is no JSON value. Its path is put together on the way out."""

    def __init__(self, reason: str, *path: str) -> None:
        self.reason = reason
        self.path = [*path]  # innermost first


def _own(value: Any, *path: str) -> tuple[Any, int]:
    """A copy of a container with only JSON values in it, and an eighth of an upper bound of its
    size as JSON.

    Raises:
        InvalidMessage: it holds something else; the text begins with the path to that.
    """
    try:
        own, weight = _bounded_copy(value, len(path))
    except _Refused as refused:
        whole = (*path, *reversed(refused.path))
        shown = whole[: 3 if len(whole) > MAX_DEPTH else None]
        raise InvalidMessage(f"{'.'.join(shown)}: {refused.reason}") from None
    if weight > _SURELY_TOO_LARGE_WEIGHT:
        raise MessageTooLarge(f"message: more than {MAX_MESSAGE_BYTES} bytes as JSON")
    return own, weight


def _bounded_copy(value: Any, depth: int) -> tuple[Any, int]:
    """A copy and its weight; the weight alone if it is too large in any case."""
    try:
        return _copy(value, depth, 0)
    except _Heavy:
        weight = _weigh(value, depth, {})
    if weight > _SURELY_TOO_LARGE_WEIGHT:
        return None, weight
    own, weight = _copy(value, depth, _LIFT)
    return own, weight - _LIFT


def _copy(value: Any, depth: int, weight: int) -> tuple[Any, int]:
    """`_own` for what stands in something that weighs so much up to here; the weight returned is
    that of both.
    """
    if depth > MAX_DEPTH or weight > _LARGEST_SURELY_FITTING_WEIGHT:
        _stop(depth)
    own = value.copy()
    is_object = type(own) is dict
    weight += _VALUE_WEIGHT * len(own)
    for key, item in own.items() if is_object else enumerate(own):
        if is_object:
            if type(key) is not str:
                raise _Refused(f"object keys are strings, not {type(key).__name__}")
            weight += len(key) if key.isascii() else _bytes_of(key)
        kind = type(item)
        if kind is str:
            weight += len(item) if item.isascii() else _bytes_of(item, str(key))
        elif kind is int:
            if not -_INT_BOUND <= item < _INT_BOUND:
                raise _Refused("integer outside 64 bits; send it as a string", str(key))
        elif kind is float:
            if item - item != 0.0:
                raise _Refused(f"{item} is not a JSON value", str(key))
        elif kind is dict or kind is list:
            try:
                own[key], weight = _copy(item, depth + 1, weight)
            except _Refused as refused:
                refused.path.append(str(key))
                raise
        elif item is not None and kind is not bool:
            raise _Refused(f"{kind.__name__} is not a JSON value", str(key))
    return own, weight


def _unusual() -> NoReturn:
    raise _Unusual


def _stop(depth: int) -> NoReturn:
    if depth > MAX_DEPTH:
        raise _Refused(f"nested more than {MAX_DEPTH} deep, or contains itself")
    raise _Heavy


def _weigh(value: Any, depth: int, known: dict[int, int]) -> int:
    """The weight of what may hold one list a thousand times, and would take for ever to copy: looks
    at each list and object once.
    """
    if depth > MAX_DEPTH:
        return 0
    if id(value) not in known:
        items = value.values() if type(value) is dict else value
        known[id(value)] = _VALUE_WEIGHT * len(value) + sum(
            len(item) if type(item) is str else _weigh(item, depth + 1, known)
            for item in items
            if type(item) in {str, list, dict}
        )
    return known[id(value)]


def _own_value(value: Any, what: str) -> tuple[Any, int]:
    own, weight = _own({what: value})
    if weight > _SHORT and len(pydantic_core.to_json(own)) > MAX_VALUE_BYTES:
        raise MessageTooLarge(what)
    return own[what], weight


def _check_address(field: str, value: str) -> None:
    if value == BROADCAST:
        return
    try:
        check_agent_id(value)
    except InvalidAgentId as error:
        raise InvalidMessage(f"{field}: {error}") from None


def _bytes_of(text: str, *path: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise _Refused(f"not valid Unicode: {error.reason}", *path) from None


def _refuse(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = first["loc"][:-2] if first["loc"][-1:] == ("[key]",) else first["loc"]
    path = ".".join(str(step) for step in steps) or "message"
    raise InvalidMessage(f"{path}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _as_encoded(body: bytes) -> Any:
    """The value, if these bytes are what `encode` makes of it, as those of our own kind are: then no
    key came twice. Otherwise None, and the thorough reading has the word: 0.9 µs, not 3.6.

    Of the strings only keys are cached: ids come once, and what people write is not to be kept.
    """
    try:
        value = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="keys")
        return value if pydantic_core.to_json(value) == body else None
    except ValueError:
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")

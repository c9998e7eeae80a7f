"""What a message is: `freeze` for senders, `encode` and `decode` for wires, with the same verdict."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agency.errors import InvalidAgentId, InvalidMessage, MessageTooLarge
from agency.schema import (
    MAX_DEPTH,
    MAX_MESSAGE_BYTES,
    check_agent_id,
    decode,
    digest,
    duplicate,
    encode,
    freeze,
    freeze_value,
)
from agency.testing.bad_messages import BAD_MESSAGES, bad_message, expected_verdicts

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=30
)
json_objects = st.dictionaries(texts, json_values)
agent_ids = st.sampled_from(["a", "Chatty", "#", "a.*", "名前"])
messages = st.fixed_dictionaries(
    {
        "from": agent_ids,
        "to": agent_ids | st.just("*"),
        "action": st.fixed_dictionaries(
            {"name": st.text(min_size=1, max_size=20, alphabet="abc. é")},
            optional={"args": json_objects},
        ),
    },
    optional={"id": texts, "meta": json_objects},
)

# What JSON's syntax, or Python's reading of it, can express, and a message cannot hold.
beyond_json = st.recursive(
    scalars
    | st.floats()
    | st.integers(-(2**70), 2**70)
    | st.text(st.characters(categories=["Cs", "Ll"]), max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)
almost_messages = st.fixed_dictionaries(
    {"from": agent_ids | beyond_json, "to": agent_ids | beyond_json},
    optional={
        "action": st.fixed_dictionaries(
            {}, optional={"name": texts | beyond_json, "args": beyond_json, "other": beyond_json}
        )
        | beyond_json,
        "id": beyond_json,
        "meta": beyond_json,
        "other": beyond_json,
    },
)


def message(**args: Any) -> dict[str, Any]:
    return {"from": "a", "to": "b", "action": {"name": "say", "args": args}}


def as_text(value: object) -> str:
    """Tells 1, 1.0 and True apart, 0.0 and -0.0 too; the order of an object's keys means nothing."""
    return json.dumps(value, sort_keys=True)


@given(messages)
def test_freezing_keeps_every_json_value_exactly(original: dict[str, Any]) -> None:
    before = copy.deepcopy(original)
    frozen = freeze(original)
    assert as_text(frozen) == as_text(original) == as_text(before)


@given(messages)
def test_decoding_is_the_inverse_of_encoding(original: dict[str, Any]) -> None:
    assert as_text(decode(encode(freeze(original)))) == as_text(original)


@given(messages)
def test_it_does_not_matter_how_a_sender_writes_its_json(original: dict[str, Any]) -> None:
    signed = original | {"from": "someone"}
    as_ours = encode(freeze(signed))
    spacious = json.dumps(signed, indent=1).encode()
    assert as_text(decode(as_ours)) == as_text(decode(spacious)) == as_text(signed)


@given(messages, st.sampled_from(["to", "action", "from"]))
def test_a_key_that_comes_twice_is_refused_however_the_json_is_written(
    original: dict[str, Any], key: str
) -> None:
    signed = freeze(original | {"from": "someone"})
    again = json.dumps({key: signed[key]}, separators=(",", ":"))[1:]  # type: ignore[literal-required]
    with pytest.raises(InvalidMessage, match="twice"):
        decode(encode(signed)[:-1] + b"," + again.encode())


@given(messages)
def test_a_duplicate_is_equal_and_shares_no_container(original: dict[str, Any]) -> None:
    frozen = freeze(original)
    twin = duplicate(frozen)
    assert as_text(twin) == as_text(frozen)
    assert not containers_of(frozen) & containers_of(twin)


@given(messages)
def test_what_is_frozen_shares_no_container_with_the_original(original: dict[str, Any]) -> None:
    assert not containers_of(freeze(original)) & containers_of(original)


@given(almost_messages | messages)
def test_senders_and_wires_agree_on_what_a_message_is(candidate: dict[str, Any]) -> None:
    assert accepted(freeze, candidate) == accepted(decode, json.dumps(candidate).encode())


@given(almost_messages | messages)
def test_the_short_way_and_the_thorough_one_agree_on_what_a_message_is(
    candidate: dict[str, Any],
) -> None:
    unusual = OrderedDict(candidate)  # equal, and never plain at first sight
    assert accepted(freeze, candidate) == accepted(freeze, unusual)
    if accepted(freeze, candidate):
        assert as_text(freeze(candidate)) == as_text(freeze(unusual))


@given(json_values)
def test_every_json_value_may_be_returned(value: Any) -> None:
    assert as_text(freeze_value(value, "value")) == as_text(value)


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_what_is_wrong_is_named(name: str) -> None:
    bad = bad_message(name)
    field = expected_verdicts()[name].removeprefix("ValueError: ")
    if field == "TypeError":
        with pytest.raises(TypeError, match=type(bad).__name__):
            freeze(bad)
    elif name != "from is somebody else":  # only the sender knows who it is
        with pytest.raises(InvalidMessage) as raised:
            freeze(bad)
        assert str(raised.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"to": "a"', "not valid JSON"),
        (b"[]", "a message is a dict"),
        (b"null", "a message is a dict"),
        (b'{"to":"a","action":{"name":"x"}}', "from: missing"),
        (b'{"from":"c","to":"a","to":"b","action":{"name":"x"}}', "same key twice"),
        (b'{"from":"c","to":"a","action":{"name":"x","args":{"y":{"z":1,"z":2}}}}', "same key"),
        (b'{"from":"c","to":"a","action":{"name":"x","args":{"y":NaN}}}', "NaN"),
        (b'{"from":"c","to":"a","action":{"name":"x","args":{"y":-Infinity}}}', "-Infinity"),
        (b'{"from":"c","to":"a","action":{"name":"x","args":{"y":1e400}}}', "action.args.y"),
        (b'{"from":"c","to":"a","action":{"name":"x","args":{"y":"\\ud800"}}}', "action.args.y"),
        (
            b'{"from":"c","to":"a","action":{"name":"x","args":{"y":9223372036854775808}}}',
            "64 bits",
        ),
        (
            b'{"from":"c","to":"a","action":{"name":"x","args":{"y":' + b"9" * 5000 + b"}}}",
            "digits",
        ),
        (b'{"from":"c","to":"a","action":{"name":"x","args":{"y":' + b"[" * 99_999, "JSON"),
    ],
)
def test_what_a_wire_brings_is_refused_if_it_is_no_message(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        decode(body)


def test_what_people_write_is_not_kept_by_the_reader() -> None:
    body = encode(freeze(message(x="a secret")))
    first, second = (decode(body)["action"]["args"]["x"] for _ in range(2))
    assert first == second
    assert first is not second  # as it were if it came from a cache


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(MessageTooLarge):
        decode(b"[" * (MAX_MESSAGE_BYTES + 1))


def test_the_largest_message_is_exactly_as_large_as_promised() -> None:
    empty = len(encode(freeze(message(x=""))))
    largest = freeze(message(x="a" * (MAX_MESSAGE_BYTES - empty)))
    body = encode(largest)
    assert len(body) == MAX_MESSAGE_BYTES
    assert decode(body) == largest
    with pytest.raises(MessageTooLarge):
        freeze(message(x="a" * (MAX_MESSAGE_BYTES - empty + 1)))


@pytest.mark.parametrize("text", ["\x00", "é", "🦜", '"'])
def test_size_is_measured_as_json_not_as_characters(text: str) -> None:
    each = len(encode(freeze(message(x=text)))) - len(encode(freeze(message(x=""))))
    with pytest.raises(MessageTooLarge):
        freeze(message(x=text * (MAX_MESSAGE_BYTES // each)))


def test_many_small_values_count_too() -> None:
    with pytest.raises(MessageTooLarge):
        freeze(message(x=[-(2**63)] * (MAX_MESSAGE_BYTES // 20)))


def test_the_deepest_message_is_exactly_as_deep_as_promised() -> None:
    def nested(depth: int) -> Any:
        value: Any = 0
        for _ in range(depth):
            value = [value]
        return value

    def deepest() -> int:
        depth = 0
        while accepted(freeze, message(x=nested(depth + 1))):
            depth += 1
        return depth

    assert deepest() <= MAX_DEPTH
    assert deepest() >= MAX_DEPTH - 2  # `args` and the action are objects too
    assert decode(encode(freeze(message(x=nested(deepest()))))) == message(x=nested(deepest()))


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Pair:
    a: int
    b: int


class Model(BaseModel):
    x: int


def test_what_actions_return_is_converted_if_json_has_an_equivalent() -> None:
    rich = {
        "tuple": (1, 2),
        "set": {1},
        "enum": Colour.RED,
        "dataclass": Pair(1, 2),
        "model": Model(x=1),
        "date": dt.date(2026, 1, 2),
        "path": Path("a"),
        1: "number as key",
    }
    assert freeze_value(rich, "value") == {
        "tuple": [1, 2],
        "set": [1],
        "enum": "red",
        "dataclass": {"a": 1, "b": 2},
        "model": {"x": 1},
        "date": "2026-01-02",
        "path": "a",
        "1": "number as key",
    }


def test_what_actions_return_is_refused_if_json_has_none() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (object(), float("nan"), "\ud800", 2**63, cycle, {"x": [object()]}):
        with pytest.raises(InvalidMessage, match=r"^value"):
            freeze_value(value, "value")


@pytest.mark.parametrize(
    ("agent_id", "rule"),
    [
        ("", "0 bytes"),
        ("*", "every agent"),
        ("amq.x", "reserve"),
        ("x" * 256, "256 bytes"),
        ("é" * 128, "256 bytes"),
        ("a\x00", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "Unicode"),
        (5, "string"),
        (None, "string"),
    ],
)
def test_an_id_that_cannot_be_is_refused_with_the_rule(agent_id: Any, rule: str) -> None:
    with pytest.raises(InvalidAgentId, match=rule):
        check_agent_id(agent_id)


@pytest.mark.parametrize(
    "agent_id", ["x", "x" * 255, "#", "a.*", "amq", "AMQ.x", "a b", "名前", "/"]
)
def test_an_id_that_can_be_is_returned_as_it_is(agent_id: str) -> None:
    assert check_agent_id(agent_id) == agent_id


def accepted(reader: Any, candidate: object) -> bool:
    try:
        reader(candidate)
    except InvalidMessage:
        return False
    return True


def containers_of(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*(containers_of(item) for item in value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*(containers_of(item) for item in value))
    return set()


def test_a_digest_stands_for_all_of_a_message_and_for_nothing_of_its_form() -> None:
    message = {
        "id": "1",
        "from": "me",
        "to": "you",
        "action": {"name": "say", "args": {"a": 1, "b": [True, None, "ä\n"]}},
    }
    reordered = dict(reversed(message.items()))
    assert digest(message) == digest(reordered) == digest(json.loads(json.dumps(message)))
    others = [
        {**message, "id": "2"},
        {**message, "from": "you"},
        {**message, "to": "me"},
        {**message, "meta": {}},
        {**message, "action": {"name": "say", "args": {"a": 1, "b": [True, None, "ä"]}}},
        {**message, "action": {"name": "say", "args": {"a": 1.0, "b": [True, None, "ä\n"]}}},
        {**message, "action": {"name": "say", "args": {"a": 1, "b": [1, None, "ä\n"]}}},
    ]
    assert len({digest(one) for one in [message, *others]}) == len(others) + 1

"""The slash syntax: what a person types means one message, and every message can be typed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import InvalidCommand
from agency.slash import format_command, parse_command

texts = st.text(st.characters(codec="utf-8"))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
messages = st.builds(
    lambda to, name, args: {"to": to, "action": {"name": name, "args": args}},
    names | st.sampled_from(["*", "a.b", "/", "amq", "#", "a b", '"', "Ünï-code", "a:b"]),
    names,
    st.dictionaries(names, values, max_size=4),
)


def invocation(to: str, name: str, **args: Any) -> dict[str, Any]:
    return {"to": to, "action": {"name": name, "args": args}}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("Hello, world!", invocation("*", "say", content="Hello, world!")),
        ("  two\nlines ", invocation("*", "say", content="  two\nlines ")),
        ("either/or", invocation("*", "say", content="either/or")),
        ("/*.help", invocation("*", "help")),
        ('/Host.help action_name:"say"', invocation("Host", "help", action_name="say")),
        (
            '/agent_id.action_name arg1:"value 1" arg2:"value 2"',
            invocation("agent_id", "action_name", arg1="value 1", arg2="value 2"),
        ),
        ("  /a.b\n x: 1 \t y:-2.5e1 ", invocation("a", "b", x=1, y=-25.0)),
        (
            '/a.b x:true y:null z:[1, "two", {"three": []}]',
            invocation("a", "b", x=True, y=None, z=[1, "two", {"three": []}]),
        ),
        ('/"dr. no".say content:"…"', invocation("dr. no", "say", content="…")),
        ('/a."do it" "to whom":1', invocation("a", "do it", **{"to whom": 1})),
        ('/a.b text:"first\nsecond"', invocation("a", "b", text="first\nsecond")),
        ('/a.b text:"say \\"hi\\" \\u00e9"', invocation("a", "b", text='say "hi" é')),
    ],
)
def test_what_is_typed_means_one_message(typed: str, message: dict[str, Any]) -> None:
    assert parse_command(typed) == message


@given(messages)
def test_every_message_can_be_typed(message: dict[str, Any]) -> None:
    if message["to"] == "*":
        assert format_command(message).startswith("/*.")
    assert parse_command(format_command(message)) == message


@given(messages)
def test_a_command_shows_every_character_on_one_line(message: dict[str, Any]) -> None:
    assert format_command(message).isprintable()


@given(messages)
def test_a_command_that_is_shown_and_typed_again_looks_the_same(message: dict[str, Any]) -> None:
    shown = format_command(message)
    assert format_command(parse_command(shown)) == shown


@given(st.text(alphabet='/*.: "\\[]{},ab1-“\n') | texts)
def test_anything_typed_is_a_message_or_a_mistake_with_its_place(typed: str) -> None:
    try:
        message = parse_command("/" + typed)
    except InvalidCommand as mistake:
        found = mistake
    else:
        assert parse_command(format_command(message)) == message
        return
    assert 0 < found.position <= len(typed) + 1
    assert found.expected


def test_only_what_is_invoked_becomes_a_command() -> None:
    message = {
        "id": "7",
        "meta": {"thoughts": "hm"},
        "from": "User",
        "to": "Host",
        "action": {"name": "help"},
    }
    assert format_command(message) == "/Host.help"


def test_what_is_not_json_cannot_be_typed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        format_command(invocation("a", "b", x=float("inf")))
    with pytest.raises(TypeError, match="JSON"):
        format_command(invocation("a", "b", x=object()))


@pytest.mark.parametrize(
    ("typed", "place", "expected"),
    [
        ("/", "", "the id of an agent"),
        ("/ Host.help", " Host", "the id of an agent"),
        ('/"*".help', '"*"', "without quotes means all"),
        ("/Host", "", "/Host.help"),
        ("/Host.", "", "the name of an action"),
        ("/a.b.help", ".help", "if the agent's id has dots, quote it"),
        ('/Host.read_file"x"', '"x"', "a space or the end"),
        ('/Host.list_files "."', '"."', 'name:"value"' ),
        ("/a.b x", "x", 'name:"value"'),
        ("/a.b x:", "", "a JSON value"),
        ("/a.b x:word", "word", "text stands in double quotes"),
        ("/a.b x:'word'", "'word'", "straight double quotes"),
        ("/a.b x:“word”", "“word”", "straight double quotes"),
        ('/a.b x:"word', '"word', "a closing double quote"),
        ('/a.b x:"C:\\dir"', "\\dir", "valid JSON; invalid \\escape"),
        ('/a.b x:"1"y:2', "y:2", "a space or the end"),
        ("/a.b x:1 x:2", "x:2", "x is given twice"),
        ('/a.b x:{"k":1,"k":2}', '{"k"', "a key twice"),
        ("/a.b x:NaN", "NaN", "NaN is not one"),
        ("/a.b x:1e999", "1e999", "1e999 is not one"),
        (f"/a.b x:{'9' * 5000}", "999", "too many digits"),
        (f"/a.b x:{'[' * 100_000}", "[[[", "nested"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_it_is_and_what_was_expected(
    typed: str, place: str, expected: str
) -> None:
    with pytest.raises(InvalidCommand) as raised:
        parse_command(typed)
    assert typed[raised.value.position :].startswith(place)
    assert place or raised.value.position == len(typed)
    assert expected in raised.value.expected
    assert str(raised.value).startswith(f"character {raised.value.position + 1}: expected ")
    assert isinstance(raised.value, ValueError)


def test_a_value_is_exactly_json() -> None:
    assert parse_command(format_command(invocation("a", "b", x="\u202e\x1b[31m"))) == invocation(
        "a", "b", x="\u202e\x1b[31m"
    )
    shown = format_command(invocation("a", "b", x="\u202e\x1b[31m"))
    assert json.loads(shown.partition("x:")[2]) == "\u202e\x1b[31m"

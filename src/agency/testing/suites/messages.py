"""Messages: what a receiver sees of them, and what cannot be one."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from agency.errors import InvalidMessage, MessageTooLarge
from agency.guest import Guest
from agency.schema import MAX_DEPTH, MAX_MESSAGE_BYTES, encode, freeze
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator, Witness
from agency.testing.agents.talking import Talker, Vandal
from agency.testing.bad_messages import BAD_MESSAGES, bad_message, expected_verdicts, verdicts
from agency.testing.kit import Conformance, ask, proves, request, tell

__all__ = ["EXACT_VALUES", "MessageConformance"]


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


EXACT_VALUES: dict[str, Any] = {
    "integers": [0, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "floats": [0.1, -0.0, 1.0, 1e16, 1e308, 5e-324, 1.7976931348623157e308, 2.0**53],
    "words": [True, False, None],
    "texts": ["", "\x00", '\n\t"\\/', "\x7f\x1b", "é", "e\u0301", "名前", "🦜", "\uffff", "\u2028"],
    "empties": [{}, [], [[]], {"": {}}, {"": None}],
    "keys": {"": 1, "from": 2, "to": 3, "\x00": 4, "名": 5, "*": 6, "__class__": "x", "$ref": "#"},
    "depth": _nested(MAX_DEPTH - 4),
    "width": {str(number): number for number in range(2000)},
}
"""JSON values that are easily changed on a way: rounded, normalised, cut, or taken for something else."""


class MessageConformance(Conformance):
    """What arrives of what was sent."""

    @proves("message-1", "message-3", "message-4", "reach-1")
    def test_the_minimal_message_arrives_with_from_and_nothing_else(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "talker")
        message = {"to": "talker", "action": {"name": "say", "args": {"content": "Hello, world!"}}}
        for _ in range(2):
            guest.send(message)
            assert witness.event() == {
                "from": "me",
                "to": "talker",
                "action": {"name": "say", "args": {"content": "Hello, world!"}},
            }
        assert message == {
            "to": "talker",
            "action": {"name": "say", "args": {"content": "Hello, world!"}},
        }

    @proves("message-1", "message-2", "action-11")
    def test_a_full_message_arrives_unchanged(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "talker")
        message = {
            "id": "a custom message id",
            "meta": {"thoughts": "I should say hello", "timestamp": 12345, "from": "nobody"},
            "from": "me",
            "to": "talker",
            "action": {"name": "say", "args": {"content": {"x": [1, None]}}},
        }
        before = copy.deepcopy(message)
        guest.send(message)
        assert witness.event() == message == before

    @proves("message-1")
    def test_a_broadcast_arrives_as_it_was_sent(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "talker")
        guest.send({"to": "*", "id": "x", "action": {"name": "say", "args": {}}})
        assert witness.event() == {
            "id": "x",
            "from": "me",
            "to": "*",
            "action": {"name": "say", "args": {}},
        }

    @proves("message-5", "message-4")
    def test_receivers_cannot_reach_each_other_or_the_sender(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Vandal, "far")
        space.add(Vandal("near"))
        space.add(Vandal("nearer"))
        box = {"list": [1]}
        for receiver in ("far", "near", "nearer"):
            ask(guest, receiver, "deface", box=box)
            assert witness.next() == (receiver, {"list": [1]})
        tell(guest, "*", "deface", box=box)
        assert witness.events(3) == [{"list": [1]}] * 3
        assert box == {"list": [1]}

    @proves("message-5")
    def test_a_sender_that_changes_its_dict_afterwards_changes_nothing(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker("talker"))
        content: dict[str, Any] = {"list": [1]}
        message = request("talker", "say", content=content)
        guest.send(message)
        content["list"].append("changed")
        message["to"] = "changed"
        assert witness.event() == request("talker", "say", content={"list": [1]}) | {"from": "me"}

    @proves("message-6")
    def test_a_returned_object_stays_its_owners(self, space: Space, guest: Guest) -> None:
        space.add(Vandal("lender"))
        space.add(Vandal("near"))
        space.add(Vandal, "far")
        for borrower in ("near", "far"):
            ask(guest, borrower, "ask_and_deface", lender="lender")
        ask(guest, "lender", "lend")["list"].append("defaced")
        assert ask(guest, "lender", "lend") == {"list": [1, 2]}

    @proves("message-7", "message-8", "message-11")
    def test_every_bad_message_is_refused_and_the_field_named(self, guest: Guest) -> None:
        assert verdicts(guest) == expected_verdicts()

    @proves("message-9", "message-7", "message-8")
    def test_agents_built_by_the_space_get_the_same_verdicts(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Talker, "talker")
        assert ask(guest, "talker", "verdicts") == expected_verdicts()

    @proves("message-10")
    def test_what_was_refused_was_not_sent(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker("nobody"))
        for name in BAD_MESSAGES:
            with pytest.raises((TypeError, ValueError)):
                guest.send(bad_message(name))
        tell(guest, "nobody", "say", content="the end")
        assert witness.event()["action"]["args"] == {"content": "the end"}

    @proves("message-8")
    def test_a_bad_request_is_refused_like_a_bad_message(self, guest: Guest) -> None:
        with pytest.raises(InvalidMessage, match=r"^action\.args\.x: "):
            ask(guest, "me", "say", x=float("nan"))
        with pytest.raises(InvalidMessage, match=r"^action\.args\.x: "):
            guest.stream(request("me", "say", x=b""), timeout=LIMIT)

    @proves("message-12")
    def test_every_json_value_survives_exactly(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        for value in EXACT_VALUES.values():
            # Compared as text, so that 1, 1.0 and True, or 0.0 and -0.0, are not the same.
            assert json.dumps(ask(guest, "calc", "same", value=value)) == json.dumps(value)

    @proves("message-13")
    def test_a_megabyte_survives(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        value = "0123456789abcdé🦜" * 65_536
        assert len(value.encode()) > 2**20
        assert ask(guest, "calc", "same", value=value) == value

    @proves("message-13", "message-14")
    def test_a_message_may_be_exactly_as_large_as_is_allowed(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "far")
        space.add(Calculator("near"))
        for receiver in ("far", "near"):
            message = request(receiver, "size", value="")
            room = MAX_MESSAGE_BYTES - len(encode(freeze(message | {"from": guest.id})))
            message["action"]["args"]["value"] = "x" * room
            assert guest.request(message, timeout=LIMIT) == room
            message["action"]["args"]["value"] += "x"
            with pytest.raises(MessageTooLarge):
                guest.request(message, timeout=LIMIT)
            assert ask(guest, receiver, "size", value="x") == 1

    @proves("message-12")
    def test_an_object_may_have_a_hundred_thousand_keys(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        value = {str(number): number for number in range(100_000)}
        assert ask(guest, "calc", "size", value=value) == len(value)
        assert ask(guest, "calc", "same", value=value) == value

    @proves("message-14")
    def test_what_is_too_large_is_refused_and_harms_nothing(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc")
        with pytest.raises(MessageTooLarge):
            ask(guest, "calc", "same", value="x" * MAX_MESSAGE_BYTES)
        assert ask(guest, "calc", "same", value="x") == "x"

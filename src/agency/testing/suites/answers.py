"""Answers: the `response` and `error` messages that follow a `send`."""

from __future__ import annotations

from typing import Any

import pytest

from agency.errors import ActionError
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.acting import BadActions
from agency.testing.agents.basics import LIMIT, Calculator, Witness
from agency.testing.agents.streaming import Streamer
from agency.testing.agents.talking import Talker, TouchyTalker
from agency.testing.kit import Conformance, ask, nothing_else_reaches, proves, request, tell

__all__ = ["AnswerConformance"]


class AnswerConformance(Conformance):
    """What comes back to the sender, and what does not."""

    @proves("answer-1", "answer-6")
    def test_a_returned_value_makes_the_documented_response(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "my_agent")
        space.add(Calculator, "calculator_agent")
        message = {
            "id": "a custom message id",
            "to": "calculator_agent",
            "action": {"name": "add", "args": {"a": 1, "b": 2}},
        }
        tell(guest, "my_agent", "tell", message=message)
        assert witness.event() == {
            "from": "calculator_agent",
            "to": "my_agent",
            "action": {
                "name": "response",
                "args": {"data": 3, "original_message_id": "a custom message id"},
            },
        }

    @proves("answer-2", "answer-6")
    def test_an_exception_makes_an_error(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "talker")
        space.add(BadActions("bad"))
        message = request("bad", "fail", text="no such file") | {"id": "one"}
        tell(guest, "talker", "tell", message=message)
        assert witness.event() == {
            "from": "bad",
            "to": "talker",
            "action": {
                "name": "error",
                "args": {"error": "ValueError: no such file", "original_message_id": "one"},
            },
        }

    @proves("answer-3")
    def test_the_original_id_is_none_if_there_was_none(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        tell(guest, "calc", "add", a=1, b=2)
        assert guest.receive(timeout=LIMIT)["action"] == {
            "name": "response",
            "args": {"data": 3, "original_message_id": None},
        }
        tell(guest, "calc", "missing")
        assert guest.receive(timeout=LIMIT)["action"]["args"]["original_message_id"] is None

    @proves("answer-4")
    def test_none_makes_no_response(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        tell(guest, "calc", "nothing", id="one")
        assert nothing_else_reaches(guest, "calc")

    @proves("answer-5")
    def test_other_empty_values_make_a_response(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        empty: tuple[Any, ...] = (0, False, "", [], {})
        for value in empty:
            tell(guest, "calc", "same", value=value)
            answer = guest.receive(timeout=LIMIT)["action"]
            assert answer["name"] == "response"
            assert answer["args"]["data"] == value
            assert type(answer["args"]["data"]) is type(value)

    @proves("answer-7", "answer-6")
    def test_agents_that_cannot_bear_answers_do_not_answer_them(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(TouchyTalker, "a")
        space.add(TouchyTalker, "b")
        tell(guest, "a", "tell", message=request("b", "missing"))
        tell(guest, "a", "tell", message=request("b", "help"))
        assert witness.next().event["action"]["name"] == "error"
        assert witness.next().event["action"]["name"] == "response"
        # Whatever a and b would have sent each other came before these, which both of them report.
        for speaker, listener in (("a", "b"), ("b", "a")):
            tell(guest, speaker, "tell", message=request(listener, "say", content="the end"))
            note = witness.next()
            assert (note.by, note.event["from"]) == (listener, speaker)
            assert note.event["action"] == {"name": "say", "args": {"content": "the end"}}

    @proves("answer-7")
    @pytest.mark.parametrize("name", ["response", "error"])
    def test_an_answer_out_of_the_blue_is_not_answered(
        self, space: Space, guest: Guest, witness: Witness, name: str
    ) -> None:
        space.add(TouchyTalker, "talker")
        tell(guest, "talker", name, id="unasked", original_message_id="never sent")
        tell(guest, "talker", name, id="wrong", no_such_argument=1)
        assert witness.event()["id"] == "unasked"
        assert nothing_else_reaches(guest, "talker")

    @proves("answer-8", "answer-2")
    def test_an_unknown_action_is_an_error(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "Chatty")
        tell(guest, "Chatty", "say", id="one", content="Hello")
        assert guest.receive(timeout=LIMIT) == {
            "from": "Chatty",
            "to": "me",
            "action": {
                "name": "error",
                "args": {"error": '"say" not found on "Chatty"', "original_message_id": "one"},
            },
        }

    @proves("answer-2", "action-9")
    def test_a_wrong_call_is_an_error(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        tell(guest, "calc", "add", id="one", a=1)
        answer = guest.receive(timeout=LIMIT)["action"]
        assert answer["name"] == "error"
        assert '"b"' in answer["args"]["error"]
        assert answer["args"]["original_message_id"] == "one"

    @proves("answer-10", "action-24")
    @pytest.mark.parametrize("name", ["too_large", "without_end"])
    def test_a_value_too_large_for_a_message_is_an_error(
        self, space: Space, guest: Guest, name: str
    ) -> None:
        space.add(BadActions, "bad")
        with pytest.raises(ActionError, match=name):
            ask(guest, "bad", name)
        tell(guest, "bad", name, id="one")
        answer = guest.receive(timeout=LIMIT)["action"]
        assert (answer["name"], answer["args"]["original_message_id"]) == ("error", "one")

    @proves("answer-10", "stream-5")
    def test_a_stream_ends_with_an_error_at_a_value_too_large(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Streamer, "streamer")
        parts = guest.stream(request("streamer", "count_and_burst", to=1), timeout=LIMIT)
        assert next(parts) == 1
        with pytest.raises(ActionError, match="bytes as JSON"):
            next(parts)

    @proves("answer-9")
    def test_the_sender_can_be_answered_by_a_message(self, space: Space, guest: Guest) -> None:
        space.add(Talker, "talker", witness="me")
        tell(guest, "talker", "reply")
        assert guest.receive(timeout=LIMIT) == {
            "from": "talker",
            "to": "me",
            "action": {"name": "say", "args": {"content": "replied"}},
        }
        assert ask(guest, "talker", "help", action_name="reply")

"""Callbacks: when they are called, with what, and what follows if they raise."""

from __future__ import annotations

import pytest

from agency.errors import ActionError, ActionNotFound, ActionNotPermitted
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator, Witness
from agency.testing.agents.coming_and_going import Visitor
from agency.testing.agents.watched import AsyncWatched, Watched
from agency.testing.kit import Conformance, ask, proves, request, tell

__all__ = ["CallbackConformance"]


class CallbackConformance(Conformance):
    """The order of an agent's callbacks, and what they are told."""

    @proves("callback-1", "callback-2", "callback-3")
    def test_callbacks_come_in_order_and_see_the_message(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Watched, "watched")
        message = request("watched", "work", value={"x": [1]}) | {"id": "one", "meta": {"y": 2}}
        assert guest.request(message, timeout=LIMIT) == {"x": [1]}
        seen = message | {"from": "me"}
        assert witness.events(3) == [
            ["before_action", seen],
            ["action"],
            ["after_action", seen, {"x": [1]}, None],
        ]

    @proves("callback-1")
    def test_permission_comes_before_the_callbacks(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Watched, "watched")
        assert ask(guest, "watched", "guarded") == "done"
        assert [event[0] for event in witness.events(4)] == [
            "request_permission",
            "before_action",
            "action",
            "after_action",
        ]

    @proves("callback-4")
    def test_after_action_runs_if_the_action_raised(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Watched, "watched", failing="action")
        with pytest.raises(ActionError, match="action failed"):
            ask(guest, "watched", "work")
        events = witness.events(3)
        assert [event[0] for event in events] == ["before_action", "action", "after_action"]
        assert events[2][2:] == [None, "action failed"]

    @proves("callback-5", "callback-6")
    def test_if_before_action_raises_nothing_else_runs(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Watched, "watched", failing="before_action")
        for _ in range(2):
            with pytest.raises(ActionError, match="before_action failed"):
                ask(guest, "watched", "work")
        assert [event[0] for event in witness.events(2)] == ["before_action", "before_action"]

    @proves("callback-6", "answer-2")
    def test_the_sender_is_told_that_before_action_raised(self, space: Space, guest: Guest) -> None:
        space.add(Calculator("witness"))
        space.add(Watched, "watched", failing="before_action")
        tell(guest, "watched", "work", id="one")
        assert guest.receive(timeout=LIMIT)["action"] == {
            "name": "error",
            "args": {
                "error": "RuntimeError: before_action failed",
                "original_message_id": "one",
            },
        }

    @proves("callback-7")
    def test_if_after_action_raises_the_answer_is_sent_all_the_same(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Watched, "watched", failing="after_action")
        assert ask(guest, "watched", "work", value="done") == "done"
        tell(guest, "watched", "work", value="done again")
        assert guest.receive(timeout=LIMIT)["action"]["args"]["data"] == "done again"
        assert len(witness.events(6)) == 6

    @proves("callback-8")
    def test_no_callback_runs_for_what_is_not_to_run(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Watched, "watched")
        with pytest.raises(ActionNotFound):
            ask(guest, "watched", "missing")
        with pytest.raises(ActionNotPermitted):
            ask(guest, "watched", "denied")
        ask(guest, "watched", "work", value="the end")
        assert witness.event()[1]["action"]["args"] == {"value": "the end"}

    @proves("callback-9", "ask-11")
    def test_after_add_may_ask_others(self, space: Space, guest: Guest, witness: Witness) -> None:
        space.add(Calculator, "calc")
        space.add(Visitor, "far")
        space.add(Visitor("near"))
        notes = {(by, tuple(event)) for by, event in (witness.next(), witness.next())}
        assert notes == {
            ("far", ("after_add", 3)),
            ("near", ("after_add", 3)),
        }
        assert ask(guest, "far", "sum") == ask(guest, "near", "sum") == 3

    @proves("callback-10", "leave-4")
    def test_callbacks_may_be_async(self, space: Space, guest: Guest, witness: Witness) -> None:
        space.add(Calculator("calc"))
        for add in (space.add, space.add_foreground):
            add(AsyncWatched, "watched")
            assert ask(guest, "watched", "work", value=1) == 1
            space.remove("watched")
            assert witness.events(5) == [
                ["after_add", 3],
                ["before_action", "work"],
                ["action"],
                ["after_action", 1],
                ["before_remove"],
            ]

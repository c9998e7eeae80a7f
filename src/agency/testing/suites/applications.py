"""Several applications in one space, each with a space object of its own. Only for spaces that allow it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from agency.errors import (
    ActionError,
    ActionNotFound,
    ActionNotPermitted,
    AgentNotFound,
    InvalidArguments,
)
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.acting import BadActions
from agency.testing.agents.basics import LIMIT, Calculator, Witness
from agency.testing.agents.guarding import HeedlessGuard
from agency.testing.agents.streaming import Streamer
from agency.testing.agents.talking import Talker
from agency.testing.kit import Conformance, ask, proves, request, tell
from agency.testing.suites.messages import EXACT_VALUES

__all__ = ["ApplicationsConformance"]


class ApplicationsConformance(Conformance):
    """What holds between applications that share a space."""

    def make_application(self) -> Space:
        """Return a further space object that enters the space which `make_space` made in this test."""
        raise NotImplementedError

    @pytest.fixture
    def elsewhere(self, space: Space) -> Iterator[Space]:
        """Another application of the same space."""
        elsewhere = self.make_application()
        yield elsewhere
        elsewhere.destroy()

    @proves("shared-1")
    def test_applications_find_each_others_agents_in_any_order(
        self, space: Space, elsewhere: Space, guest: Guest
    ) -> None:
        elsewhere.add(Calculator, "came later")
        assert ask(guest, "came later", "add", a=1, b=2) == 3
        visitor = elsewhere.join("visitor")
        space.add(Calculator, "came last")
        assert ask(visitor, "came last", "add", a=1, b=2) == 3
        tell(visitor, "me", "say", content="Hello")
        assert guest.receive(timeout=LIMIT) == {
            "from": "visitor",
            "to": "me",
            "action": {"name": "say", "args": {"content": "Hello"}},
        }
        tell(guest, "came later", "add", id="one", a=1, b=2)
        answer = guest.receive(timeout=LIMIT)["action"]["args"]
        assert answer == {"data": 3, "original_message_id": "one"}

    @proves("shared-2", "join-7", "join-8")
    def test_an_id_belongs_to_one_application(
        self, space: Space, elsewhere: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc", 10)
        with pytest.raises(ValueError, match="calc"):
            elsewhere.add(Calculator, "calc")
        with pytest.raises(ValueError, match="calc"):
            elsewhere.add(Calculator("calc"))
        assert ask(guest, "calc", "count") == 11

    @proves("shared-3")
    def test_an_id_is_free_for_all_when_its_agent_has_left(
        self, space: Space, elsewhere: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc", 10)
        space.remove("calc")
        elsewhere.add(Calculator, "calc", 20)
        assert ask(guest, "calc", "count") == 21

    @proves("shared-4")
    def test_a_broadcast_reaches_every_application_once(
        self, space: Space, elsewhere: Space, witness: Witness
    ) -> None:
        space.add(Talker("here"))
        elsewhere.add(Talker("there"))
        for speaker in ("here", "there"):
            tell(witness, speaker, "tell", message=request("*", "say", content=speaker))
            notes = [witness.next() for _ in range(2)]
            assert sorted(note.by for note in notes) == ["here", "there"]
            assert {note.event["from"] for note in notes} == {speaker}

    @proves("shared-5")
    def test_failures_are_the_same_errors_as_within_one(
        self, elsewhere: Space, guest: Guest
    ) -> None:
        elsewhere.add(BadActions("bad"))
        elsewhere.add(HeedlessGuard("guard"))
        with pytest.raises(ActionError, match="ValueError: no such file"):
            ask(guest, "bad", "fail", text="no such file")
        with pytest.raises(ActionNotFound, match='"missing" not found on "bad"'):
            ask(guest, "bad", "missing")
        with pytest.raises(InvalidArguments, match='"text"'):
            ask(guest, "bad", "fail")
        with pytest.raises(ActionNotPermitted, match=r'"guard\.denied" not permitted'):
            ask(guest, "guard", "denied")
        with pytest.raises(AgentNotFound):
            ask(guest, "nobody", "help")

    @proves("shared-6")
    def test_one_application_may_leave(self, space: Space, elsewhere: Space, guest: Guest) -> None:
        elsewhere.add(Calculator("theirs"))
        space.add(Calculator("ours"))
        assert ask(guest, "theirs", "count") == 1
        elsewhere.destroy()
        with pytest.raises(AgentNotFound):
            ask(guest, "theirs", "count")
        assert ask(guest, "ours", "count") == 1

    @proves("shared-7")
    def test_a_stream_crosses_and_ends_when_it_is_left(
        self, elsewhere: Space, guest: Guest, witness: Witness
    ) -> None:
        elsewhere.add(Streamer("streamer"))
        parts = guest.stream(request("streamer", "count", to=20), timeout=LIMIT)
        assert list(parts) == list(range(1, 21))
        endless = guest.stream(request("streamer", "endless"), timeout=LIMIT)
        assert next(endless) == 1
        endless.close()
        assert witness.event() == "stopped"

    @proves("shared-8")
    def test_a_ring_across_applications_is_noticed(
        self, space: Space, elsewhere: Space, guest: Guest
    ) -> None:
        space.add(Talker("here"))
        elsewhere.add(Talker("there"))
        back = request("here", "help")
        message = request("there", "pass_on", message=back)
        answer = ask(guest, "here", "ask", message=message)
        assert answer[0] == "ActionError"
        assert "here → there → here" in answer[1]

    @proves("shared-9")
    def test_every_json_value_crosses_exactly(self, elsewhere: Space, guest: Guest) -> None:
        elsewhere.add(Calculator("calc"))
        for value in EXACT_VALUES.values():
            assert json.dumps(ask(guest, "calc", "same", value=value)) == json.dumps(value)

    @proves("shared-10")
    def test_an_application_removes_its_own_agents_only(
        self, space: Space, elsewhere: Space, guest: Guest
    ) -> None:
        space.add(Calculator("calc"))
        with pytest.raises(ValueError, match="calc"):
            elsewhere.remove("calc")
        assert ask(guest, "calc", "count") == 1

"""Those who look after a space: they watch its agents, and may halt them all."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from agency.deadletters import Reason
from agency.errors import ActionError, ActionNotPermitted, OutcomeUnknown, SpaceClosed, SpaceHalted
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator, Gate, Witness
from agency.testing.agents.coming_and_going import Halter, Leaver, Patient
from agency.testing.agents.guarding import SlowGuard
from agency.testing.agents.streaming import Streamer
from agency.testing.agents.talking import Worker
from agency.testing.kit import Conformance, ask, in_background, proves, request, tell
from agency.watching import Down

__all__ = ["HaltConformance", "WatchConformance"]


class WatchConformance(Conformance):
    """Who watches an agent is told of its end."""

    @proves("watch-1")
    def test_who_watches_an_agent_is_told_once_that_it_was_removed(self, space: Space) -> None:
        for add in (space.add, space.add_foreground):
            add(Calculator, "calc")
            first, second = _watching(space, "calc"), _watching(space, "calc")
            space.remove("calc")
            for told in (first, second):
                assert told.get(timeout=LIMIT) == Down("calc", Reason.AGENT_REMOVED)
            add(Calculator, "calc")
            third = _watching(space, "calc")
            space.remove("calc")
            assert third.get(timeout=LIMIT).agent_id == "calc"
            assert first.empty()
            assert second.empty()

    @proves("watch-2")
    def test_who_watches_is_told_when_the_space_is_destroyed(self, space: Space) -> None:
        space.add(Calculator, "far")
        space.add(Calculator("near"))
        watching = {agent_id: _watching(space, agent_id) for agent_id in ("far", "near")}
        space.destroy()
        for agent_id, told in watching.items():
            down = told.get(timeout=LIMIT)
            assert (down.agent_id, down.reason) == (agent_id, Reason.AGENT_REMOVED)

    @proves("watch-3")
    def test_who_watches_nobody_is_told_so(self, space: Space) -> None:
        space.add(Calculator, "calc")
        space.remove("calc")
        for agent_id in ("calc", "never there"):
            down = _watching(space, agent_id).get(timeout=LIMIT)
            assert (down.agent_id, down.reason) == (agent_id, Reason.NO_SUCH_AGENT)

    @proves("watch-4", "watch-5")
    def test_who_gives_up_watching_is_told_nothing_and_who_raises_harms_nobody(
        self, space: Space
    ) -> None:
        space.add(Calculator, "calc")
        not_wanted: queue.SimpleQueue[Down] = queue.SimpleQueue()
        space.watch("calc", not_wanted.put)()
        space.watch("calc", _raise)
        told = _watching(space, "calc")
        space.remove("calc")
        assert told.get(timeout=LIMIT).reason is Reason.AGENT_REMOVED
        assert not_wanted.empty()


class HaltConformance(Conformance):
    """The kill switch."""

    @proves("halt-1", "halt-2", "halt-7")
    @pytest.mark.parametrize("form", ["add", "add_foreground"])
    def test_a_halted_space_begins_with_nothing_more(
        self, space: Space, gate: Gate, guest: Guest, form: str
    ) -> None:
        lost: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        space.dead_letters.listen(
            lambda letter: lost.put((letter.reason.value, (letter.message or {}).get("id", "")))
        )
        getattr(space, form)(Worker, "worker")
        begun = in_background(lambda: ask(guest, "worker", "meet", door="exit"))
        assert gate.arrival() == "exit"
        for waiting in ("first", "second"):
            tell(guest, "worker", "meet", id=waiting, door="never")
        space.halt()
        gate.open("exit")
        begun.result(LIMIT)
        assert lost.empty()
        space.destroy()
        told = [lost.get(timeout=LIMIT) for _ in range(2)]
        assert sorted(told) == [("agent_removed", "first"), ("agent_removed", "second")]

    @proves("halt-2")
    def test_a_stream_of_a_halted_agent_is_cut_short(
        self, space: Space, gate: Gate, guest: Guest
    ) -> None:
        space.add(Streamer, "streamer")
        values = guest.stream(request("streamer", "by_doors", doors=["one", "two"]), timeout=LIMIT)
        assert next(values) == "one"
        assert gate.arrival() == "one"
        space.halt()
        gate.open_all()
        with pytest.raises(OutcomeUnknown):
            next(values)

    @proves("halt-3")
    @pytest.mark.parametrize("form", ["add", "add_foreground"])
    def test_agents_of_a_halted_space_say_nothing_more(
        self, space: Space, gate: Gate, guest: Guest, form: str
    ) -> None:
        getattr(space, form)(Patient, "patient")
        late = in_background(lambda: ask(guest, "patient", "speak_late", door="mouth"))
        assert gate.arrival() == "mouth"
        space.halt()
        gate.open("mouth")
        with pytest.raises(ActionError, match="halted"):
            late.result(LIMIT)
        with pytest.raises(SpaceHalted):
            tell(guest, "patient", "stay")
        with pytest.raises(SpaceHalted):
            ask(guest, "patient", "stay")

    @proves("halt-4")
    @pytest.mark.parametrize("form", ["add", "add_foreground"])
    def test_what_waits_for_permission_when_the_space_is_halted_is_refused(
        self, space: Space, gate: Gate, guest: Guest, form: str
    ) -> None:
        getattr(space, form)(SlowGuard, "guard")
        asked = in_background(lambda: ask(guest, "guard", "requested", command="rm"))
        assert gate.arrival() == "permission"
        space.halt()
        with pytest.raises(ActionNotPermitted):
            asked.result(LIMIT)

    @proves("halt-5", "halt-6", "leave-6")
    def test_a_halted_space_takes_nobody_and_can_still_be_destroyed(
        self, space: Space, guest: Guest, tmp_path: Path
    ) -> None:
        left = tmp_path / "left"
        space.add(Leaver, "leaver", str(left))
        space.add(Halter("halter", space))
        assert ask(guest, "halter", "pull") == "halted"
        space.halt()
        for form in (space.add, space.add_foreground):
            with pytest.raises(SpaceClosed, match="halted"):
                form(Calculator, "calc")
        with pytest.raises(SpaceClosed):
            space.add(Calculator("calc"))
        space.destroy()
        assert left.read_text(encoding="utf-8").split() == ["leaver"]
        space.halt()

    @proves("halt-8", "halt-2")
    @pytest.mark.parametrize("form", ["add", "add_foreground"])
    def test_an_action_in_progress_is_told_that_it_is_to_end(
        self, space: Space, witness: Witness, guest: Guest, form: str
    ) -> None:
        getattr(space, form)(Patient, "patient")
        stayed = in_background(lambda: ask(guest, "patient", "stay"))
        assert witness.event() == "stays"
        space.halt()
        assert stayed.result(LIMIT) is True


def _watching(space: Space, agent_id: str) -> queue.SimpleQueue[Down]:
    told: queue.SimpleQueue[Down] = queue.SimpleQueue()
    space.watch(agent_id, told.put)
    return told


def _raise(down: Down) -> None:
    raise ValueError(f"told of {down.agent_id}")

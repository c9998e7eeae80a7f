"""Coming and going: how agents join a space and leave it, and what they may be called."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agency.agent import Agent
from agency.errors import NotInSpace, OutcomeUnknown, RequestError, SpaceClosed, StartFailed
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator, Gate, Witness
from agency.testing.agents.coming_and_going import (
    AsyncEarlyLeaver,
    AsyncSelfRemover,
    EarlyLeaver,
    Leaver,
    SelfRemover,
    Visitor,
)
from agency.testing.agents.talking import Talker, Worker
from agency.testing.kit import Conformance, ask, in_background, proves, request, tell

__all__ = ["IdConformance", "JoinConformance", "LeaveConformance"]


class JoinConformance(Conformance):
    """How agents come into a space."""

    @proves("join-1", "join-2", "id-5")
    def test_a_class_is_built_with_exactly_the_arguments_given(
        self, space: Space, guest: Guest
    ) -> None:
        added: object = space.add(Calculator, "calc", 10, step=5)
        assert added is None
        assert ask(guest, "calc", "count") == 15
        assert ask(guest, "calc", "whole")["to"] == "calc"

    @proves("join-1", "join-14")
    def test_every_keyword_belongs_to_the_agent(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc", name="an agent's own name")
        space.add_foreground(Calculator, "near", name="another")
        assert ask(guest, "calc", "named") == "an agent's own name"
        assert ask(guest, "near", "named") == "another"

    @proves("join-3", "id-5")
    def test_a_built_agent_is_added_as_it_is(self, space: Space, guest: Guest) -> None:
        agent = Calculator("calc", 10)
        assert space.add(agent) is agent
        assert agent.id == "calc"
        assert ask(guest, "calc", "count") == 11
        assert ask(agent, "me", "help") == ask(guest, "me", "help")

    @proves("join-4", "id-5")
    def test_a_class_is_built_here_on_demand(self, space: Space, guest: Guest) -> None:
        agent = space.add_foreground(Calculator, "calc", 10, step=5)
        assert isinstance(agent, Calculator)
        assert agent.id == "calc"
        assert ask(guest, "calc", "count") == 15

    @proves("join-5")
    def test_agents_of_all_forms_reach_each_other_whoever_came_first(
        self, space: Space, witness: Witness
    ) -> None:
        space.add(Talker, "first")
        space.add(Talker("second"))
        space.add(Talker, "third")
        everybody = ["first", "second", "third"]
        for speaker in everybody:
            for listener in everybody:
                hello = request(listener, "say", content=f"{speaker} to {listener}")
                tell(witness, speaker, "tell", message=hello)
                note = witness.next()
                assert note.by == listener
                assert note.event["from"] == speaker
                assert note.event["action"]["args"]["content"] == f"{speaker} to {listener}"

    @proves("join-6")
    def test_there_may_be_more_agents_than_processors(self, space: Space, guest: Guest) -> None:
        for number in range(20):
            space.add(Calculator, f"calc {number}", number)
        counts = [ask(guest, f"calc {number}", "count") for number in range(20)]
        assert counts == list(range(1, 21))

    @proves("join-7", "join-8")
    def test_an_id_in_use_is_refused_and_its_agent_untouched(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "far", 10)
        space.add(Calculator("near", 20))
        for taken in ("far", "near"):
            with pytest.raises(ValueError, match=taken):
                space.add(Calculator, taken)
            with pytest.raises(ValueError, match=taken):
                space.add(Calculator(taken))
            with pytest.raises(ValueError, match=taken):
                space.add_foreground(Calculator, taken)
        assert ask(guest, "far", "count") == 11
        assert ask(guest, "near", "count") == 21

    @proves("join-9")
    def test_an_agent_that_cannot_be_built_is_not_added(
        self, space: Space, witness: Witness
    ) -> None:
        space.add(Calculator("calc"))
        with pytest.raises(StartFailed, match="the constructor failed"):
            space.add(Visitor, "visitor", failing="__init__")
        with pytest.raises(StartFailed):
            space.add(Visitor, "visitor", no_such_argument=1)
        space.add(Visitor, "visitor")
        assert witness.next() == ("visitor", ["after_add", 3])

    @proves("join-10")
    def test_an_agent_that_cannot_be_set_up_is_not_added(
        self, space: Space, witness: Witness
    ) -> None:
        space.add(Calculator("calc"))
        with pytest.raises(StartFailed, match="after_add failed"):
            space.add(Visitor, "visitor", failing="after_add")
        failing = Visitor("visitor", failing="after_add")
        with pytest.raises(StartFailed, match="after_add failed"):
            space.add(failing)
        with pytest.raises(NotInSpace):
            tell(failing, "calc", "count")
        space.add(Visitor, "visitor")
        assert witness.next() == ("visitor", ["after_add", 3])

    @proves("join-11")
    @pytest.mark.parametrize(
        "arguments",
        [(Calculator,), ("calc",), (None, "calc"), (dict, "calc"), (Calculator("calc"), "calc")],
        ids=["no id", "no class", "None", "not an agent's class", "an agent and an id"],
    )
    def test_what_is_no_agent_cannot_be_added(
        self, space: Space, arguments: tuple[Any, ...]
    ) -> None:
        add: Any = space.add
        with pytest.raises(TypeError):
            add(*arguments)

    @proves("join-12", "join-8")
    def test_an_agent_cannot_be_added_twice(self, space: Space, guest: Guest) -> None:
        agent = space.add(Calculator("calc"))
        with pytest.raises(ValueError, match="calc"):
            space.add(agent)
        assert ask(guest, "calc", "count") == 1

    @proves("join-13")
    def test_an_agent_in_no_space_cannot_speak(self) -> None:
        agent = Calculator("calc")
        with pytest.raises(NotInSpace):
            tell(agent, "calc", "count")
        with pytest.raises(NotInSpace):
            ask(agent, "calc", "count")


class LeaveConformance(Conformance):
    """How agents leave a space, and how it ends."""

    @proves("leave-1")
    def test_a_removed_agents_id_is_free_at_once(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc", 10)
        space.remove("calc")
        space.add(Calculator, "calc", 20)
        assert ask(guest, "calc", "count") == 21
        space.remove("calc")
        agent = space.add(Calculator("calc", 30))
        assert ask(guest, "calc", "count") == 31
        space.remove(agent)
        space.add(Calculator("calc", 40))
        assert ask(guest, "calc", "count") == 41

    @proves("leave-2")
    def test_only_what_was_added_can_be_removed(self, space: Space, guest: Guest) -> None:
        with pytest.raises(ValueError, match="nobody"):
            space.remove("nobody")
        with pytest.raises(ValueError, match="me"):
            space.remove(Calculator("me"))
        space.add(Calculator, "calc")
        space.remove("calc")
        with pytest.raises(ValueError, match="calc"):
            space.remove("calc")
        assert ask(guest, "me", "help", action_name="say")

    @proves("leave-3")
    def test_a_removed_agent_is_told_nothing_more(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        agent = space.add(Talker("talker"))
        tell(guest, "talker", "say")
        assert witness.next().by == "talker"
        space.remove(agent)
        tell(guest, "talker", "say")
        tell(guest, "*", "say")
        with pytest.raises(NotInSpace):
            agent.report("after the end")
        space.add(Talker, "talker")
        tell(guest, "talker", "say", content="to the next one")
        assert witness.event()["action"]["args"] == {"content": "to the next one"}

    @proves("leave-4")
    def test_before_remove_runs_once_and_may_speak(self, space: Space, witness: Witness) -> None:
        space.add(Calculator("calc"))
        for add in (space.add, space.add_foreground):
            add(Visitor, "visitor")
            assert witness.event() == ["after_add", 3]
            space.remove("visitor")
            assert witness.event() == ["before_remove"]

    @proves("leave-14", "leave-4")
    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            (SelfRemover, "leave"),
            (AsyncSelfRemover, "leave"),
            (AsyncSelfRemover, "leave_at_once"),
        ],
    )
    def test_an_agent_may_remove_itself(
        self, space: Space, guest: Guest, witness: Witness, kind: type[SelfRemover], name: str
    ) -> None:
        space.add(kind("leaver", space))
        assert ask(guest, "leaver", name) == "left"
        assert witness.event() == "before_remove"
        space.add(Calculator("leaver"))
        assert ask(guest, "leaver", "count") == 1

    @proves("leave-15", "join-10")
    @pytest.mark.parametrize("kind", [EarlyLeaver, AsyncEarlyLeaver])
    def test_an_agent_that_leaves_while_it_comes_has_not_been_added(
        self, space: Space, guest: Guest, kind: type[EarlyLeaver]
    ) -> None:
        with pytest.raises(StartFailed, match="left the space in its after_add"):
            space.add(kind("leaver", space))
        space.add(Calculator("leaver"))
        assert ask(guest, "leaver", "count") == 1

    @proves("leave-5")
    def test_an_agent_is_removed_even_if_before_remove_raises(
        self, space: Space, witness: Witness
    ) -> None:
        space.add(Calculator("calc"))
        for add in (space.add, space.add_foreground):
            add(Visitor, "visitor", failing="before_remove")
            space.remove("visitor")
            assert witness.events(2) == [["after_add", 3], ["before_remove"]]
            with pytest.raises(ValueError, match="visitor"):
                space.remove("visitor")

    @proves("leave-6", "leave-7")
    def test_destroy_takes_leave_of_every_agent_once(self, space: Space, tmp_path: Path) -> None:
        left = tmp_path / "left"
        space.add(Leaver, "far", str(left))
        space.add(Leaver("near", str(left)))
        space.destroy()
        assert sorted(left.read_text(encoding="utf-8").split()) == ["far", "near"]
        space.destroy()
        assert sorted(left.read_text(encoding="utf-8").split()) == ["far", "near"]

    @proves("leave-7", "leave-11")
    def test_a_space_may_be_destroyed_by_several_at_once(self, space: Space) -> None:
        space.add(Calculator, "calc")
        assert not space.wait(timeout=0)
        waiting = in_background(lambda: space.wait(timeout=LIMIT))
        destroying = [in_background(space.destroy) for _ in range(3)]
        for destroyed in destroying:
            destroyed.result(LIMIT)
        assert waiting.result(LIMIT)
        assert space.wait()

    @proves("leave-8")
    def test_a_destroyed_space_takes_nobody(self, space: Space) -> None:
        agent = space.add(Calculator("calc"))
        space.destroy()
        with pytest.raises(SpaceClosed):
            space.add(Calculator, "far")
        with pytest.raises(SpaceClosed):
            space.add(Calculator("near"))
        with pytest.raises(NotInSpace):
            tell(agent, "calc", "count")

    @proves("leave-9", "leave-6")
    def test_a_with_block_destroys_at_its_end(self, tmp_path: Path) -> None:
        left = tmp_path / "left"
        with self.make_space() as space:
            space.add(Leaver, "leaver", str(left))
            assert not space.wait(timeout=0)
        assert left.read_text(encoding="utf-8").split() == ["leaver"]
        assert space.wait(timeout=0)

    @proves("leave-9")
    def test_a_with_block_destroys_when_it_raises(self) -> None:
        with pytest.raises(ZeroDivisionError), self.make_space() as space:
            raise ZeroDivisionError
        assert space.wait(timeout=0)

    @proves("leave-10", "leave-6")
    def test_an_async_with_block_destroys_at_its_end(self, tmp_path: Path) -> None:
        left = tmp_path / "left"

        async def program() -> Space:
            async with self.make_space() as space:
                await asyncio.to_thread(space.add, Leaver, "leaver", str(left))
            return space

        space = asyncio.run(program())
        assert left.read_text(encoding="utf-8").split() == ["leaver"]
        assert space.wait(timeout=0)

    @proves("leave-12")
    def test_whoever_waits_when_the_space_is_destroyed_gets_an_error(
        self, space: Space, gate: Gate
    ) -> None:
        space.add(Worker, "worker")
        guest = space.join()
        answer = in_background(lambda: ask(guest, "worker", "meet", door="exit"))
        assert gate.arrival() == "exit"
        destroyed = in_background(space.destroy)
        with pytest.raises(OutcomeUnknown):
            answer.result(LIMIT)
        gate.open_all()
        destroyed.result(LIMIT)

    @proves("leave-13")
    def test_whoever_waits_for_an_agent_that_is_removed_gets_an_answer(
        self, space: Space, gate: Gate, guest: Guest
    ) -> None:
        space.add(Worker, "worker")
        begun = in_background(lambda: ask(guest, "worker", "meet", door="exit"))
        assert gate.arrival() == "exit"
        queued = in_background(lambda: ask(guest, "worker", "ping"))
        removed = in_background(lambda: space.remove("worker"))
        gate.open("exit")
        removed.result(LIMIT)
        for answer in (begun, queued):
            error = answer.exception(LIMIT)
            assert error is None or isinstance(error, RequestError)
            assert not isinstance(error, TimeoutError)


IDS = [
    "#",
    "a.*",
    "*.b",
    "a.b",
    "a.#",
    "a/b",
    "../up",
    "%2A",
    "%",
    "with space",
    "A.B",
    "名前",
    "🦜",
]
TWINS = ["caf\u00e9", "cafe\u0301", "Host", "host", "\u041dost", "Host ", "Host."]
REFUSED = {
    "empty": "",
    "everybody": "*",
    "reserved": "amq.direct",
    "too long": "x" * 256,
    "too long in UTF-8": "é" * 128,
    "NUL": "a\x00b",
    "escape": "\x1b[31m",
    "line break": "a\nb",
    "zero width": "a\u200bb",
    "right to left": "a\u202eb",
    "not Unicode": "\ud800",
    "a number": 5,
    "a list": ["calc"],
    "bytes": b"calc",
}


class IdConformance(Conformance):
    """What agents may be called."""

    @proves("id-1", "id-3", "id-4", "reach-1")
    @pytest.mark.parametrize("ids", [IDS, TWINS], ids=["like patterns", "look-alikes"])
    def test_a_message_reaches_the_agent_of_exactly_that_id(
        self, space: Space, guest: Guest, witness: Witness, ids: list[str]
    ) -> None:
        far, *near = ids
        space.add(Talker, far)
        for agent_id in near:
            space.add(Talker(agent_id))
        for agent_id in ids:
            tell(guest, agent_id, "say", content=agent_id)
            note = witness.next()
            assert note.by == agent_id
            assert note.event["to"] == agent_id
            assert note.event["action"]["args"]["content"] == agent_id

    @proves("id-3", "reach-1", "reach-5")
    def test_a_message_to_what_looks_like_a_pattern_reaches_nobody_else(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "a.b")
        for pattern in ("#", "a.*", "*.b", "a.#", "a.b.#", "*.*", "a.b ", "A.B"):
            tell(guest, pattern, "say", content=pattern)
        tell(guest, "a.b", "say", content="the end")
        assert witness.event()["action"]["args"]["content"] == "the end"

    @proves("id-1")
    @pytest.mark.parametrize("agent_id", ["x" * 255, "é" * 127], ids=["ASCII", "UTF-8"])
    def test_the_longest_ids_work(self, space: Space, guest: Guest, agent_id: str) -> None:
        space.add(Calculator, agent_id)
        assert ask(guest, agent_id, "count") == 1

    @proves("id-2")
    def test_other_ids_are_refused_in_every_form(self, space: Space) -> None:
        for agent_id in REFUSED.values():
            unchecked: Any = agent_id
            with pytest.raises(ValueError, match="id"):
                space.add(Calculator, unchecked)
            with pytest.raises(ValueError, match="id"):
                space.add_foreground(Calculator, unchecked)
            with pytest.raises(ValueError, match="id"):
                Agent(unchecked)
            with pytest.raises(ValueError, match="id"):
                space.join(unchecked)

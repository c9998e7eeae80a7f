"""Reach: who gets a message, in which order, and what becomes of one that nobody gets."""

from __future__ import annotations

from agency.envelope import BROADCAST_LIMIT
from agency.errors import MailboxFull
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator, Gate, Witness
from agency.testing.agents.talking import Crier, Echoing, Heap, Talker, Worker
from agency.testing.kit import (
    Conformance,
    ask,
    dead_letters_of,
    nothing_else_reaches,
    proves,
    request,
    tell,
)

__all__ = ["ReachConformance"]

_LOAD = "x" * (7 * 1024 * 1024)
"""So much that ten of it fill a mailbox."""


class ReachConformance(Conformance):
    """The way of a message from one agent to others."""

    @proves("reach-1")
    def test_a_message_reaches_its_receiver_only(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "a")
        space.add(Talker, "b")
        tell(guest, "a", "say", content="to a")
        note = witness.next()
        assert (note.by, note.event["action"]["args"]["content"]) == ("a", "to a")
        tell(guest, "b", "say", content="to b")
        note = witness.next()
        assert (note.by, note.event["action"]["args"]["content"]) == ("b", "to b")

    @proves("reach-2", "message-1")
    def test_a_broadcast_reaches_everybody_once(self, space: Space, witness: Witness) -> None:
        space.add(Talker, "a")
        space.add(Talker, "b")
        space.add(Talker("c"))
        everybody = ["a", "b", "c"]
        for speaker in everybody:
            tell(witness, speaker, "tell", message=request("*", "say", content=speaker))
            notes = [witness.next() for _ in everybody]
            assert sorted(note.by for note in notes) == everybody
            assert {note.event["from"] for note in notes} == {speaker}
            assert {note.event["to"] for note in notes} == {"*"}

    @proves("reach-3")
    def test_an_agent_may_do_without_its_own_broadcasts(
        self, space: Space, witness: Witness
    ) -> None:
        space.add(Talker, "far", receive_own_broadcasts=False)
        space.add(Talker("near", receive_own_broadcasts=False))
        for speaker, other in (("far", "near"), ("near", "far")):
            tell(witness, speaker, "tell", message=request("*", "say", content="to others"))
            assert witness.next().by == other
            tell(witness, speaker, "say", content="the end")
            note = witness.next()
            assert (note.by, note.event["action"]["args"]["content"]) == (speaker, "the end")

    @proves("reach-3")
    def test_an_agent_may_do_without_its_own_broadcasts_from_its_very_first(
        self, space: Space, witness: Witness
    ) -> None:
        space.add(Talker, "listener")
        for add_crier in (lambda: space.add(Crier, "far"), lambda: space.add(Crier("near"))):
            add_crier()
            note = witness.next()
            assert (note.by, note.event["action"]["args"]["content"]) == ("listener", "I came")
            crier = note.event["from"]
            tell(witness, crier, "say", content="the end")
            note = witness.next()
            assert (note.by, note.event["action"]["args"]["content"]) == (crier, "the end")
            space.remove(crier)

    @proves("reach-4")
    def test_a_broadcast_is_ignored_by_those_without_the_action(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "far")
        space.add(Calculator("near"))
        tell(guest, "*", "missing")
        assert nothing_else_reaches(guest, "far")
        assert nothing_else_reaches(guest, "near")

    @proves("reach-5", "reach-6")
    def test_a_message_to_nobody_is_silent_but_counted(self, space: Space, guest: Guest) -> None:
        lost = dead_letters_of(space)
        tell(guest, "nobody", "say", content="Hello?")
        assert lost() == "no_such_agent"
        assert space.dead_letters.counts["no_such_agent"] == 1
        tell(guest, "me", "say", content="the end")
        assert guest.receive(timeout=LIMIT)["from"] == "me"

    @proves("reach-6", "reach-5")
    def test_what_an_agent_built_by_the_space_loses_is_counted_too(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "talker")
        lost = dead_letters_of(space)
        tell(guest, "talker", "tell", message=request("nobody", "say", content="Hello?"))
        assert lost() == "no_such_agent"
        tell(guest, "talker", "say", content="the end")
        assert witness.event()["action"]["args"]["content"] == "the end"

    @proves("reach-7", "action-16")
    def test_order_is_kept_between_broadcasts_and_messages(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Talker, "talker")
        for number in range(200):
            tell(guest, "*" if number % 3 == 0 else "talker", "say", content=number)
        notes = witness.events(200)
        assert [note["action"]["args"]["content"] for note in notes] == list(range(200))

    @proves("reach-8")
    def test_send_does_not_wait_for_the_receiver(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(Worker, "worker")
        tell(guest, "worker", "meet", id="first", door="closed")
        assert gate.arrival() == "closed"
        for number in range(100):
            tell(guest, "worker", "ping", id=str(number))
        gate.open("closed")
        answers = [guest.receive(timeout=LIMIT)["action"]["args"] for _ in range(101)]
        ids = [answer["original_message_id"] for answer in answers]
        assert ids == ["first", *map(str, range(100))]
        assert ask(guest, "worker", "ping") == "pong"

    @proves("reach-9")
    def test_a_full_mailbox_refuses_and_loses_nothing_that_it_accepted(
        self, space: Space, guest: Guest, witness: Witness, gate: Gate
    ) -> None:
        space.add(Heap, "heap")
        accepted = _fill(guest, gate)
        gate.open("door")
        assert witness.events(accepted) == list(range(accepted))
        tell(guest, "heap", "put", number=accepted)
        assert witness.event() == accepted

    @proves("reach-10")
    def test_a_broadcast_reaches_all_others_when_one_mailbox_is_full(
        self, space: Space, guest: Guest, witness: Witness, gate: Gate
    ) -> None:
        space.add(Heap, "heap")
        for other in ("far", "further"):
            space.add(Heap, other)
        space.add(Heap("near"))
        dead_letter = dead_letters_of(space)
        _fill(guest, gate)
        tell(guest, "*", "put", number=-1, load=_LOAD)
        notes = [witness.next() for _ in range(3)]
        assert sorted(note.by for note in notes) == ["far", "further", "near"]
        assert {note.event for note in notes} == {-1}
        assert dead_letter() == "mailbox_full"

    @proves("reach-11")
    def test_broadcasts_that_cause_each_other_end(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        dead_letter = dead_letters_of(space)
        space.add(Echoing, "far", receive_own_broadcasts=False)
        space.add(Echoing("near", receive_own_broadcasts=False))
        tell(guest, "far", "cry", number=0)
        numbers = list(range(BROADCAST_LIMIT + 1))
        assert witness.events(len(numbers)) == numbers
        assert dead_letter() == "hop_limit"


def _fill(guest: Guest, gate: Gate) -> int:
    """Let the agent `heap` stand at the door, and send it numbers until it has no room; returns how
    many it has.
    """
    tell(guest, "heap", "stand_at", door="door")
    assert gate.arrival() == "door"
    for number in range(400):
        try:
            tell(guest, "heap", "put", number=number, load=_LOAD if number > 300 else "")
        except MailboxFull:
            return number
    raise AssertionError("a mailbox that is never full")

"""Access policies: who may invoke an action, and who decides."""

from __future__ import annotations

from typing import Any

import pytest

from agency.errors import ActionNotPermitted, InvalidArguments
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Gate, Witness
from agency.testing.agents.guarding import (
    AsyncGuard,
    Guard,
    HeedlessGuard,
    LateGuard,
    RaisingGuard,
    SlowGuard,
    TamperingGuard,
)
from agency.testing.kit import Conformance, ask, in_background, proves, request, tell

__all__ = ["AccessConformance"]


class AccessConformance(Conformance):
    """What a policy permits, and what it refuses."""

    @proves("access-2", "access-15", "ask-5")
    def test_a_denied_action_does_not_run(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Guard, "guard")
        with pytest.raises(PermissionError, match=r'"guard\.denied" not permitted') as caught:
            ask(guest, "guard", "denied")
        assert isinstance(caught.value, ActionNotPermitted)
        assert self._has_not_run("guard", guest, witness)

    @proves("access-2", "access-15")
    def test_the_sender_of_a_denied_message_gets_an_error(self, space: Space, guest: Guest) -> None:
        space.add(HeedlessGuard, "guard")
        tell(guest, "guard", "denied", id="one")
        assert guest.receive(timeout=LIMIT) == {
            "from": "guard",
            "to": "me",
            "action": {
                "name": "error",
                "args": {
                    "error": '"guard.denied" not permitted',
                    "original_message_id": "one",
                },
            },
        }

    @proves("access-3", "access-4")
    def test_what_is_permitted_runs_and_is_answered(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        for guard in (Guard, AsyncGuard):
            space.add(guard, "guard")
            message = request("guard", "requested", command="ls") | {"id": "x", "meta": {"y": 1}}
            assert guest.request(message, timeout=LIMIT) == "did ls"
            proposed = message | {"from": "me"}
            assert witness.events(2) == [["proposed", proposed], ["ran", "ls"]]
            guest.send(message)
            assert guest.receive(timeout=LIMIT)["action"] == {
                "name": "response",
                "args": {"data": "did ls", "original_message_id": "x"},
            }
            assert witness.events(2) == [["proposed", proposed], ["ran", "ls"]]
            space.remove("guard")

    @proves("access-5", "access-12", "access-15", "ask-5")
    @pytest.mark.parametrize("guard", [Guard, AsyncGuard])
    def test_what_is_refused_does_not_run(
        self, space: Space, guest: Guest, witness: Witness, guard: type[Guard]
    ) -> None:
        space.add(guard, "guard", decision=False)
        with pytest.raises(PermissionError, match=r'"guard\.requested" not permitted'):
            ask(guest, "guard", "requested", command="rm")
        assert witness.event()[0] == "proposed"
        assert self._has_not_run("guard", guest, witness)

    @proves("access-6")
    @pytest.mark.parametrize("decision", ["yes", 1, 1.0, [True], {"permitted": True}, None, 0, ""])
    def test_only_true_permits(
        self, space: Space, guest: Guest, witness: Witness, decision: Any
    ) -> None:
        space.add(Guard("guard", decision=decision))
        with pytest.raises(PermissionError):
            ask(guest, "guard", "requested", command="rm")
        assert witness.event()[0] == "proposed"
        assert self._has_not_run("guard", guest, witness)

    @proves("access-7")
    def test_without_anybody_to_ask_it_is_refused(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(HeedlessGuard, "guard")
        with pytest.raises(PermissionError):
            ask(guest, "guard", "requested", command="rm")
        assert self._has_not_run("guard", guest, witness)

    @proves("access-8")
    def test_if_asking_fails_it_is_refused(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(RaisingGuard, "guard")
        with pytest.raises(PermissionError):
            ask(guest, "guard", "requested", command="rm")
        assert self._has_not_run("guard", guest, witness)

    @proves("access-9")
    def test_without_a_decision_in_time_it_is_refused(
        self, space: Space, guest: Guest, witness: Witness, gate: Gate
    ) -> None:
        space.add(LateGuard, "guard", permission_timeout=0.05)
        with pytest.raises(PermissionError):
            ask(guest, "guard", "requested", command="rm")
        assert gate.arrival() == "permission"
        gate.open("permission")
        assert witness.event() == "decided"
        for _ in range(
            2
        ):  # a True that comes too late finds its way within this time, if there is one
            assert self._has_not_run("guard", guest, witness)

    @proves("access-10", "access-4")
    def test_waiting_for_permission_holds_up_nothing_else(
        self, space: Space, guest: Guest, witness: Witness, gate: Gate
    ) -> None:
        space.add(SlowGuard, "guard")
        answer = in_background(lambda: ask(guest, "guard", "requested", command="ls"))
        assert gate.arrival() == "permission"
        assert ask(guest, "guard", "permitted") == "done"
        gate.open("permission")
        assert answer.result(LIMIT) == "did ls"
        assert witness.event() == ["ran", "ls"]

    @proves("access-10")
    def test_several_may_wait_for_permission_at_once(
        self, space: Space, guest: Guest, witness: Witness, gate: Gate
    ) -> None:
        space.add(SlowGuard, "guard")
        for command in ("one", "two"):
            tell(guest, "guard", "requested", command=command)
        assert [gate.arrival(), gate.arrival()] == ["permission", "permission"]
        gate.open("permission")
        assert sorted(witness.events(2)) == [["ran", "one"], ["ran", "two"]]

    @proves("access-12", "access-4")
    @pytest.mark.parametrize("guard", [Guard, AsyncGuard])
    def test_of_many_calls_none_is_forgotten(
        self, space: Space, guest: Guest, witness: Witness, guard: type[Guard]
    ) -> None:
        space.add(guard, "guard")
        for number in range(100):
            command = str(number)
            assert ask(guest, "guard", "requested", command=command) == f"did {command}"
            assert [event[0] for event in witness.events(2)] == ["proposed", "ran"]

    @proves("access-11")
    def test_what_runs_is_what_was_shown(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(TamperingGuard, "guard")
        assert ask(guest, "guard", "requested", command="ls") == "did ls"
        assert witness.event() == ["ran", "ls"]

    @proves("access-13", "action-9")
    def test_nobody_is_asked_about_a_call_that_could_not_be_made(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Guard, "guard")
        with pytest.raises(InvalidArguments, match='"command"'):
            ask(guest, "guard", "requested")
        assert self._has_not_run("guard", guest, witness)

    @proves("access-14")
    def test_a_denied_broadcast_is_refused_like_any_message(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(HeedlessGuard, "guard")
        tell(guest, "*", "denied")
        refusal = guest.receive(timeout=LIMIT)
        assert refusal["action"]["args"]["error"] == '"guard.denied" not permitted'
        assert self._has_not_run("guard", guest, witness)

    def _has_not_run(self, guard: str, guest: Guest, witness: Witness) -> bool:
        """Whether the guard has nothing to report up to now."""
        ask(guest, guard, "mark")
        return bool(witness.event() == "mark")

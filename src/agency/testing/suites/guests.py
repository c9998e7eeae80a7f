"""Guests: taking part from a script, a REPL or a notebook."""

from __future__ import annotations

import pytest

from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Calculator
from agency.testing.agents.talking import Talker
from agency.testing.kit import Conformance, proves, request, tell

__all__ = ["GuestConformance"]


class GuestConformance(Conformance):
    """What `Space.join` gives."""

    @proves("guest-1", "guest-4", "ask-17")
    def test_a_guest_asks_without_a_class(self, space: Space) -> None:
        space.add(Calculator, "calc")
        me, you = space.join(), space.join()
        assert me.id != you.id
        assert me.proxy("calc").add(a=1, b=2) == 3
        assert you.proxy("calc").add(a=3, b=4) == 7

    @proves("guest-2", "guest-1", "guest-5")
    def test_a_guest_receives_in_order_what_is_said_to_it(self, space: Space, guest: Guest) -> None:
        space.add(Talker, "talker")
        for number in range(20):
            hello = request("*" if number % 2 else "me", "say", content=str(number))
            tell(guest, "talker", "tell", message=hello)
        messages = [guest.receive(timeout=LIMIT) for _ in range(20)]
        assert {message["from"] for message in messages} == {"talker"}
        contents = [message["action"]["args"]["content"] for message in messages]
        assert contents == [str(number) for number in range(20)]
        assert list(guest.received()) == []

    @proves("guest-3", "guest-5")
    def test_a_guest_waits_no_longer_than_it_said(self, guest: Guest) -> None:
        with pytest.raises(TimeoutError):
            guest.receive(timeout=0.05)

    @proves("guest-5", "reach-3")
    def test_a_guest_looks_at_what_has_arrived(self, space: Space, guest: Guest) -> None:
        other = space.join("other")
        tell(guest, "*", "say", content="one")
        tell(guest, "other", "say", content="two")
        tell(guest, "me", "say", content="three")
        assert other.receive(timeout=LIMIT)["action"]["args"]["content"] == "one"
        assert guest.receive(timeout=LIMIT)["action"]["args"]["content"] == "three"
        assert list(guest.received()) == []

"""Streams: actions that produce several values, and those who read them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agency.errors import ActionError, ActionNotFound, AgentNotFound, OutcomeUnknown
from agency.guest import Guest
from agency.space import Space
from agency.testing.agents.basics import LIMIT, Gate, Witness
from agency.testing.agents.streaming import AsyncStreamer, Streamer
from agency.testing.agents.talking import AsyncTalker
from agency.testing.kit import Conformance, ask, nothing_else_reaches, proves, request, tell

__all__ = ["StreamConformance"]

KINDS = pytest.mark.parametrize("kind", [Streamer, AsyncStreamer])


class StreamConformance(Conformance):
    """What generator actions send, and when."""

    @proves("stream-1", "stream-4")
    @KINDS
    def test_a_stream_yields_every_value_in_order(
        self, space: Space, guest: Guest, kind: type[Any]
    ) -> None:
        space.add(kind, "streamer")
        assert list(guest.stream(request("streamer", "count", to=50), timeout=LIMIT)) == [
            *range(1, 51)
        ]
        assert list(guest.stream(request("streamer", "count", to=0), timeout=LIMIT)) == []

    @proves("stream-1")
    def test_a_value_is_there_before_the_next_is_produced(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(Streamer, "streamer")
        parts = guest.stream(request("streamer", "by_doors", doors=["a", "b"]), timeout=LIMIT)
        for door in ("a", "b"):
            assert next(parts) == door
            assert gate.arrival() == door
            gate.open(door)
        assert list(parts) == []

    @proves("stream-2", "stream-4")
    @KINDS
    def test_a_sent_message_is_answered_by_each_value(
        self, space: Space, guest: Guest, kind: type[Any]
    ) -> None:
        space.add(kind, "streamer")
        tell(guest, "streamer", "count", id="one", to=3)
        for number in (1, 2, 3):
            assert guest.receive(timeout=LIMIT) == {
                "from": "streamer",
                "to": "me",
                "action": {
                    "name": "response",
                    "args": {"data": number, "original_message_id": "one"},
                },
            }
        assert nothing_else_reaches(guest, "streamer")

    @proves("stream-3", "stream-4")
    @KINDS
    def test_a_request_is_answered_by_all_values(
        self, space: Space, guest: Guest, kind: type[Any]
    ) -> None:
        space.add(kind, "streamer")
        assert ask(guest, "streamer", "count", to=3) == [1, 2, 3]
        assert ask(guest, "streamer", "count", to=0) == []

    @proves("stream-5")
    def test_a_stream_that_fails_yields_what_it_had_and_raises(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Streamer, "streamer")
        message = request("streamer", "count_and_fail", to=2) | {"id": "one"}
        parts = guest.stream(message, timeout=LIMIT)
        assert [next(parts), next(parts)] == [1, 2]
        with pytest.raises(ActionError, match="out of numbers"):
            next(parts)
        with pytest.raises(ActionError, match="out of numbers"):
            guest.request(message, timeout=LIMIT)
        guest.send(message)
        names = [guest.receive(timeout=LIMIT)["action"]["name"] for _ in range(3)]
        assert names == ["response", "response", "error"]

    @proves("stream-6", "stream-4")
    @KINDS
    def test_a_stream_that_is_left_ends(
        self, space: Space, guest: Guest, witness: Witness, kind: type[Any]
    ) -> None:
        space.add(kind, "streamer")
        parts = guest.stream(request("streamer", "endless"), timeout=LIMIT)
        assert [next(parts), next(parts)] == [1, 2]
        parts.close()
        assert witness.event() == "stopped"
        assert ask(guest, "streamer", "count", to=1) == [1]

    @proves("stream-7")
    def test_one_value_is_a_stream_of_one(self, space: Space, guest: Guest) -> None:
        space.add(Streamer, "streamer")
        assert list(guest.stream(request("streamer", "single"), timeout=LIMIT)) == ["single"]

    @proves("stream-8", "stream-6")
    def test_async_code_may_read_a_stream(
        self, space: Space, guest: Guest, witness: Witness
    ) -> None:
        space.add(Streamer, "streamer")

        async def program() -> list[int]:
            numbers = guest.astream(request("streamer", "count", to=3), timeout=LIMIT)
            read = [number async for number in numbers]
            endless = guest.astream(request("streamer", "endless"), timeout=LIMIT)
            async for number in endless:
                read.append(number)
                break
            await endless.aclose()
            return read

        assert asyncio.run(program()) == [1, 2, 3, 1]
        assert witness.event() == "stopped"

    @proves("stream-8", "stream-1")
    def test_an_async_agent_may_read_a_stream(self, space: Space, guest: Guest) -> None:
        space.add(Streamer, "streamer")
        space.add(AsyncTalker, "talker")
        message = request("streamer", "count", to=3)
        assert ask(guest, "talker", "gather", message=message) == [1, 2, 3]

    @proves("stream-10", "leave-13", "stream-6")
    @KINDS
    def test_a_stream_whose_producer_leaves_ends_with_an_error(
        self, space: Space, guest: Guest, witness: Witness, kind: type[Any]
    ) -> None:
        space.add(kind, "streamer")
        parts = guest.stream(request("streamer", "endless"), timeout=LIMIT)
        assert next(parts) == 1
        space.remove("streamer")
        with pytest.raises(OutcomeUnknown, match="left the space"):
            list(parts)
        assert witness.event() == "stopped"

    @proves("stream-11")
    @KINDS
    def test_a_stream_whose_reader_leaves_ends(
        self, space: Space, guest: Guest, witness: Witness, kind: type[Any]
    ) -> None:
        space.add(kind, "streamer")
        reader = space.join("reader")
        parts = reader.stream(request("streamer", "endless"), timeout=LIMIT)
        assert next(parts) == 1
        space.remove("reader")
        with pytest.raises(OutcomeUnknown):
            list(parts)
        assert witness.event() == "stopped"
        assert ask(guest, "streamer", "count", to=1) == [1]

    @proves("stream-9")
    def test_a_stream_that_cannot_begin_raises_what_a_request_raises(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Streamer, "streamer")
        with pytest.raises(AgentNotFound):
            next(guest.stream(request("nobody", "count"), timeout=LIMIT))
        with pytest.raises(ActionNotFound):
            next(guest.stream(request("streamer", "missing"), timeout=LIMIT))

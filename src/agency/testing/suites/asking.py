"""Requests: every one ends, with the value or with an error that says what happened."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from itertools import takewhile
from typing import Any

import pytest

from agency.errors import (
    ActionError,
    ActionNotFound,
    AgentNotFound,
    InvalidArguments,
    InvalidMessage,
    RequestTimeout,
)
from agency.guest import Guest
from agency.space import Space
from agency.spaces.native_space import NativeSpace
from agency.testing.agents.acting import BadActions
from agency.testing.agents.basics import LIMIT, Calculator, Gate, Witness
from agency.testing.agents.coming_and_going import AsyncNewcomer, Newcomer
from agency.testing.agents.guarding import AskingGuard, Console
from agency.testing.agents.talking import AsyncTalker, Gateway, Talker, Worker
from agency.testing.kit import (
    Conformance,
    ask,
    dead_letters_of,
    in_background,
    nothing_else_reaches,
    proves,
    request,
    tell,
)

__all__ = ["AskConformance"]


class AskConformance(Conformance):
    """How a request ends."""

    @proves("ask-1", "ask-2", "ask-19")
    def test_a_request_returns_the_value_to_the_one_who_waits_only(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "calc")
        assert ask(guest, "calc", "add", a=1, b=2) == 3
        assert ask(guest, "calc", "nothing") is None
        with pytest.raises(ActionNotFound):
            ask(guest, "calc", "missing")
        assert nothing_else_reaches(guest, "calc")

    @proves("ask-3", "ask-4", "ask-6")
    def test_a_failed_request_says_what_failed(self, space: Space, guest: Guest) -> None:
        space.add(BadActions, "bad")
        with pytest.raises(ActionError) as raised:
            ask(guest, "bad", "fail", text="no such file")
        assert type(raised.value) is ActionError
        assert raised.value.message == str(raised.value) == "ValueError: no such file"
        with pytest.raises(ActionNotFound) as not_found:
            ask(guest, "bad", "missing")
        assert not_found.value.message == '"missing" not found on "bad"'
        with pytest.raises(InvalidArguments):
            ask(guest, "bad", "fail")

    @proves("ask-7")
    def test_nobody_is_not_found_at_once(self, space: Space, guest: Guest) -> None:
        with pytest.raises(AgentNotFound, match='"nobody"'):
            guest.request(request("nobody", "say"), timeout=None)
        space.add(Talker, "talker")
        answer = ask(guest, "talker", "ask", message=request("nobody", "say"))
        assert answer[0] == "AgentNotFound"
        assert '"nobody"' in answer[1]

    @proves("ask-7", "leave-3")
    def test_an_agent_that_has_left_is_not_found(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        assert ask(guest, "calc", "count") == 1
        space.remove("calc")
        with pytest.raises(AgentNotFound, match='"calc"'):
            ask(guest, "calc", "count")

    @proves("ask-8", "ask-9")
    def test_an_answer_that_comes_too_late_answers_nothing_else(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(Worker, "worker")
        lost = dead_letters_of(space)
        late = request("worker", "meet", door="slow") | {"id": "the same"}
        with pytest.raises(RequestTimeout) as raised:
            guest.request(late, timeout=0.2)
        assert isinstance(raised.value, TimeoutError)
        assert '"worker"' in str(raised.value)
        assert gate.arrival() == "slow"
        waiting = in_background(
            lambda: guest.request(request("worker", "ping") | {"id": "the same"}, timeout=LIMIT)
        )
        gate.open("slow")
        assert waiting.result(LIMIT) == "pong"
        assert lost() == "late_answer"
        assert nothing_else_reaches(guest, "worker")

    @proves("ask-1", "ask-9")
    def test_a_request_that_is_answered_again_has_ended_and_no_other_ends_by_that(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Worker, "worker")
        for number in range(20):
            message = request("worker", "answer_often") | {"id": f"{number}"}
            answers = {f"{number} {which}" for which in ("first", "second", "third")}
            assert guest.request(message, timeout=LIMIT) in answers
        assert ask(guest, "worker", "ping") == "pong"

    @proves("ask-20")
    def test_what_has_timed_out_before_its_turn_is_not_begun(
        self, space: Space, guest: Guest, gate: Gate, witness: Witness
    ) -> None:
        # A deadline crosses a network as the time that is left, so what is underway for long has
        # as much longer. However slow it is, there is a delay after which nothing is begun.
        space.add(Worker, "worker")
        for delay in (0.0, 0.1, 0.5, 3.0):
            blocked = in_background(partial(ask, guest, "worker", "meet", door=f"{delay}"))
            assert gate.arrival() == f"{delay}"
            with pytest.raises(RequestTimeout):
                guest.request(request("worker", "work", number=1), timeout=0.05)
            assert not threading.Event().wait(delay)
            gate.open(f"{delay}")
            assert blocked.result(LIMIT) is None
            ask(guest, "worker", "work", number=2)
            events = list(
                takewhile(lambda event: event != ["end", "me", 2], iter(witness.event, None))
            )
            if ["begin", "me", 1] not in events:
                return
        pytest.fail("a message that had timed out was begun")

    @proves("ask-10")
    def test_an_answer_counts_only_from_the_agent_that_was_asked(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(Worker, "worker")
        space.add(Talker, "liar")
        message = request("worker", "meet", door="closed") | {"id": "guessed"}
        answer = in_background(lambda: guest.request(message, timeout=LIMIT))
        assert gate.arrival() == "closed"
        for name, args in {"response": {"data": "a lie"}, "error": {"error": "a lie"}}.items():
            lie = request("me", name, original_message_id="guessed", **args)
            tell(guest, "liar", "tell", message=lie)
            assert guest.receive(timeout=LIMIT)["from"] == "liar"
        assert not answer.done()
        gate.open("closed")
        assert answer.result(LIMIT) == "guessed"

    @proves("ask-11")
    @pytest.mark.parametrize("asker", [Talker, AsyncTalker])
    def test_an_action_may_wait_for_an_answer(
        self, space: Space, guest: Guest, asker: type[Any]
    ) -> None:
        space.add(Calculator, "calc")
        space.add(asker, "far")
        space.add(asker("near"))
        for agent_id in ("far", "near"):
            assert ask(guest, agent_id, "ask", message=request("calc", "add", a=1, b=2)) == 3

    @proves("ask-12")
    @pytest.mark.parametrize("kinds", [(Talker, Talker), (Talker, AsyncTalker)])
    def test_two_agents_that_wait_for_each_other_are_told_so(
        self, space: Space, guest: Guest, kinds: tuple[type[Any], type[Any]]
    ) -> None:
        space.add(kinds[0], "a")
        space.add(kinds[1], "b")
        back = request("a", "ask", message=request("b", "help"))
        answer = ask(guest, "a", "ask", message=request("b", "ask", message=back))
        assert answer[0] == "DeadlockError"
        assert "a → b → a" in answer[1]

    @proves("ask-13")
    def test_three_agents_that_wait_in_a_ring_are_told_so(self, space: Space, guest: Guest) -> None:
        space.add(Talker, "a")
        space.add(Talker("b"))
        space.add(Talker, "c")
        ring = request("a", "help")
        for agent_id in ("c", "b", "a"):
            ring = request(agent_id, "pass_on", message=ring)
        with pytest.raises(ActionError, match="a → b → c → a"):
            guest.request(ring, timeout=LIMIT)

    @proves("ask-14")
    @pytest.mark.parametrize("kind", [Talker, AsyncTalker])
    def test_an_agent_that_waits_for_itself_is_told_so(
        self, space: Space, guest: Guest, kind: type[Any]
    ) -> None:
        space.add(kind, "a")
        answer = ask(guest, "a", "ask", message=request("a", "help"))
        assert answer[0] == "DeadlockError"
        assert "a → a" in answer[1]
        assert ask(guest, "a", "help", action_name="ask")

    @proves("ask-21")
    @pytest.mark.parametrize("kind", [Worker, AsyncTalker])
    def test_an_agent_with_room_for_it_may_ask_itself(
        self, space: Space, guest: Guest, kind: type[Any]
    ) -> None:
        space.add(kind, "a", concurrency=2)
        answer = ask(guest, "a", "ask", message=request("a", "help", action_name="ask"))
        assert answer["ask"]["args"]["message"]["type"] == "object"

    @proves("ask-25", "ask-12")
    @pytest.mark.parametrize("kind", [Newcomer, AsyncNewcomer])
    @pytest.mark.parametrize("concurrency", [1, 2])
    def test_an_agent_that_sets_itself_up_cannot_be_asked_because_of_that(
        self, space: Space, witness: Witness, kind: type[Any], concurrency: int
    ) -> None:
        space.add(Talker, "host")
        space.add(kind, "newcomer", concurrency=concurrency)
        error, text = witness.event()
        assert error == "DeadlockError"
        assert "newcomer → host → newcomer" in text

    @proves("ask-26")
    def test_a_timeout_is_checked_before_anything_is_sent(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        message = request("calc", "count")
        wrong: dict[Any, type[Exception]] = {"5": TypeError, float("nan"): ValueError}
        for timeout, error in wrong.items():
            with pytest.raises(error, match="timeout"):
                guest.request(message, timeout=timeout)
            with pytest.raises(error, match="timeout"):
                asyncio.run(guest.arequest(message, timeout=timeout))
            with pytest.raises(error, match="timeout"):
                guest.stream(message, timeout=timeout)
            with pytest.raises(error, match="timeout"):
                guest.receive(timeout=timeout)
        for count, timeout in enumerate((float("inf"), 1e10, 1e300), start=1):
            assert guest.request(message, timeout=timeout) == 3 * count - 2
            assert asyncio.run(guest.arequest(message, timeout=timeout)) == 3 * count - 1
            assert list(guest.stream(message, timeout=timeout)) == [3 * count]

    @proves("ask-23")
    def test_agents_of_one_id_in_two_spaces_are_told_apart(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Calculator, "host")
        with NativeSpace() as elsewhere:
            elsewhere.add(Gateway("host", guest))
            asked = request("host", "count")
            assert ask(elsewhere.join(), "host", "pass_on", message=asked) == 1

    @proves("ask-24", "access-3")
    def test_whoever_is_asked_for_permission_may_ask_back(self, space: Space, guest: Guest) -> None:
        space.add(AskingGuard, "guard")
        space.add(Console, "console")
        assert ask(guest, "guard", "requested", command="ls") == "did ls"

    @proves("ask-15")
    def test_async_code_may_ask(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        space.add(BadActions, "bad")

        async def program() -> list[int]:
            with pytest.raises(ActionError, match="ValueError: no"):
                await guest.arequest(request("bad", "fail", text="no"), timeout=LIMIT)
            with pytest.raises(AgentNotFound):
                await guest.arequest(request("nobody", "say"), timeout=LIMIT)
            with pytest.raises(InvalidMessage):
                await guest.arequest(request("*", "say"), timeout=LIMIT)
            sums = (
                guest.arequest(request("calc", "add", a=number, b=1), timeout=LIMIT)
                for number in range(10)
            )
            answers: list[int] = await asyncio.gather(*sums)
            return answers

        assert asyncio.run(program()) == list(range(1, 11))

    @proves("ask-15", "ask-8")
    def test_async_code_waits_no_longer_than_it_said(
        self, space: Space, guest: Guest, gate: Gate
    ) -> None:
        space.add(Worker, "worker")
        message = request("worker", "meet", door="closed")
        with pytest.raises(RequestTimeout):
            asyncio.run(guest.arequest(message, timeout=0.05))
        gate.open_all()

    @proves("ask-16")
    def test_simultaneous_requests_get_their_own_answers(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        space.add(Talker, "talker", concurrency=8)
        sums = {
            number: in_background(
                lambda number=number: ask(  # type: ignore[misc]
                    guest, "talker", "ask", message=request("calc", "add", a=number, b=number)
                )
            )
            for number in range(32)
        }
        assert {number: answer.result(LIMIT) for number, answer in sums.items()} == {
            number: 2 * number for number in range(32)
        }

    @proves("ask-17")
    def test_a_proxy_asks(self, space: Space, guest: Guest) -> None:
        space.add(Calculator, "calc")
        calc = guest.proxy("calc", timeout=LIMIT)
        assert calc.add(a=1, b=2) == 3
        assert calc["add"](a=1, b=2) == 3
        assert asyncio.run(calc.add.arequest(a=1, b=2)) == 3
        assert list(calc.add.stream(a=1, b=2)) == [3]
        calc.add.send(a=1, b=2)
        assert guest.receive(timeout=LIMIT)["action"]["args"]["data"] == 3
        with pytest.raises(InvalidArguments, match='"b"'):
            calc.add(a=1)
        with pytest.raises(ActionNotFound):
            calc["no such action"]()

    @proves("ask-18")
    def test_everybody_cannot_be_asked(self, guest: Guest) -> None:
        with pytest.raises(ValueError, match=r"^to: "):
            ask(guest, "*", "help")
        with pytest.raises(ValueError, match=r"^to: "):
            guest.stream(request("*", "help"), timeout=LIMIT)

    @proves("ask-22")
    def test_a_failed_request_inside_an_action_is_that_actions_error(
        self, space: Space, guest: Guest
    ) -> None:
        space.add(Talker, "talker")
        space.add(BadActions, "bad")
        for message, text in (
            (request("bad", "fail", text="deep down"), "ValueError: deep down"),
            (request("bad", "missing"), '"missing" not found on "bad"'),
            (request("nobody", "say"), '"nobody"'),
        ):
            with pytest.raises(ActionError, match=text) as raised:
                ask(guest, "talker", "pass_on", message=message)
            assert type(raised.value) is ActionError

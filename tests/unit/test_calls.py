"""Open calls: which answer belongs to whom, and how waiting for it ends."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from agency.calls import AsyncCall, OpenCalls, ThreadCall, ends, value_of
from agency.envelope import Envelope, Kind
from agency.errors import ActionNotFound, Failure, OutcomeUnknown, RequestTimeout

LIMIT = 5.0


def answer(
    data: Any = None,
    *,
    sender: str = "calc",
    to: str | None = "question",
    original: str | None = None,
    kind: Kind = Kind.ANSWER,
    name: str = "response",
) -> Envelope:
    args = {"data": data, "original_message_id": original}
    message = {"from": sender, "to": "me", "action": {"name": name, "args": args}}
    return Envelope.of(message, "answer", kind, correlation_id=to)  # type: ignore[arg-type]


def refusal(failure: Failure, text: str) -> Envelope:
    args = {"error": text, "original_message_id": None}
    message = {"from": "calc", "to": "me", "action": {"name": "error", "args": args}}
    return Envelope.of(message, "answer", Kind.ANSWER, "question", failure)  # type: ignore[arg-type]


@pytest.fixture
def calls() -> OpenCalls:
    return OpenCalls()


@pytest.fixture
def call(calls: OpenCalls) -> ThreadCall:
    """An open call to `calc`, asked by the envelope `question` with a message that has the id `one`."""
    call = ThreadCall("calc", "one")
    calls.open("question", call)
    return call


def test_an_answer_reaches_the_call_it_belongs_to(calls: OpenCalls, call: ThreadCall) -> None:
    other = ThreadCall("calc", None)
    calls.open("other question", other)
    assert calls.offer(answer(2, to="other question"))
    assert calls.offer(answer(1))
    assert value_of(call.take(LIMIT)) == 1
    assert value_of(other.take(LIMIT)) == 2


def test_an_answer_from_somebody_else_does_not_count(calls: OpenCalls, call: ThreadCall) -> None:
    assert not calls.offer(answer("a lie", sender="liar"))
    assert not calls.offer(answer("a lie", sender="liar", to=None, original="one", kind=Kind.TELL))
    assert calls.offer(answer("the truth"))
    assert value_of(call.take(LIMIT)) == "the truth"


def test_an_answer_to_another_question_does_not_count(calls: OpenCalls, call: ThreadCall) -> None:
    assert not calls.offer(answer(to="an earlier question"))
    assert not calls.offer(answer(to=None, original="another", kind=Kind.TELL))
    assert not calls.offer(answer(to=None, original=None, kind=Kind.TELL))
    with pytest.raises(RequestTimeout):
        call.take(0)


def test_a_member_without_envelopes_answers_by_the_messages_id(
    calls: OpenCalls, call: ThreadCall
) -> None:
    assert not calls.offer(answer(to=None, original="one", kind=Kind.TELL, name="say"))
    assert calls.offer(answer(3, to=None, original="one", kind=Kind.TELL))
    assert value_of(call.take(LIMIT)) == 3


@pytest.mark.usefixtures("call")
def test_a_closed_call_takes_no_answers(calls: OpenCalls) -> None:
    assert calls
    calls.close("question")
    calls.close("question")
    assert not calls
    assert not calls.offer(answer())


def test_nothing_is_left_of_calls_that_timed_out(calls: OpenCalls) -> None:
    for number in range(100):
        call = ThreadCall("calc", None)
        calls.open(str(number), call)
        with pytest.raises(RequestTimeout, match="within 0 seconds"):
            call.take(0)
        calls.close(str(number))
    assert not calls


def test_a_refusal_is_raised_where_somebody_waits(calls: OpenCalls, call: ThreadCall) -> None:
    calls.offer(refusal(Failure.NOT_FOUND, '"x" not found on "calc"'))
    with pytest.raises(ActionNotFound, match=r'^"x" not found on "calc"$'):
        call.take(LIMIT)


def test_parts_arrive_in_order_until_the_end(calls: OpenCalls, call: ThreadCall) -> None:
    for number in range(3):
        calls.offer(answer(number, kind=Kind.PART))
    calls.offer(answer())
    arrived = [call.take(LIMIT) for _ in range(4)]
    assert [value_of(envelope) for envelope in arrived] == [0, 1, 2, None]
    assert [ends(envelope) for envelope in arrived] == [False, False, False, True]


def test_a_thread_that_waits_is_woken_by_another(calls: OpenCalls, call: ThreadCall) -> None:
    answering = threading.Thread(target=lambda: calls.offer(answer(1)))
    answering.start()
    assert value_of(call.take(LIMIT)) == 1
    answering.join(LIMIT)


def test_every_part_reaches_a_thread_that_takes_them_as_they_come(
    calls: OpenCalls, call: ThreadCall
) -> None:
    def produce() -> None:
        for number in range(1000):
            calls.offer(answer(number, kind=Kind.PART))

    producing = threading.Thread(target=produce)
    producing.start()
    assert [value_of(call.take(LIMIT)) for _ in range(1000)] == list(range(1000))
    producing.join(LIMIT)


def test_whoever_waits_when_all_fails_is_told(calls: OpenCalls, call: ThreadCall) -> None:
    calls.close_all(OutcomeUnknown("the agent left"))
    later = ThreadCall("calc", None)
    calls.open("asked later", later)
    for waiting in (call, later):
        with pytest.raises(OutcomeUnknown, match="the agent left"):
            waiting.take(LIMIT)


def test_who_loses_contact_with_all_but_some_is_told_who_waits_for_the_others(
    calls: OpenCalls, call: ThreadCall
) -> None:
    other = ThreadCall("other", None)
    calls.open("other question", other)
    calls.fail(OutcomeUnknown("calc died"), {"other"})
    with pytest.raises(OutcomeUnknown, match="calc died"):
        call.take(LIMIT)
    calls.offer(answer(1, sender="other", to="other question"))
    assert value_of(other.take(LIMIT)) == 1


def test_a_task_waits_for_an_answer_from_a_thread(calls: OpenCalls) -> None:
    async def program() -> Any:
        call = AsyncCall("calc", None, calls.bell(asyncio.get_running_loop()))
        calls.open("question", call)
        await asyncio.to_thread(calls.offer, answer(1))
        return value_of(await call.take(LIMIT))

    assert asyncio.run(program()) == 1


def test_a_task_is_told_of_refusals_and_timeouts(calls: OpenCalls) -> None:
    async def program() -> None:
        call = AsyncCall("calc", None, calls.bell(asyncio.get_running_loop()))
        calls.open("question", call)
        with pytest.raises(RequestTimeout, match='"calc"'):
            await call.take(0)
        calls.offer(refusal(Failure.NOT_FOUND, "not there"))
        with pytest.raises(ActionNotFound, match="not there"):
            await call.take(LIMIT)

    asyncio.run(program())


def test_an_answer_to_a_loop_that_is_gone_is_dropped(calls: OpenCalls) -> None:
    async def program() -> None:
        calls.open("question", AsyncCall("calc", None, calls.bell(asyncio.get_running_loop())))

    asyncio.run(program())
    assert calls.offer(answer())

"""Whose word lets Host act: only that of the person who was asked, for what they were asked, in time."""

from __future__ import annotations

import html
import itertools
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import pytest

from agency import ActionNotPermitted, Agent, NativeSpace, Space, action
from agents.host import Host
from apps.approvals import MOST, Approvals
from apps.rendering import Question
from apps.screen import Screen
from apps.user import GradioUser
from tests.faults.tools import begin, eventually

PATIENCE = 10.0  # seconds

ECHO = {"to": "Host", "action": {"name": "shell_command", "args": {"command": "echo done"}}}


class Person(Agent):
    """Decides as told, and remembers what it was asked."""

    def __init__(self, id: str, answer: Any) -> None:
        super().__init__(id)
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    @action
    def approve(self, proposed_message: dict[str, Any], place: str, timeout: float) -> Any:
        self.asked.append(proposed_message)
        return self.answer


def ask(space: Space, command: str = "echo done") -> Any:
    return space.join().proxy("Host", timeout=PATIENCE).shell_command(command=command)


def test_host_asks_its_approver_with_the_whole_message() -> None:
    with NativeSpace() as space:
        person = space.add(Person("Boss", answer=True))
        space.add(Host, "Host", approver="Boss")
        me = space.join("me")
        assert me.request({"id": "1", "meta": {"why": "test"}, **ECHO}) == "done\n"
    assert person.asked == [{"id": "1", "meta": {"why": "test"}, "from": "me", **ECHO}]


@pytest.mark.parametrize("answer", [False, None, 1, "yes", "true", {"approved": True}])
def test_only_true_is_a_permission(answer: Any) -> None:
    with NativeSpace() as space:
        space.add(Person("Boss", answer))
        space.add(Host, "Host", approver="Boss")
        with pytest.raises(ActionNotPermitted):
            ask(space)


def test_without_the_approver_everything_is_refused() -> None:
    with NativeSpace() as space:
        space.add(Host, "Host", approver="Boss")
        with pytest.raises(ActionNotPermitted):
            ask(space)


def test_nobody_else_can_answer_for_the_approver() -> None:
    with NativeSpace() as space:
        asked, end = threading.Event(), threading.Event()

        class SlowPerson(Agent):
            @action
            def approve(self, proposed_message: dict[str, Any], place: str, timeout: float) -> bool:
                asked.set()
                end.wait(PATIENCE)
                return False

        space.add(SlowPerson("Boss"))
        space.add(Host, "Host", approver="Boss")
        me, mallory = space.join("me"), space.join("Mallory")
        me.send({"id": "the question", **ECHO})
        assert asked.wait(PATIENCE)
        for guess in [None, "the question"]:
            args = {"data": True, "original_message_id": guess}
            mallory.send({"to": "Host", "action": {"name": "response", "args": args}})
        end.set()
        assert me.receive()["action"]["name"] == "error"


# The page's side of it


def question(deadline: float | None = None) -> Question:
    until = time.monotonic() + PATIENCE if deadline is None else deadline
    return Question("Host", {"from": "me", **ECHO}, "/", until)


def nonce_on(screen: Screen) -> str:
    return screen.view.question.partition('data-nonce="')[2].partition('"')[0]


def test_a_press_answers_the_question_it_belongs_to_and_only_once() -> None:
    screen = Screen()
    approvals = Approvals(screen)
    with approvals.question(question()) as first:
        nonce = nonce_on(screen)
        with approvals.question(question()) as second:
            assert nonce_on(screen) == nonce, "the one that has waited longest is shown"
            assert approvals.answer(nonce, approved=True) is not None
            assert approvals.answer(nonce, approved=False) is None
            assert first.result(0) is True
            assert not second.done()
            assert nonce_on(screen) not in {nonce, ""}
    assert screen.view.question == ""


def test_a_guess_or_a_press_that_comes_too_late_answers_nothing() -> None:
    screen = Screen()
    approvals = Approvals(screen)
    with approvals.question(question(deadline=time.monotonic() - 1)) as answer:
        assert approvals.answer("", approved=True) is None
        assert approvals.answer("0" * 32, approved=True) is None
        assert approvals.answer(nonce_on(screen), approved=True) is None
        assert not answer.done()


def test_all_of_a_message_is_shown_however_long_it_is() -> None:
    screen = Screen()
    command = "a" * 100_000 + "<b>{{the end}}"
    message = {
        "id": "7",
        "meta": {"why": ["because"]},
        "from": "me",
        "to": "Host",
        "action": {"name": "shell_command", "args": {"command": command}},
    }
    asked = Question("Host", message, "/", time.monotonic() + PATIENCE)
    with Approvals(screen).question(asked):
        shown = html.unescape(screen.view.question)
    assert f'/Host.shell_command command:"{command}"' in shown
    assert 'with id "7"\nwith meta {"why": ["because"]}' in shown
    assert "characters: make sure that you have seen the end" in shown


def ask_page(space: Space, timeout: float) -> Future[Any]:
    """Ask the person at the page for approval; the future is the answer."""
    me = space.join()
    message = {"from": "you", **ECHO, "to": me.id}
    person = me.proxy("User", timeout=PATIENCE)
    return begin(lambda: person.approve(proposed_message=message, timeout=timeout))


@pytest.mark.parametrize("hour", [3600, -3600])
def test_a_clock_that_jumps_shortens_and_prolongs_no_question(
    monkeypatch: pytest.MonkeyPatch, hour: int
) -> None:
    real, jumps = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: real() + hour * next(jumps))
    screen = Screen()
    with NativeSpace() as space:
        user = space.add(GradioUser("User", screen))
        answer = ask_page(space, PATIENCE)
        eventually(lambda: nonce_on(screen) != "")
        user.press(nonce_on(screen), approved=True)
        assert answer.result(PATIENCE) is True
        with pytest.raises(ActionNotPermitted):
            ask_page(space, 0.2).result(PATIENCE)


def test_who_asks_too_much_is_refused() -> None:
    approvals = Approvals(Screen())
    with ExitStack() as asked:
        answers = [asked.enter_context(approvals.question(question())) for _ in range(MOST + 1)]
        assert [answer.done() for answer in answers] == [False] * MOST + [True]
        assert answers[-1].result(0) is False


def test_the_page_needs_a_person_for_approve_and_tempts_no_model_with_it() -> None:
    with NativeSpace() as space:
        space.add(GradioUser("User", Screen()))
        me = space.join("me")
        assert list(me.proxy("User").help()) == ["say"]
        assert list(me.proxy("User").help(format="json_schema")) == ["say"]
        with pytest.raises(ActionNotPermitted):
            me.proxy("User").approve(
                proposed_message={"from": "you", **ECHO, "to": "me"}, timeout=0.2
            )


@pytest.mark.parametrize(
    "proposed",
    [
        {},
        {"to": "Host"},
        {"to": 1, "from": "me", "action": {"name": None}},
        {"to": "me", "from": "me", "action": 7},
        {"to": "me", "action": {"name": "no sender"}},
        {"from": "me", **ECHO},
    ],
)
def test_what_is_no_message_to_the_one_who_asks_cannot_be_approved(
    proposed: dict[str, Any],
) -> None:
    screen = Screen()
    with NativeSpace() as space:
        space.add(GradioUser("User", screen))
        with pytest.raises(ActionNotPermitted):
            space.join("me").proxy("User").approve(proposed_message=proposed)
    assert screen.view.question == ""

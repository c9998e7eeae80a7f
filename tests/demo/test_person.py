"""The person at the page as an agent, without a browser: what is on their screen, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from agency import Agent, NativeSpace, action
from apps.screen import Screen, View
from apps.user import GradioUser

PATIENCE = 30.0  # seconds


@pytest.fixture(autouse=True)
def _wonders_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.user._WONDER", 0.0)


class Slow(Agent):
    """Answers when it is let."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.may_answer = threading.Event()

    @action
    def work(self) -> str:
        assert self.may_answer.wait(PATIENCE)
        return "done"

    @action
    def note(self) -> None:
        assert self.may_answer.wait(PATIENCE)


class Person:
    """A person at a page that nobody has opened."""

    def __init__(self, space: NativeSpace) -> None:
        self._screen = Screen()
        self._user = space.add(GradioUser("User", self._screen))

    def type(self, text: str) -> None:
        self._user.type(text)

    def sees(self, is_so: Callable[[View], bool]) -> View:
        """Wait until the screen is so."""

        async def watch() -> View:
            async with asyncio.timeout(PATIENCE):
                async for view in self._screen.follow():
                    if is_so(view):
                        return view
            raise AssertionError("the screen has ended")

        return asyncio.run(watch())


def has(text: str) -> Callable[[View], bool]:
    return lambda view: any(text in message["content"] for message in view.conversation)


def test_an_answer_that_is_not_there_yet_is_missed_until_it_comes() -> None:
    with NativeSpace() as space:
        slow, person = space.add(Slow("Slow")), Person(space)
        person.sees(lambda view: "Slow" in view.present)
        person.type("/Slow.work")
        view = person.sees(has("No answer from Slow yet"))
        assert has("waits for somebody's approval")(view)
        slow.may_answer.set()
        view = person.sees(has("done"))
        assert not has("No answer")(view)


def test_whoever_writes_to_nobody_is_told_so() -> None:
    with NativeSpace() as space:
        person = Person(space)
        person.type("/Nobody.work")
        person.sees(has("Nobody in this space has that id"))


def test_no_answer_is_missed_where_none_is_to_be_expected() -> None:
    with NativeSpace() as space:
        slow, person = space.add(Slow("Slow")), Person(space)
        person.sees(lambda view: "Slow" in view.present)
        person.type("/Slow.note")
        person.type("Hello")
        person.type("/Slow.work")
        view = person.sees(has("No answer from Slow yet"))
        missed = [one["content"] for one in view.conversation if "No answer" in one["content"]]
        slow.may_answer.set()
    assert len(missed) == 1
    assert "/Slow.work" in missed[0]


def test_only_who_was_asked_can_answer() -> None:
    with NativeSpace() as space:
        slow, person, mallory = space.add(Slow("Slow")), Person(space), space.join("Mallory")
        person.sees(lambda view: "Slow" in view.present)
        person.type("/Slow.work")
        person.sees(has("No answer from Slow yet"))
        for guess in ["User 1", ["User 1"], 1]:
            args = {"data": f"forged {guess}", "original_message_id": guess}
            mallory.send({"to": "User", "action": {"name": "response", "args": args}})
        args = {"data": "the last", "original_message_id": None}
        mallory.send({"to": "User", "action": {"name": "response", "args": args}})
        view = person.sees(has("the last"))
        assert has("No answer from Slow yet")(view)
        assert not has("answers /Slow.work")(view)
        slow.may_answer.set()
        person.sees(has("answers /Slow.work"))

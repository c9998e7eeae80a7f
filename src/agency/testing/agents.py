"""The agents of the conformance suite.

They live in a module that can be imported, because a space may build agents in other processes. A
test therefore knows of them only what messages tell: an agent reports what happens to it to the
`Witness`, and blocks at the `Gate`; these two live in the process of the test. Above:
`agency.testing.suites`. Below: `agency.testing.bad_messages`.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from agency.access import ACCESS_DENIED, ACCESS_REQUESTED
from agency.actions import action
from agency.agent import Agent, current_message, current_redelivered, current_senders
from agency.errors import RequestError
from agency.schema import MAX_DEPTH, MAX_MESSAGE_BYTES
from agency.space import Space
from agency.testing.bad_messages import verdicts

__all__ = [
    "LIMIT",
    "Alias",
    "AskingGuard",
    "AsyncEarlyLeaver",
    "AsyncGuard",
    "AsyncNewcomer",
    "AsyncSelfRemover",
    "AsyncStreamer",
    "AsyncTalker",
    "AsyncWatched",
    "BadActions",
    "Calculator",
    "Console",
    "Crier",
    "Disguised",
    "EarlyLeaver",
    "Echoing",
    "Gate",
    "Gateway",
    "Guard",
    "Halter",
    "Heap",
    "HeedlessGuard",
    "Leaver",
    "Namesake",
    "Newcomer",
    "Note",
    "Patient",
    "RaisingGuard",
    "SelfRemover",
    "SlowGuard",
    "Speaker",
    "Streamer",
    "Talker",
    "TamperingGuard",
    "TouchyTalker",
    "Vandal",
    "Visitor",
    "Watched",
    "Witness",
    "Worker",
]

LIMIT: Final = 20.0
"""Seconds that a test waits for something that is to happen at once. Only a broken promise uses them up."""


class Note(NamedTuple):
    """What an agent reported to the witness."""

    by: str
    event: Any


class Witness(Agent):
    """Keeps what agents report, each reporter's notes in order. Lives in the process of the test."""

    def __init__(self, id: str = "witness") -> None:
        super().__init__(id, receive_own_broadcasts=False)
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()

    @action
    def note(self, event: Any) -> None:
        """Keep the event."""
        message = self._current_message
        if message is not None:
            self._notes.put(Note(message["from"], event))

    def next(self) -> Note:
        """Wait for the next note."""
        return self._notes.get(timeout=LIMIT)

    def event(self) -> Any:
        """Wait for the next note and return what it says."""
        return self.next().event

    def events(self, count: int) -> list[Any]:
        """Wait for that many notes and return what they say."""
        return [self.event() for _ in range(count)]


class Gate(Agent):
    """Agents wait here until the test lets them through. Lives in the process of the test."""

    def __init__(self, id: str = "gate") -> None:
        super().__init__(id, concurrency=64)
        self._doors: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._arrivals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._all_open = False

    @action
    def wait(self, door: str) -> str:
        """Return the name of the door once it is open."""
        with self._lock:
            event = self._doors[door]
            if self._all_open:
                event.set()
        self._arrivals.put(door)
        event.wait()
        return door

    def arrival(self) -> str:
        """Wait until an agent stands at a door, and return which."""
        return self._arrivals.get(timeout=LIMIT)

    def open(self, door: str) -> None:
        """Let everybody through this door, now and later."""
        with self._lock:
            self._doors[door].set()

    def open_all(self) -> None:
        """Let everybody through every door, now and later."""
        with self._lock:
            self._all_open = True
            for event in self._doors.values():
                event.set()


class Speaker(Agent):
    """What the other agents here have in common: they report to the witness and can wait at the gate."""

    def __init__(self, id: str, *, witness: str = "witness", **options: Any) -> None:
        super().__init__(id, **options)
        self._witness = witness

    def report(self, event: Any) -> None:
        """Tell the witness."""
        self.send({"to": self._witness, "action": {"name": "note", "args": {"event": event}}})

    def wait_at(self, door: str) -> str:
        """Block until the test opens the door."""
        passed = self.request(_to("gate", "wait", door=door), timeout=2 * LIMIT)
        return str(passed)


class Calculator(Agent):
    """Sums, and a few other values to return."""

    def __init__(self, id: str, start: int = 0, step: int = 1, *, name: str = "") -> None:
        super().__init__(id)
        self._count = start
        self._step = step
        self._name = name

    @action
    def add(self, a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a (int): The first number
            b (int): The second number

        Returns:
            int: Their sum
        """
        return a + b

    @action
    def divide(self, a: float, b: float = 2.0) -> float:
        """Divide two numbers."""
        return a / b

    @action
    def count(self) -> int:
        """Count the calls."""
        self._count += self._step
        return self._count

    @action
    def named(self) -> str:
        """Tell the name that the constructor got."""
        return self._name

    @action()
    def same(self, value: Any) -> Any:
        """Return the value."""
        return value

    @action
    def whole(self, **_anything: Any) -> Any:
        """Return the message that is being handled."""
        return self._current_message

    @action
    def given(self, **anything: Any) -> Any:
        """Return the arguments."""
        return anything

    @action
    def nothing(self) -> None:
        """Return nothing."""

    def secret(self) -> str:
        """Not an action."""
        return "secret"


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class BadActions(Agent):
    """Actions that go wrong."""

    @action
    def fail(self, text: str) -> None:
        """Raise."""
        raise ValueError(text)

    @action
    def leave(self) -> None:
        """Raise what would end a program."""
        raise SystemExit("leaving")

    @action
    def interrupt(self) -> None:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    @action
    def forbid(self) -> None:
        """Raise Python's own error for what is not permitted."""
        raise PermissionError("not yours")

    @action
    def speechless(self) -> None:
        """Raise what cannot even be shown."""
        raise _SpeechlessError

    @action
    def breaks_off(self) -> Any:
        """Return what raises when it is looked at."""
        return (1 // number for number in (1, 0))

    @action
    def ends_when_read(self) -> Any:
        """Return what would end a program when it is looked at."""
        return (sys.exit(3) for _ in "x")

    @action
    def unsendable(self) -> Any:
        """Return what no message can hold."""
        return object()

    @action
    def too_large(self) -> Any:
        """Return more than a message can hold."""
        return "x" * MAX_MESSAGE_BYTES

    @action
    def without_end(self) -> Any:
        """Return lists that share lists: little in memory, and much too large as JSON."""
        value: list[Any] = ["x" * 1000]
        for _ in range(MAX_DEPTH - 4):
            value = [value, value]
        return value

    @action
    def beyond_json(self) -> Any:
        """Return what has a plain equivalent in JSON."""
        return {"path": Path("a") / "b", "pair": (1, 2)}

    @action
    def ping(self) -> str:
        """Show that the agent lives on."""
        return "pong"


def _undeclared(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that does not say what it decorates."""

    def decorated(self: Any) -> Any:
        return function(self)

    return decorated


def _declared(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that says so."""
    return functools.wraps(function)(_undeclared(function))


class Disguised(Agent):
    """Has an `async` action that looks like any other."""

    @action
    @_declared
    async def work(self) -> str:
        """Work."""
        await asyncio.sleep(0)
        return "worked"


class Alias(Agent):
    """Has actions whose functions have other names than the class has for them."""

    @action
    @_undeclared
    def say(self) -> str:
        """Say something."""
        return "say"

    tell = action(lambda _: "tell")

    @action
    def __hide(self) -> str:
        """Be the class's own, and an action all the same."""
        return "hide"


class Talker(Speaker):
    """Says what the test tells it to say, and reports every `say`, `response` and `error` that reaches it."""

    @action
    def say(self, content: Any = None) -> None:
        """Report it."""
        self.report(self._current_message)

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Report it."""
        self.report(self._current_message)

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Report it."""
        self.report(self._current_message)

    @action
    def tell(self, message: dict[str, Any]) -> None:
        """Send the message."""
        self.send(message)

    @action
    def ask(self, message: dict[str, Any], timeout: float = LIMIT) -> Any:
        """Request the message and return its value, or the name and the text of the error."""
        try:
            return self.request(message, timeout=timeout)
        except RequestError as error:
            return [type(error).__name__, str(error)]

    @action
    def pass_on(self, message: dict[str, Any]) -> Any:
        """Request the message and return its value; its errors are this action's."""
        return self.request(message, timeout=LIMIT)

    @action
    def verdicts(self) -> dict[str, str]:
        """Try to send every bad message; return what became of each."""
        return verdicts(self)

    @action
    def reply(self) -> None:
        """Answer the sender with a `say`, as in a conversation."""
        message = self._current_message or {}
        self.send(_to(message["from"], "say", content="replied"))


class Crier(Talker):
    """Tells everybody that it has come, and hears that only from others."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, receive_own_broadcasts=False, **options)

    def after_add(self) -> None:
        self.send({"to": "*", "action": {"name": "say", "args": {"content": "I came"}}})


class TouchyTalker(Talker):
    """Cannot bear answers."""

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        """Report and raise."""
        super().response(data, original_message_id)
        raise RuntimeError("no responses, please")

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Report, return a value, and raise."""
        super().error(error, original_message_id)
        raise RuntimeError("no errors, please")


class AsyncTalker(Speaker):
    """`Talker` for async code."""

    @action
    async def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @action
    async def ask(self, message: dict[str, Any]) -> Any:
        """Await the message's value, or return the name and the text of the error."""
        try:
            return await self.arequest(message, timeout=LIMIT)
        except RequestError as error:
            return [type(error).__name__, str(error)]

    @action
    async def gather(self, message: dict[str, Any]) -> list[str]:
        """Read a stream to its end."""
        return [part async for part in self.astream(message, timeout=LIMIT)]

    @action
    async def meet(self, door: str) -> Any:
        """Wait at the gate without blocking the loop, then return the id of the message being handled."""
        await self.arequest(_to("gate", "wait", door=door), timeout=2 * LIMIT)
        return (self._current_message or {}).get("id")

    @action
    def block(self, door: str) -> Any:
        """Wait at the gate on a thread, then return the id of the message being handled."""
        self.request(_to("gate", "wait", door=door), timeout=2 * LIMIT)
        return (self._current_message or {}).get("id")

    @action
    async def everywhere(self) -> list[Any]:
        """The id of the message being handled: here, in a task, and on a thread."""

        async def in_task() -> Any:
            return (self._current_message or {}).get("id")

        def on_thread() -> Any:
            return (current_message() or {}).get("id")

        task = asyncio.create_task(in_task())
        return [await in_task(), await task, await asyncio.to_thread(on_thread)]

    @action
    async def fail(self, text: str) -> None:
        """Raise."""
        raise ValueError(text)

    @action
    async def leave_aside(self) -> str:
        """Have a task of its own raise what would end a program."""

        async def leave() -> None:
            raise SystemExit("leaving")

        aside = asyncio.create_task(leave())
        await asyncio.wait([aside])
        return str(aside.exception())


class Worker(Speaker):
    """Works on what it is given, and says when it begins and ends."""

    @action
    def work(self, number: int) -> None:
        """Report the beginning, let others run, report the end."""
        sender = (self._current_message or {})["from"]
        self.report(["begin", sender, number])
        self.request(_to(self._witness, "help"), timeout=LIMIT)
        self.report(["end", sender, number])

    @action
    def meet(self, door: str) -> Any:
        """Wait at the gate, then return the id of the message being handled."""
        self.wait_at(door)
        return (self._current_message or {}).get("id")

    @action
    def ask(self, message: dict[str, Any]) -> Any:
        """Request the message and return its value."""
        return self.request(message, timeout=LIMIT)

    @action
    def ping(self) -> str:
        """Show that the agent is free."""
        return "pong"

    @action
    def led_here(self) -> list[str]:
        """Who led to the message being handled."""
        return list(current_senders())

    @action(at_most_once=True)
    def is_redelivered(self) -> bool:
        """Whether the message being handled came before."""
        return current_redelivered()

    @action
    def others(self) -> str | None:
        """The sender of the message, as the module's function tells it."""
        message = current_message()
        return message["from"] if message else None


class Heap(Speaker):
    """Takes what is put on it, one by one, when it has been let through the gate."""

    @action
    def stand_at(self, door: str) -> None:
        """Wait at the gate."""
        self.wait_at(door)

    @action
    def put(self, number: int, load: str = "") -> None:
        """Report the number."""
        self.report(number)


class Echoing(Speaker):
    """Answers each broadcast by another."""

    @action
    def cry(self, number: int) -> None:
        """Report the number, and cry the next."""
        self.report(number)
        self.send(_to("*", "cry", number=number + 1))


class Gateway(Agent):
    """Asks in another space. Lives in the process of the test, who joins it to that space."""

    def __init__(self, id: str, there: Agent) -> None:
        super().__init__(id)
        self._there = there

    @action
    def pass_on(self, message: dict[str, Any]) -> Any:
        """Request the message there and return its value."""
        return self._there.request(message, timeout=LIMIT)


class Vandal(Speaker):
    """Writes into everything it is given."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self._shelf = {"list": [1, 2]}

    @action
    def deface(self, box: dict[str, Any]) -> None:
        """Report the box as it came, then spoil all that can be reached."""
        self.report(box)
        box["list"].append("defaced")
        message = self._current_message or {}
        message["action"]["args"]["box"]["list"].append("defaced")
        message["to"] = "defaced"

    @action
    def lend(self) -> dict[str, Any]:
        """Return what belongs to the agent."""
        return self._shelf

    @action
    def ask_and_deface(self, lender: str) -> None:
        """Spoil what another agent returned."""
        self.request(_to(lender, "lend"), timeout=LIMIT)["list"].append("defaced")


class Visitor(Speaker):
    """Uses its first and its last moments in a space to talk."""

    def __init__(self, id: str, *, failing: str = "", **options: Any) -> None:
        if failing == "__init__":
            raise RuntimeError("the constructor failed")
        super().__init__(id, **options)
        self._failing = failing
        self._sum: Any = None

    def after_add(self) -> None:
        """Ask, and report the answer."""
        if self._failing == "after_add":
            raise RuntimeError("after_add failed")
        self._sum = self.request(_to("calc", "add", a=1, b=2), timeout=LIMIT)
        self.report(["after_add", self._sum])

    def before_remove(self) -> None:
        """Report."""
        self.report(["before_remove"])
        if self._failing == "before_remove":
            raise RuntimeError("before_remove failed")

    @action
    def sum(self) -> Any:
        """What `after_add` learned."""
        return self._sum


class Leaver(Agent):
    """Leaves a line in a file when it is removed; when a space ends, nobody is left to be told."""

    def __init__(self, id: str, path: str) -> None:
        super().__init__(id)
        self._path = Path(path)

    def before_remove(self) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self.id}\n")


class Newcomer(Speaker):
    """Has somebody ask it before it has set itself up."""

    def after_add(self) -> Any:
        """Ask the agent `host`, which asks back, and report what became of that."""
        answer = self.request(self._question(), timeout=LIMIT)
        self.report(answer)

    def _question(self) -> dict[str, Any]:
        return _to("host", "ask", message=_to(self.id, "help"))


class AsyncNewcomer(Newcomer):
    """The same in async code."""

    async def after_add(self) -> None:
        """Ask, and report."""
        self.report(await self.arequest(self._question(), timeout=LIMIT))


class EarlyLeaver(Agent):
    """Removes itself before it has set itself up. Lives in the process of the test."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self._space = space

    def after_add(self) -> Any:
        """Leave."""
        self._space.remove(self)


class AsyncEarlyLeaver(EarlyLeaver):
    """The same in async code."""

    async def after_add(self) -> None:
        """Leave."""
        self._space.remove(self)


class SelfRemover(Speaker):
    """Removes itself in its action. Lives in the process of the test, whose space it has."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self._space = space

    @action
    def leave(self) -> str:
        """Leave, and report that this was possible."""
        self._space.remove(self)
        return "left"

    def before_remove(self) -> Any:
        """Report."""
        self.report("before_remove")


class AsyncSelfRemover(SelfRemover):
    """Does so in async code, as far as possible."""

    @action
    async def leave_at_once(self) -> str:
        """Leave, and report that this was possible."""
        return super().leave()

    async def before_remove(self) -> None:
        """Report."""
        await asyncio.sleep(0)
        self.report("before_remove")


class Halter(Speaker):
    """Pulls the kill switch of its own space in its action. Lives in the process of the test."""

    def __init__(self, id: str, space: Space) -> None:
        super().__init__(id)
        self._space = space

    @action
    def pull(self) -> str:
        """Halt the space, and say that this was possible."""
        self._space.halt()
        return "halted"


class Patient(Speaker):
    """Is in the midst of something for as long as the test wants."""

    @action
    def stay(self) -> bool:
        """Report, then wait for being told to leave; returns whether that came."""
        self.report("stays")
        return self.leaving.wait(LIMIT)

    @action
    def speak_late(self, door: str) -> None:
        """Wait at the gate, then report."""
        self.wait_at(door)
        self.report("late")


class Watched(Speaker):
    """Reports every callback, and fails where it is told to."""

    def __init__(self, id: str, *, failing: str = "", **options: Any) -> None:
        super().__init__(id, **options)
        self._failing = failing

    def _pass(self, *event: Any) -> None:
        self.report(list(event))
        if event[0] == self._failing:
            raise RuntimeError(f"{event[0]} failed")

    @action
    def work(self, value: Any = None) -> Any:
        """Return the value."""
        self._pass("action")
        return value

    @action(access_policy=ACCESS_REQUESTED)
    def guarded(self) -> str:
        """Return something, if it is permitted."""
        self._pass("action")
        return "done"

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> None:
        """Never run."""
        self._pass("action")

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Permit."""
        self._pass("request_permission")
        return True

    def before_action(self, message: dict[str, Any]) -> None:
        """Report the message."""
        self._pass("before_action", message)

    def after_action(
        self, message: dict[str, Any], return_value: Any, error: BaseException | None
    ) -> None:
        """Report the message, the value and the error."""
        self._pass("after_action", message, return_value, str(error) if error else None)


class AsyncWatched(Speaker):
    """`Watched` with every callback `async`."""

    async def after_add(self) -> None:
        """Ask, and report the answer."""
        total = await self.arequest(_to("calc", "add", a=1, b=2), timeout=LIMIT)
        self.report(["after_add", total])

    async def before_remove(self) -> None:
        """Report."""
        self.report(["before_remove"])

    async def before_action(self, message: dict[str, Any]) -> None:
        """Report."""
        await asyncio.sleep(0)
        self.report(["before_action", message["action"]["name"]])

    @action
    def work(self, value: Any = None) -> Any:
        """Return the value."""
        self.report(["action"])
        return value

    async def after_action(
        self, message: dict[str, Any], return_value: Any, error: BaseException | None
    ) -> None:
        """Report."""
        await asyncio.sleep(0)
        self.report(["after_action", return_value])


class HeedlessGuard(Speaker):
    """Has actions that are denied or on request, and no `request_permission`."""

    @action
    def permitted(self) -> str:
        """Anybody may."""
        return "done"

    @action
    def mark(self) -> None:
        """Report that this was called; what was reported before came before."""
        self.report("mark")

    @action(access_policy=ACCESS_DENIED)
    def denied(self) -> str:
        """Nobody may."""
        self.report("denied ran")
        return "done"

    @action(access_policy=ACCESS_REQUESTED)
    def requested(self, command: str) -> str:
        """Whoever is permitted may."""
        self.report(["ran", command])
        return f"did {command}"


class Guard(HeedlessGuard):
    """Reports what is proposed, and decides as it was told to."""

    def __init__(self, id: str, *, decision: Any = True, **options: Any) -> None:
        super().__init__(id, **options)
        self._decision = decision

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Report and decide."""
        self.report(["proposed", proposed_message])
        return self._decision


class AsyncGuard(Guard):
    """Decides in async code."""

    async def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Report and decide."""
        await asyncio.sleep(0)
        return super().request_permission(proposed_message)


class SlowGuard(Guard):
    """Decides when the test opens the gate."""

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Wait, then decide."""
        self.wait_at("permission")
        return self._decision


class RaisingGuard(HeedlessGuard):
    """Cannot decide."""

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Raise."""
        raise RuntimeError("nobody to ask")


class AskingGuard(HeedlessGuard):
    """Has another agent decide."""

    def request_permission(self, proposed_message: dict[str, Any]) -> Any:
        """Ask the console."""
        return self.request(_to("console", "decide", about=self.id), timeout=LIMIT)


class Console(Agent):
    """Decides about what other agents propose."""

    @action
    def decide(self, about: str) -> bool:
        """Ask the agent what it can do, then permit."""
        return "permitted" in self.request(_to(about, "help"), timeout=LIMIT)


class TamperingGuard(HeedlessGuard):
    """Permits something else than what was proposed."""

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Change the proposal, and permit."""
        proposed_message["action"]["args"]["command"] = "worse"
        proposed_message["action"]["name"] = "denied"
        return True


class Streamer(Speaker):
    """Produces values one after the other."""

    @action
    def count(self, to: int) -> Iterator[int]:
        """Count from one."""
        yield from range(1, to + 1)

    @action
    def count_and_fail(self, to: int) -> Iterator[int]:
        """Count from one, then raise."""
        yield from range(1, to + 1)
        raise ValueError("out of numbers")

    @action
    def count_and_burst(self, to: int) -> Iterator[Any]:
        """Count from one, then produce more than a message can hold."""
        yield from range(1, to + 1)
        yield "x" * MAX_MESSAGE_BYTES
        yield to + 2

    @action
    def by_doors(self, doors: list[str]) -> Iterator[str]:
        """Produce each name as soon as the door before it is open."""
        for door in doors:
            yield door
            self.wait_at(door)

    @action
    def endless(self) -> Iterator[int]:
        """Produce until nobody wants any more, then report."""
        number = 0
        try:
            while True:
                number += 1
                yield number
        finally:
            self.report("stopped")

    @action
    def single(self) -> str:
        """Return one value."""
        return "single"


class AsyncStreamer(Speaker):
    """Produces values in async code."""

    @action
    async def count(self, to: int) -> AsyncIterator[int]:
        """Count from one."""
        for number in range(1, to + 1):
            await asyncio.sleep(0)
            yield number

    @action
    async def endless(self) -> AsyncIterator[int]:
        """Produce until nobody wants any more, then report."""
        number = 0
        try:
            while True:
                number += 1
                yield number
                await asyncio.sleep(0)
        finally:
            self.report("stopped")


class _Base(Agent):
    @action(name="speak", access_policy=ACCESS_DENIED)
    def talk(self) -> str:
        """Talk."""
        return "base"

    @action(name="walk", help={"any": ["structure"]})
    def go(self, to: str = "there") -> str:
        """Walk."""
        return f"base {to}"

    @action
    def rest(self) -> str:
        """Rest."""
        return "base"


class Namesake(_Base):
    """Declares names other than its methods', and overrides methods without marking them again."""

    def talk(self) -> str:
        """Talk more."""
        return "override"

    def go(self, to: str = "elsewhere") -> str:
        """Walk further."""
        return f"override {to}"

    @action(name="a name with spaces, dots. and ünïcödé")
    def odd(self) -> str:
        """Have an odd name."""
        return "odd"


def _to(agent_id: str, name: str, /, **args: Any) -> dict[str, Any]:
    return {"to": agent_id, "action": {"name": name, "args": args}}

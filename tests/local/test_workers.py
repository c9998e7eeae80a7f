"""LocalSpace's processes: one for each agent, gone when they should be, killed at any time without harm to others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from agency import (
    ActionError,
    Agent,
    AgentIdInUse,
    AgentNotFound,
    DeadLetter,
    Guest,
    LocalSpace,
    NotAccepted,
    OutcomeUnknown,
    StartFailed,
    action,
)
from tests.faults.tools import begin, eventually, suspend
from tests.local.agents import (
    AsksWhenAdded,
    AtDoor,
    Concurrent,
    DiesWhenBuilt,
    FailsToBuild,
    FailsToSetUp,
    NeverBuilt,
    Worker,
    WritesWhenRemoved,
)
from tests.local.garbler import DiesAtDeadLetters
from tests.programs import PATIENCE, all_end


@pytest.fixture
def space() -> Iterator[LocalSpace]:
    """A space, and the certainty that it leaves no process, thread or open file behind."""
    this = psutil.Process()
    files, threads = this.num_fds(), threading.active_count()
    others = set(this.children(recursive=True))  # such as a broker of other tests
    with LocalSpace() as space:
        yield space
        started = [one for one in this.children(recursive=True) if one not in others]
    assert all_end(started)
    assert this.num_fds() <= files
    assert threading.active_count() <= threads


@pytest.fixture
def me(space: LocalSpace) -> Guest:
    return space.join("me")


def test_a_class_is_built_in_another_process_and_an_agent_stays_in_this(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Worker, "there")
    space.add(Worker, "elsewhere")
    space.add(Worker("here"))
    processes = {agent: me.proxy(agent).process() for agent in ("there", "elsewhere", "here")}
    assert processes["here"] == os.getpid()
    assert len(set(processes.values())) == 3


def test_add_foreground_builds_the_agent_in_this_process(space: LocalSpace, me: Guest) -> None:
    agent = space.add_foreground(Worker, "here")
    assert isinstance(agent, Worker)
    assert me.proxy("here").process() == os.getpid()


def test_there_may_be_many_more_agents_than_processors(space: LocalSpace, me: Guest) -> None:
    count = 3 * (os.cpu_count() or 1) + 10
    for number in range(count):
        space.add(Worker, f"agent-{number}")
    assert len({me.proxy(f"agent-{number}").process() for number in range(count)}) == count


def test_max_workers_packs_many_agents_into_few_processes() -> None:
    with LocalSpace(max_workers=2) as space:
        for number in range(20):
            space.add(Worker, f"agent-{number}")
        me = space.join()
        processes = [me.proxy(f"agent-{number}").process() for number in range(20)]
    assert len(set(processes)) == 2
    assert {processes.count(process) for process in processes} == {10}


def test_max_workers_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_workers"):
        LocalSpace(max_workers=0)


@pytest.mark.parametrize("how", ["kill", "exit", "segfault", "abort"])
def test_who_waits_for_an_agent_that_dies_is_told_that_the_outcome_is_unknown(
    space: LocalSpace, me: Guest, how: str
) -> None:
    space.add(Worker, "mortal")
    with pytest.raises(OutcomeUnknown, match="mortal"):
        me.proxy("mortal", timeout=PATIENCE).die(how=how)


def test_messages_that_a_dead_agent_had_not_begun_are_told_apart_from_the_one_it_had(
    space: LocalSpace, me: Guest
) -> None:
    for agent_id in ("mortal", "witness"):
        space.add(Worker, agent_id)
    process = me.proxy("mortal").process()
    letters: list[tuple[str, str]] = []
    all_there = threading.Event()

    def listener(letter: DeadLetter) -> None:
        assert letter.message is not None
        letters.append((letter.reason.value, letter.message["id"]))
        if len(letters) == 4:
            all_there.set()

    space.dead_letters.listen(listener)
    me.send({"id": "begun", "to": "mortal", "action": {"name": "block"}})
    me.receive(PATIENCE)
    for number in ("first", "second"):
        me.send({"id": number, "to": "mortal", "action": {"name": "note", "args": {"number": 1}}})
    call = {"id": "asked", "to": "mortal", "action": {"name": "process"}}

    async def ask_and_kill() -> None:
        asked = asyncio.create_task(me.arequest(call, timeout=None))
        await asyncio.sleep(0)  # so it is sent
        # When this is answered, those before have reached the mailbox.
        assert await me.proxy("witness").process.arequest() != process
        os.kill(process, signal.SIGKILL)
        with pytest.raises(AgentNotFound, match="mortal"):
            await asyncio.wait_for(asked, PATIENCE)

    asyncio.run(ask_and_kill())
    assert all_there.wait(PATIENCE)
    assert letters == [
        ("agent_died", "begun"),
        ("agent_removed", "first"),
        ("agent_removed", "second"),
        ("agent_removed", "asked"),
    ]


def test_what_was_handled_beside_an_action_that_dies_is_not_lost(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Concurrent, "mortal")
    space.add(Worker, "witness")
    died = threading.Event()
    space.watch("mortal", lambda _: died.set())
    process = me.proxy("mortal").process()
    me.send({"id": "begun", "to": "mortal", "action": {"name": "block"}})
    me.receive(PATIENCE)
    for number in range(100):
        me.send({"to": "mortal", "action": {"name": "note", "args": {"number": number}}})
    assert me.proxy("mortal").ask_often(agent_id="witness", times=50) == 50
    assert sorted(me.proxy("mortal").tell_noted()) == list(range(100))
    os.kill(process, signal.SIGKILL)
    assert died.wait(PATIENCE)
    assert me.receive(PATIENCE)["action"]["args"]["original_message_id"] == "begun"
    assert me.proxy("witness").process()  # what the hub had to say before is here
    assert space.dead_letters.counts == {"agent_died": 1}


def test_a_sender_that_does_not_wait_is_told_too_when_its_message_may_have_run(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Worker, "mortal")
    me.send({"id": "1", "to": "mortal", "action": {"name": "die", "args": {"how": "kill"}}})
    message = me.receive(PATIENCE)
    assert message["action"]["name"] == "error"
    assert message["action"]["args"]["original_message_id"] == "1"


def test_what_is_lost_is_told_before_it_counts_as_settled(space: LocalSpace, me: Guest) -> None:
    """Whoever is killed in between does not lose it in silence."""
    space.add(DiesAtDeadLetters, "mortal")
    me.send({"to": "mortal", "action": {"name": "wait_to_leave"}})
    me.receive(PATIENCE)
    waiting = begin(
        lambda: me.request({"to": "mortal", "action": {"name": "process"}}, timeout=PATIENCE)
    )
    me.send({"to": "mortal", "action": {"name": "process"}, "id": "sent"})
    me.send({"to": "nobody", "action": {"name": "say"}})  # the two before have reached the mailbox
    space.remove("mortal")
    with pytest.raises(AgentNotFound):
        waiting.result(PATIENCE)
    eventually(lambda: space.dead_letters.counts == {"agent_removed": 2, "no_such_agent": 1})


def test_a_dead_agent_takes_nobody_with_it_and_its_id_is_free_again(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Worker, "mortal")
    space.add(Worker, "witness")
    before = me.proxy("witness").process()
    with pytest.raises(OutcomeUnknown):
        me.proxy("mortal").die(how="kill")
    assert me.proxy("witness").process() == before
    with pytest.raises(AgentNotFound):
        me.proxy("mortal").process()
    space.add(Worker, "mortal")
    assert me.proxy("mortal").process() != before


def test_an_agent_in_another_process_is_told_too_when_the_one_it_asked_dies(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Worker, "asker")
    space.add(DyingWhenAsked, "mortal")
    with pytest.raises(Exception, match='"mortal" died'):
        me.proxy("asker").say_through(agent_id="mortal")


class DyingWhenAsked(Worker):
    def before_action(self, message: dict[str, object]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_killing_workers_under_load_loses_nothing_for_the_others(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Worker, "steady")
    for round_ in range(10):
        space.add(Worker, "mortal")
        process = me.proxy("mortal").process()
        for number in range(50):
            me.send({"to": "mortal", "action": {"name": "note", "args": {"number": number}}})
            me.send(
                {
                    "to": "steady",
                    "action": {"name": "note", "args": {"number": round_ * 50 + number}},
                }
            )
        os.kill(process, signal.SIGKILL)
        with pytest.raises((AgentNotFound, OutcomeUnknown)):
            me.proxy("mortal", timeout=PATIENCE).block()
    assert me.proxy("steady").tell_noted() == list(range(500))


def test_a_concurrent_agent_that_dies_answers_for_all_that_it_had_begun(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Concurrent, "mortal")
    process = me.proxy("mortal").process()
    outcomes: list[type[BaseException]] = []

    def ask() -> None:
        with pytest.raises((OutcomeUnknown, AgentNotFound)) as caught:
            me.proxy("mortal", timeout=PATIENCE).block()
        outcomes.append(caught.type)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        me.receive(PATIENCE)
    os.kill(process, signal.SIGKILL)
    for thread in threads:
        thread.join(PATIENCE)
    assert outcomes == [OutcomeUnknown] * 4


@pytest.mark.parametrize(
    ("agent_class", "reason"),
    [
        (FailsToBuild, "ValueError: cannot be built"),
        (FailsToSetUp, "ValueError: cannot be set up"),
        (DiesWhenBuilt, "its process died"),
    ],
)
def test_an_agent_that_cannot_start_is_an_error_that_says_why_and_leaves_nothing(
    space: LocalSpace, me: Guest, agent_class: type, reason: str
) -> None:
    for _ in range(2):
        with pytest.raises(StartFailed, match=reason):
            space.add(agent_class, "hopeless")
    space.add(Worker, "hopeless")
    assert me.proxy("hopeless").process() != os.getpid()


def test_an_agent_that_is_never_built_is_given_up_after_the_start_timeout() -> None:
    with LocalSpace(start_timeout=0.5) as space:
        with pytest.raises(StartFailed, match=r"within 0\.5 seconds"):
            space.add(NeverBuilt, "slow")
        assert psutil.Process().children(recursive=True)  # the nursery and the hub
        with pytest.raises(AgentNotFound):
            space.join().proxy("slow").help()


def test_an_agent_in_another_process_can_ask_others_before_it_has_been_added_completely(
    space: LocalSpace, me: Guest
) -> None:
    space.add(Worker, "there")
    space.add(AsksWhenAdded, "curious", "there")
    assert me.proxy("curious").tell_answer() == me.proxy("there").process()


def test_what_cannot_be_pickled_is_refused_with_a_way_out(space: LocalSpace) -> None:
    class Local(Worker):
        pass

    with pytest.raises(StartFailed, match="add_foreground"):
        space.add(Local, "local")
    with pytest.raises(StartFailed, match="add_foreground"):
        space.add(WritesWhenRemoved, "lambda", lambda: None)


def test_a_class_that_cannot_be_imported_elsewhere_is_refused_with_a_way_out(
    space: LocalSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elusive(Worker):
        pass

    Elusive.__module__, Elusive.__qualname__ = "only_here", "Elusive"
    module = ModuleType("only_here")
    monkeypatch.setattr(module, "Elusive", Elusive, raising=False)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(
        StartFailed, match="cannot be found in its process: No module named 'only_here'; define"
    ):
        space.add(Elusive, "elusive")
    space.add(Worker, "elusive")


def test_an_id_is_unique_across_processes(space: LocalSpace, me: Guest) -> None:
    space.add(Worker, "there")
    space.add(Worker("here"))
    process = me.proxy("there").process()
    for taken in ("there", "here"):
        with pytest.raises(AgentIdInUse):
            space.add(Worker, taken)
        with pytest.raises(AgentIdInUse):
            space.add(Worker(taken))
    assert me.proxy("there").process() == process
    assert me.proxy("here").process() == os.getpid()


def test_an_agent_that_is_removed_cleans_up_in_its_process_which_ends(
    space: LocalSpace, me: Guest, tmp_path: Path
) -> None:
    space.add(WritesWhenRemoved, "tidy", str(tmp_path / "trace"))
    space.add(Worker, "there")
    process = psutil.Process(me.proxy("there").process())
    space.remove("tidy")
    assert (tmp_path / "trace").read_text(encoding="utf-8") == "removed"
    space.remove("there")
    assert all_end([process])


def test_destroy_lets_the_agents_in_other_processes_clean_up(tmp_path: Path) -> None:
    with LocalSpace() as space:
        space.add(WritesWhenRemoved, "tidy", str(tmp_path / "trace"))
    assert (tmp_path / "trace").read_text(encoding="utf-8") == "removed"


def test_destroy_ends_processes_whose_actions_do_not_end() -> None:
    with LocalSpace(grace=0.2) as space:
        space.add(Worker, "stuck")
        me = space.join()
        process = psutil.Process(me.proxy("stuck").process())
        me.send({"to": "stuck", "action": {"name": "block"}})
        me.receive(PATIENCE)
    assert all_end([process])


def test_when_the_exchange_of_messages_dies_nobody_hangs() -> None:
    with LocalSpace() as space:
        space.add(Worker, "there")
        me = space.join()
        worker = psutil.Process(me.proxy("there").process())
        nursery = worker.parent()
        assert nursery is not None
        hub = next(child for child in nursery.children() if child.pid != worker.pid)
        me.send({"to": "there", "action": {"name": "block"}})
        me.receive(PATIENCE)
        threading.Thread(target=hub.kill).start()
        with pytest.raises((OutcomeUnknown, AgentNotFound, NotAccepted)):
            me.proxy("there", timeout=PATIENCE).process()
        assert all_end([worker])


def test_actions_may_start_programs_that_ctrl_c_still_reaches(space: LocalSpace, me: Guest) -> None:
    space.add(StartsPrograms, "shell")
    assert me.proxy("shell").ctrl_c_is_ignored() is False


class StartsPrograms(Agent):
    @action
    def ctrl_c_is_ignored(self) -> bool:
        """Whether a program that is started here would ignore Ctrl-C."""
        code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
        shown = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        return shown.strip() == "True"


def test_an_agent_added_to_a_process_that_has_just_died_holds_up_nobody() -> None:
    with LocalSpace(max_workers=1, start_timeout=PATIENCE) as space:
        me = space.join()
        space.add(Worker, "old")
        for number in range(10):
            os.kill(me.proxy("old").process(), signal.SIGKILL)
            with suppress(StartFailed):  # it may have been known already
                space.add(Worker, f"new {number}")
            eventually(lambda: added(space, "old"))


def added(space: LocalSpace, agent_id: str) -> bool:
    """Whether there is such an agent now that was not there before."""
    try:
        space.add(Worker, agent_id)
    except AgentIdInUse:
        return False
    return True


def test_an_agent_that_is_removed_begins_with_nothing_more_although_its_process_is_busy(
    tmp_path: Path,
) -> None:
    door = tmp_path / "door"
    os.mkfifo(door)
    with LocalSpace(max_workers=1, grace=0.1) as space:
        me = space.join()
        space.add(Worker, "bob")
        space.add(Worker, "witness")
        building = begin(lambda: space.add(AtDoor, "slow", enter=door))
        with door.open("w"):  # when it is at the door
            space.remove("bob")
            me.send({"to": "bob", "action": {"name": "note", "args": {"number": 1}}})
            with pytest.raises(ActionError, match="no agent"):
                me.proxy("witness").say_through(agent_id="bob")
        building.result(PATIENCE)
        space.add(Worker, "bob")
        assert me.proxy("bob").tell_noted() == []


def test_mail_of_a_process_that_stands_still_is_counted_when_all_ends() -> None:
    with LocalSpace(grace=0.1) as space:
        space.add(Worker, "still")
        me = space.join()
        suspend(psutil.Process(me.proxy("still").process()))
        for number in range(1_000):
            me.send({"to": "still", "action": {"name": "note", "args": {"number": number}}})
    assert sum(space.dead_letters.counts.values()) == 1_000


def test_an_error_that_no_encoding_knows_is_told_and_harms_no_neighbour() -> None:
    with LocalSpace(max_workers=1) as space:
        space.add(Worker, "neighbour")
        with pytest.raises(StartFailed, match="udcff"):
            space.add(FailsToBuild, "odd", "\udcff")
        assert space.join().proxy("neighbour").process()


def test_a_path_may_be_among_the_places_where_modules_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    with LocalSpace() as space:
        space.add(Worker, "a")
        assert space.join().proxy("a").process()

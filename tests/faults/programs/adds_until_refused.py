"""A program that may have few open files, as may all of its processes, and adds agents until there is no room."""

import itertools
import resource

import psutil

from agency import LocalSpace, StartFailed
from tests.faults.members import Odd
from tests.faults.tools import eventually

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with LocalSpace() as space:
    me = space.join("me")
    there: list[str] = []

    def processes() -> int:
        """Of agents: all but the nursery and the hub."""
        return len(psutil.Process().children(recursive=True)) - 2

    def fill() -> None:
        for number in itertools.count(len(there)):
            try:
                space.add(Odd, f"agent-{number}")
            except StartFailed as error:
                print("refused:", error, flush=True)
                return
            there.append(f"agent-{number}")

    def all_are_well() -> bool:
        eventually(lambda: processes() == len(there))  # the one that was refused has gone
        return all(me.proxy(agent_id).ping() == "pong" for agent_id in there)

    fill()
    print("well:", all_are_well(), flush=True)
    for _ in range(2):
        space.remove(there.pop())
        before = len(there)
        fill()
        print("added again:", len(there) - before, all_are_well(), flush=True)

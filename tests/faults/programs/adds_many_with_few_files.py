"""A program that may have few open files now, but more if it wants to, and has many agents."""

import resource

from agency import Agent, LocalSpace, action
from tests.faults.members import Odd


class Limited(Agent):
    @action
    def limit(self) -> int:
        """How many open files its process may have."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
with LocalSpace() as space:
    me = space.join("me")
    for number in range(40):
        space.add(Odd, f"agent-{number}")
    print("well:", all(me.proxy(f"agent-{number}").ping() == "pong" for number in range(40)))
    space.add(Limited, "limited")
    print("limit:", me.proxy("limited").limit())

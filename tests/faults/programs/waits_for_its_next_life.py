"""A program whose agent has died, and comes again later than anybody waits."""

import os

from agency import Agent, LocalSpace, OutcomeUnknown, Supervision, action


class Sleeper(Agent):
    supervision = Supervision(backoff=3e7, max_backoff=3e7)

    @action
    def die(self) -> None:
        os.abort()


space = LocalSpace()
space.add(Sleeper, "sleeper")
try:
    space.join("me").proxy("sleeper").die()
except OutcomeUnknown:
    print("dead", flush=True)

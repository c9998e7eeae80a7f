"""A program as the seeds write it: its own class, no guard, in the class form."""

import os

from agency import Agent, LocalSpace, action


class Counter(Agent):
    def __init__(self, id: str, start: int = 0) -> None:
        super().__init__(id)
        self.count = start

    @action
    def next(self) -> list[int]:
        self.count += 1
        return [self.count, os.getpid()]


print("main runs", flush=True)
space = LocalSpace()
space.add(Counter, "counter", start=41)
count, process = space.join().proxy("counter").next()
print(count, process != os.getpid(), flush=True)
space.destroy()

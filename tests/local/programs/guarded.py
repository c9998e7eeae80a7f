"""The same with a guard."""

import os

from agency import Agent, LocalSpace, action


class Counter(Agent):
    @action
    def process(self) -> int:
        return os.getpid()


print("definitions run", flush=True)
if __name__ == "__main__":
    print("main runs", flush=True)
    with LocalSpace() as space:
        space.add(Counter, "counter")
        print(space.join().proxy("counter").process() != os.getpid(), flush=True)

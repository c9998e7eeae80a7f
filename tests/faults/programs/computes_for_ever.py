"""A program with an action that computes for ever, in its own process."""

from concurrent.futures import ThreadPoolExecutor

from agency import Agent, NativeSpace, action
from tests.faults.members import Odd


class Computer(Agent):
    @action
    def compute(self) -> None:
        sender = self._current_message["from"]
        self.send({"to": sender, "action": {"name": "say", "args": {"content": "begun"}}})
        while True:
            pass


space = NativeSpace(grace=0.5)
me = space.join("me")
space.add(Computer("computer"))
space.add(Odd("well"))
with ThreadPoolExecutor() as threads:
    waiting = threads.submit(lambda: me.proxy("computer", timeout=None).compute())
    me.receive(30.0)
    print("well:", me.proxy("well", timeout=30.0).ping(), flush=True)
    space.destroy()
    print("told:", type(waiting.exception(30.0)).__name__, flush=True)
print("destroyed", flush=True)

"""A program whose agent works for ever, and says when it is asked to leave."""

import threading

from agency import Agent, LocalSpace, action


class Busy(Agent):
    @action
    def work(self) -> None:
        print("begun", flush=True)
        self.leaving.wait()
        print("is leaving", flush=True)
        threading.Event().wait()


space = LocalSpace(grace=60.0)
space.add(Busy, "busy")
space.join("me").send({"to": "busy", "action": {"name": "work"}})

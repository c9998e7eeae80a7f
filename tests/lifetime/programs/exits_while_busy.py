"""Exits while an action of each agent never ends."""

import sys
import threading

from agency import action
from common import Greeter, make_space


class Stuck(Greeter):
    @action
    def wait(self) -> None:
        sender = self._current_message["from"]
        self.send({"to": sender, "action": {"name": "say", "args": {"content": "begun"}}})
        threading.Event().wait()


space = make_space(grace=1.0)
space.add(Stuck, "Built")
space.add(Stuck("Given"))
me = space.join("me")
for agent_id in ("Built", "Given"):
    me.send({"to": agent_id, "action": {"name": "wait"}})
    me.receive(30.0)
print("both are busy", flush=True)
sys.exit(7)

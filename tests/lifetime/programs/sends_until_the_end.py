"""Threads that nobody waits for go on sending while the program ends."""

import sys
import threading

from agency import AgencyError, action
from common import Greeter, make_space


class Hearer(Greeter):
    @action
    def hear(self) -> None:
        """Take what is said."""


def send_on(to: str) -> None:
    try:
        while True:
            me.send({"to": to, "action": {"name": "hear"}})
    except AgencyError:
        pass  # the space has ended, or has no room


space = make_space()
space.add(Hearer, "Built")
space.add(Hearer("Given"))
me = space.join("me")
for agent_id in ("Built", "Given", "*"):
    threading.Thread(target=send_on, args=(agent_id,), daemon=True).start()
me.proxy("Built").greet()
print("end of main", flush=True)
sys.exit(7)

"""The other of two applications: it asks the host of `host_app.py` and ends when it has the answer.

Run it: `python examples/two_applications/asker_app.py`, before or after `host_app.py`.
"""

import threading
from typing import Any

from agency import Agent, AMQPSpace, action


class Asker(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.answered = threading.Event()

    def after_add(self) -> None:
        """Ask at once. If there is no host yet, nothing happens: sending to nobody is no error."""
        self.send({"to": "Host", "action": {"name": "describe"}})

    @action
    def host_is_here(self) -> None:
        """The host has come: ask it now."""
        self.send({"to": "Host", "action": {"name": "describe"}})

    def response(self, data: Any = None, original_message_id: str | None = None) -> None:
        print(f"The host runs {data['system']} with Python {data['python']}")
        self.answered.set()


if __name__ == "__main__":
    with AMQPSpace() as space:
        asker = space.add(Asker("Asker"))
        print("Asker waits for the host")
        asker.answered.wait()

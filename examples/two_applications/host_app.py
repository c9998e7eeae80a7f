"""One of two applications on one AMQP server: it offers what it knows of its machine.

Run it: `python examples/two_applications/host_app.py`, and `asker_app.py` before or after it, here
or on another host. It serves until Ctrl-C. `AMQP_URL` or `AMQP_HOST` says where the server is.
"""

import platform

from agency import Agent, AMQPSpace, action


class Host(Agent):
    def after_add(self) -> None:
        """Tell those who came first. Who has no such action ignores it."""
        self.send({"to": "*", "action": {"name": "host_is_here"}})

    @action
    def describe(self) -> dict[str, str]:
        """Describe the machine that this agent runs on."""
        return {"system": platform.system(), "python": platform.python_version()}


if __name__ == "__main__":
    space = AMQPSpace()
    space.add(Host, "Host")
    print("Host serves")

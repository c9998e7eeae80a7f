import os
import signal
import sys

from agency import Agent, LocalSpace, action


class Watcher(Agent):
    """Lives where the program does, and presses Ctrl-C."""

    @action
    def press(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Comer(Agent):
    def after_add(self) -> None:
        sys.stdout.write("came\n")
        self.send({"to": "watcher", "action": {"name": "press"}})

    def before_remove(self) -> None:
        sys.stdout.write("left\n")


if __name__ == "__main__":
    space = LocalSpace()
    space.add(Watcher("watcher"))
    space.add(Comer, "comer")

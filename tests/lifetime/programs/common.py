"""What the programs beside this file share: an agent that says when it comes and goes, and the space named first."""

import sys
from typing import Any

import agency
from agency import Agent, Space, action


def tell(line: str) -> None:
    """Print in one piece: agents and main speak at the same time."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Greeter(Agent):
    def after_add(self) -> None:
        tell(f"{self.id} came")

    def before_remove(self) -> None:
        tell(f"{self.id} left")

    @action
    def greet(self) -> str:
        return f"hello from {self.id}"


def make_space(**options: Any) -> Space:
    """The space that the first argument names; the second is an exchange for AMQP."""
    make = getattr(agency, sys.argv[1])
    space = make(exchange=sys.argv[2], **options) if len(sys.argv) > 2 else make(**options)
    assert isinstance(space, Space)
    return space


def populate(space: Space) -> None:
    """One agent in each form."""
    space.add(Greeter, "Built")
    space.add(Greeter("Given"))
    me = space.join("me")
    print(me.proxy("Built").greet(), flush=True)

"""The signal comes while the agents are taken out, one by one, by what the environment says."""

import asyncio
import os
import signal

from common import Greeter, make_space, populate, tell

NUMBER = signal.Signals[os.environ["SIGNAL"]]


class Signalling(Greeter):
    def before_remove(self) -> None:
        os.kill(os.getpid(), NUMBER)
        super().before_remove()


async def leave() -> None:
    async with space:
        pass


space = make_space()
populate(space)
space.add(Signalling("Last"))
match os.environ["BY"]:
    case "destroy":
        space.destroy()
    case "remove":
        space.remove("Last")
    case "with":
        with space:
            pass
    case "async with":
        asyncio.run(leave())
tell("never reached")

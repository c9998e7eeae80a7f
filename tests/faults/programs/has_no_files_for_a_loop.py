"""A program that has no file descriptors when an `async` agent first needs its event loop, and has some again later."""

import resource
import sys

from agency import ActionError, Agent, NativeSpace, action


class Asynchronous(Agent):
    @action
    async def ping(self) -> str:
        return "pong"


def tell(line: str) -> None:
    """Print in one piece: asyncio complains at the same time of the loop that it could not make."""
    sys.stdout.write(f"{line}\n")


with NativeSpace() as space:
    me = space.join("me")
    space.add(Asynchronous, "asynchronous")
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard_limit))
    taken = []
    try:
        while True:
            taken.append(open("/dev/null", "rb"))  # noqa: PTH123, SIM115  # to have it open is the point
    except OSError:
        pass
    try:
        me.proxy("asynchronous", timeout=None).ping()
    except ActionError as error:
        tell(f"refused: {error}")
    me.send({"id": "plain", "to": "asynchronous", "action": {"name": "ping"}})
    tell(f"told: {me.receive(30.0)['action']}")
    for file in taken:
        file.close()
    tell(f"works again: {me.proxy('asynchronous').ping()}")

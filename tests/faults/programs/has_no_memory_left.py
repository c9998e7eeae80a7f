"""A program that has no memory for what its agent answers, and has some again later."""

import contextlib
import resource

import psutil

from agency import AgencyError, Agent, LocalSpace, OutcomeUnknown, action

LARGE = 7_500_000


class Talker(Agent):
    @action
    def tell(self) -> str:
        return "x" * LARGE


if __name__ == "__main__":
    space = LocalSpace()
    me = space.join("me")
    space.add(Talker, "talker")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    have = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (have + (64 << 20), limits[1]))
    taken: list[bytearray] = []
    with contextlib.suppress(MemoryError):
        while True:
            taken.append(bytearray(1 << 20))
    del taken[:2]  # enough to ask
    try:
        me.proxy("talker", timeout=None).tell()
    except OutcomeUnknown as error:
        print(f"lost: {error}", flush=True)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    taken.clear()
    try:
        space.add(Talker, "next")
    except AgencyError as error:
        print(f"refused: {error}", flush=True)
    space.destroy()
    print("destroyed", flush=True)

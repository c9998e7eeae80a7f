"""A program that runs out of file descriptors, and has some again later."""

import resource

from agency import LocalSpace, StartFailed
from tests.faults.members import Odd

with LocalSpace() as space:
    me = space.join("me")
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard_limit))
    taken = []
    try:
        while True:
            taken.append(open("/dev/null", "rb"))  # noqa: PTH123, SIM115  # to have it open is the point
    except OSError:
        pass
    try:
        space.add(Odd, "first")
    except StartFailed as error:
        print("refused:", error)
    for file in taken:
        file.close()
    space.add(Odd, "second")
    print("added again", me.proxy("second").ping())

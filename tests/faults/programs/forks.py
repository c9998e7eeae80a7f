"""An application that forks while it is connected: the child tries to speak, the parent goes on."""

import os

from agency import AgencyError, AMQPSpace
from tests.faults.members import Odd

with AMQPSpace() as space:
    space.add(Odd, "odd")
    me = space.join("me")
    child = os.fork()
    if child == 0:
        try:
            me.send({"to": "odd", "action": {"name": "ping"}})
        except AgencyError as error:
            print("child:", type(error).__name__, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("parent:", me.proxy("odd").ping(), flush=True)

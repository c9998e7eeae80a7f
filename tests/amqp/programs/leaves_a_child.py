"""An application with an agent, bob, and a forked child that outlives it: EXCHANGE."""

import os
import signal
import sys

from agency import Agent, AMQPSpace, action


class Bob(Agent):
    @action
    def work(self, n: int) -> int:
        return n


space = AMQPSpace(exchange=sys.argv[1])
space.add(Bob("bob"))
if os.fork() == 0:
    print("the child is there", os.getpid(), flush=True)
    signal.pause()
space.wait()

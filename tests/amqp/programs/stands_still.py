"""An application with an agent, bob, that says what it begins with: EXCHANGE FIFO. Each `block` ends when
somebody opens the FIFO for writing.
"""

import logging
import os
import sys
from pathlib import Path

from agency import Agent, AMQPSpace, action

exchange, fifo = sys.argv[1:]


class Bob(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=20)

    @action
    def block(self) -> None:
        print("blocks", flush=True)
        with Path(fifo).open(encoding="utf-8"):
            pass

    @action
    def work(self, n: int) -> None:
        print("begins", n, flush=True)


logging.basicConfig()
space = AMQPSpace(exchange=exchange)
space.add(Bob("bob"))
print("serves", os.getpid(), flush=True)

"""A program that ends at once, or is killed, while it adds agents: by itself where it is told to, as it comes there."""

import os
import sys
import threading

from agency import LocalSpace
from tests.local.agents import Worker

ends_at = int(sys.argv[1]) if len(sys.argv) > 1 else None

print("session", os.getsid(0), flush=True)
space = LocalSpace()
for number in range(30):
    print("adding", number, flush=True)
    if number == ends_at:
        threading.Thread(target=os._exit, args=(9,)).start()
    space.add(Worker, f"worker-{number}")

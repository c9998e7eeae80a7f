"""Does more at once than the system has threads for; whatever waits is done in the end."""

from __future__ import annotations

import resource
import threading

import psutil

from agency import Agent, NativeSpace, action
from agency.threads import Crew

STACK = 256 * 2**20
ROOM_FOR = 8  # stacks; a few are taken already, for memory that threads share
COUNT = 40

done = threading.Semaphore(0)
go_on = threading.Event()


def job() -> None:
    go_on.wait()
    used.add(threading.get_ident())
    done.release()


class Blocked(Agent):
    @action
    def block(self) -> None:
        going_on.wait()

    @action
    def ping(self) -> str:
        return "pong"


space = NativeSpace()
threading.stack_size(STACK)
used: set[int] = set()
going_on = threading.Event()
limit = psutil.Process().memory_info().vms + ROOM_FOR * STACK
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

crew = Crew("crew")
for _ in range(COUNT):
    crew.run(job)
go_on.set()
for _ in range(COUNT):
    done.acquire()
assert 0 < len(used) < COUNT
crew.close()
crew.join(timeout=30)
print(f"{COUNT} jobs done, on fewer threads", flush=True)

guest = space.join()
agents = [space.add(Blocked(f"agent {number}")) for number in range(COUNT)]
for agent in agents:
    guest.send({"to": agent.id, "action": {"name": "block"}})
going_on.set()
answers = [guest.proxy(agent.id, timeout=None).ping() for agent in agents]
print(f"{answers.count('pong')} agents answer", flush=True)
space.destroy()
print("destroyed", flush=True)

"""A program whose agents come from a module: nothing in it is run again in another process."""

from agency import LocalSpace
from tests.local.agents import Worker

print("main runs", flush=True)
with LocalSpace() as space:
    space.add(Worker, "worker")
    space.join().proxy("worker").process()

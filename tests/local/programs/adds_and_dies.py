"""A program that is killed while it adds agents."""

from agency import LocalSpace
from tests.local.agents import Worker

space = LocalSpace()
for number in range(30):
    space.add(Worker, f"worker-{number}")
    print("added", number, flush=True)

"""A program that has children of its own, which inherit what it has open."""

import multiprocessing
import threading

from agency import LocalSpace
from tests.local.agents import Worker

space = LocalSpace()
space.add(Worker, "worker")
child = multiprocessing.get_context("fork").Process(target=threading.Event().wait, daemon=True)
child.start()
print("child", child.pid, flush=True)

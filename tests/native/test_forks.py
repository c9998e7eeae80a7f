"""A process may fork while agents come and go: the child finds nothing locked."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from agency import Agent, NativeSpace
from tests.faults.tools import begin, eventually
from tests.programs import PATIENCE

Event = threading.Event


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_while_an_agent_is_asked_whether_it_leaves_can_make_a_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, moment = Event(), Event()

    class Slow(Event):
        """Takes its time to be made."""

        def __init__(self) -> None:
            super().__init__()
            asked.set()
            moment.wait(1.0)

    with monkeypatch.context() as patch:
        patch.setattr(threading, "Event", Slow)
        asking = begin(lambda: Agent("asked").leaving)
        assert asked.wait(PATIENCE)
        patch.undo()
        child = os.fork()
        if child == 0:
            space = NativeSpace()
            space.add(Agent("agent"))
            space.destroy()
            os._exit(0)
    moment.set()
    try:
        eventually(lambda: os.waitpid(child, os.WNOHANG)[0] == child)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert not asking.result(PATIENCE).is_set()

"""The supervisor of a LocalSpace: it sees agents through from one life to the next.

When the process of an agent dies, the hub keeps the agent's mail and the application its id. A thread
waits for as long as `agency.supervision` says, then has the agent built anew, until it is there, or
has died too often, or nobody wants it any more. Above: `local_space`, which builds agents and lets
them go. Below: `agency.supervision`, which decides.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from agency.deadletters import Reason
from agency.supervision import Deaths, Supervision

__all__ = ["Supervisor", "Ward", "describe_end"]

logger = logging.getLogger(__name__)


class Ward:
    """An agent that is to come again, over all its lives.

    Attributes:
        pickled: what a worker needs to build it.
        deaths: those that count.
        over: set when it is not to come again.
        is_wanted: false when it is removed.
        passage: between two lives: set when it is known what has become of it.
        outcome: during a restart: where what has become of it is waited for.
        lost: set when nothing is left of the mail that was kept.
    """

    def __init__(self, agent_id: str, supervision: Supervision, pickled: bytes) -> None:
        self.agent_id = agent_id
        self.supervision = supervision
        self.pickled = pickled
        self.deaths = Deaths(supervision)
        self.over = threading.Event()
        self.is_wanted = True
        self.passage: threading.Event | None = None
        self.outcome: queue.SimpleQueue[str | None] | None = None
        self.lost = threading.Event()


class Supervisor:
    """Sees to the agents of one space that are between two lives.

    Args:
        start_again: build the agent anew; returns what went wrong, or None if it is there.
        let_go: the agent will not come again, for that reason: give back its id, lose its mail, tell
            who watches it.
        is_halted: whether nobody is to be started any more.
    """

    def __init__(
        self,
        start_again: Callable[[Ward], str | None],
        let_go: Callable[[Ward, Reason, str], None],
        is_halted: Callable[[], bool],
    ) -> None:
        self._start_again = start_again
        self._let_go = let_go
        self._is_halted = is_halted
        self._lock = threading.Lock()
        self._restarts: Counter[str] = Counter()

    @property
    def restarts(self) -> dict[str, int]:
        """How often each agent was started again, also in vain."""
        with self._lock:
            return dict(self._restarts)

    def see_through(self, ward: Ward, status: int | None) -> None:
        """The agent's process has ended in that way: start the agent again, or let it go. Takes as
        long as that takes.
        """
        why = describe_end(status)
        comes_again = ward.supervision.covers(status)
        while comes_again and not (ward.over.is_set() or self._is_held(ward)):
            pause = ward.deaths.pause_after(time.monotonic())
            if pause is None:
                why = f"{why}, too often: {ward.supervision}"
                break
            logger.warning('"%s" is started again in %.1f s: %s', ward.agent_id, pause, why)
            if ward.over.wait(pause) or self._is_held(ward):
                break
            with self._lock:
                self._restarts[ward.agent_id] += 1
            failure = self._start_again(ward)
            if failure is None:
                return
            why = failure
        if ward.is_wanted:
            logger.error('"%s" is not started again: %s', ward.agent_id, why)
        self._let_go(ward, Reason.AGENT_DIED if ward.is_wanted else Reason.AGENT_REMOVED, why)

    def _is_held(self, ward: Ward) -> bool:
        """Whether nobody is to be started any more: then only after the end of waiting for that."""
        return self._is_halted() and ward.over.wait()


def describe_end(status: int | None) -> str:
    """How a process ended, for people."""
    if status is None:
        return "its process ended"
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        return f"its process was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was killed by signal {-status}"

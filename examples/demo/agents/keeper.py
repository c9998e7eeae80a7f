"""The process that keeps one shell command: a program, which `agents.command` runs.

    python keeper.py COMMAND <LIFE

It leads a process group, runs the command in it, and ends, with the command's status, when that has
ended; or when its own input has, which is how the process that wants the result says, or shows by
its death, that it wants no more. Before it ends, it kills everything that the command started. On Linux that is
whatever descends from it, in other groups, sessions and environments too, because a process whose
parent ends is given to the keeper; elsewhere it leaves that to whoever kills its process group.

Beyond its reach is what others start for the command (cron, a service manager, a container engine),
what runs as another user, and what outlives it if the command kills the keeper itself. Below: the
operating system; nothing of Agency, so that it starts fast.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PATIENCE: Final = 2.0
"""Seconds that the end of everything may take; only what cannot be killed takes long."""

_GLANCE: Final = 0.005  # seconds between two rounds of killing
_PR_SET_CHILD_SUBREAPER: Final = 36


def main(command: str) -> int:
    """Run the command; returns its status as a shell would show it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # The command may mean its group ("kill 0"). A handler, because the command does not inherit it.
        signal.signal(number, lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    shell = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL)
    unwanted = threading.Event()

    def watch() -> None:
        while os.read(0, 1):
            pass
        unwanted.set()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(shell.pid, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    ended, status = os.wait()
    while ended != shell.pid:  # an orphan of the command's
        ended, status = os.wait()
    _end_descendants()
    if unwanted.is_set():
        os.killpg(0, signal.SIGKILL)  # this process as well; there may be nobody else to do it
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_descendants() -> None:
    """Kill until this process has no child any more, and so no descendant."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for process_id in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process_id, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        if time.monotonic() > deadline:
            return
        time.sleep(_GLANCE)


def _descendants() -> Iterator[int]:
    """The children of this process, their children and so on, where the system shows them."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it is gone
            parent = int(stat.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = children.get(os.getpid(), [])
    for process_id in found:  # grows meanwhile
        yield process_id
        found += children.get(process_id, [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

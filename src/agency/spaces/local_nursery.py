"""The nursery: a clean process with Agency already imported, which forks the hub and the workers of
a LocalSpace.

A worker from here starts in a few milliseconds and shares most of its memory, where a fresh
interpreter takes a tenth of a second. The nursery has one thread and nothing of the application in
it: no lock, no socket and no thread of the application can be caught half-way in a fork, and the
application's main module is not run again.

`Nursery` is the application's handle; `main` runs in the process itself. When the application ends,
however that comes about, the nursery ends, and the kernel ends the workers with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from mmap import mmap
from pathlib import Path
from typing import Any, Final

from agency.spaces.local_frames import connection
from agency.spaces.local_hub import ANNOUNCEMENT, run_hub
from agency.spaces.local_memory import new_memory

__all__ = ["ENDED", "Nursery", "main"]

ENDED: Final = "the space's processes have ended; destroy the space and make a new one"
"""What is said to who wants an agent in another process, and there can be none any more."""

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_M_TRIM_THRESHOLD: Final = -1  # mallopt(3), of glibc
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT: Final = 8 * 1024 * 1024
"""Bytes that may be free at the end of a heap and not given back to the machine."""
_THE_APPLICATIONS: Final = {signal.SIGINT, signal.SIGTERM}
"""Signals that may reach the whole group; the application decides when to stop."""
_PATIENCE: Final = 5.0  # seconds for processes that were told to end


class Nursery:
    """The application's handle on its nursery: starts the process, and asks it for workers.

    Attributes:
        hub: the application's end of the socket to the hub.
        memory: what the application shares with the hub.
    """

    def __init__(self, grace: float, send_timeout: float, audit: Path | None) -> None:
        self._control, their_control = socket.socketpair()
        self.hub, their_hub = connection()
        self._lock = threading.Lock()
        memory = new_memory()
        self.memory = mmap(memory, 0)
        ends = (their_control.fileno(), their_hub.fileno(), memory)
        code = (
            f"import sys; sys.path[:] = {[str(place) for place in sys.path]!r}; "
            f"from agency.spaces.local_nursery import main; main{(os.getpid(), *ends)!r}"
        )
        try:
            with their_control, their_hub, _born_deaf():
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    pass_fds=ends,
                    stdin=subprocess.DEVNULL,
                )
        except BaseException:
            self.memory.close()
            self.hub.close()
            self._control.close()
            raise
        finally:
            os.close(memory)
        self._replies = self._control.makefile("r", encoding="utf-8")
        setting = {
            "argv": sys.argv,
            "grace": grace,
            "send_timeout": send_timeout,
            "main": _main_module(),
            "audit": None if audit is None else str(audit),
        }
        self._ask({"setting": setting, "modules": _standard_modules()})

    def start_worker(self, number: int) -> int:
        """Start a worker process and make it known to the hub. Returns its process id.

        Raises:
            OSError: the machine has no room for another process, or the nursery is gone.
        """
        return int(self._ask({"worker": number, "surroundings": _surroundings()}))

    def kill(self, process_id: int) -> int | None:
        """End a worker process at once. It may have ended already.

        Returns how it ended, in the way of `subprocess`: its status, or -N for the signal N. None if
        the nursery is gone.
        """
        try:
            return int(self._ask({"kill": process_id}))
        except OSError:
            return None

    def close(self) -> None:
        """End the nursery, the hub, and all workers that are left; wait until they are gone. After
        the link is closed.
        """
        self.hub.close()
        self.memory.close()
        self._replies.close()
        self._control.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: dict[str, Any]) -> Any:
        with self._lock:
            try:
                self._control.sendall(json.dumps(request).encode() + b"\n")
                line = self._replies.readline()
            except (OSError, ValueError):
                raise OSError(ENDED) from None
        if not line:
            raise OSError(ENDED)
        reply = json.loads(line)
        if "error" in reply:
            raise OSError(reply["error"])
        return reply["value"]


@contextlib.contextmanager
def _born_deaf() -> Iterator[None]:
    """Processes that this thread starts within begin with Ctrl-C and SIGTERM held back: they could
    not bear them yet.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _THE_APPLICATIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _main_module() -> dict[str, str | None]:
    """How a worker can find the application's main module, should it need the definitions in it."""
    module = sys.modules.get("__main__")
    spec = getattr(module, "__spec__", None)
    path = getattr(module, "__file__", None)
    return {"name": spec.name if spec else None, "path": os.path.abspath(path) if path else None}  # noqa: PTH100  # no symlinks resolved


def _surroundings() -> dict[str, Any]:
    """Where the application's code looks for modules, files and settings at this moment; a worker
    begins with the same.
    """
    try:
        folder = os.getcwd()  # noqa: PTH109  # a text, for JSON
    except FileNotFoundError:  # it was deleted
        folder = None
    return {"path": list(map(str, sys.path)), "environ": dict(os.environ), "folder": folder}


def _move_to(surroundings: dict[str, Any]) -> None:
    """In a worker: take over what `_surroundings` has found."""
    sys.path[:] = surroundings["path"]
    environ = surroundings["environ"]
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    for name, value in environ.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if surroundings["folder"] is not None:
        with contextlib.suppress(OSError):  # as it would be for a program that is started there
            os.chdir(surroundings["folder"])


def _standard_modules() -> list[str]:
    """The modules of the standard library that the application has imported.

    Agents' modules are likely to import them too. The nursery can do that once for all workers,
    because they start no thread and open no connection; other modules may.
    """
    home = os.path.dirname(os.__file__)  # noqa: PTH120  # as the interpreter writes it
    return [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in sys.stdlib_module_names
        and (getattr(module, "__file__", None) or home).startswith(home)
    ]


# In the nursery's own process


def main(application: int, control_end: int, hub_end: int, memory: int) -> None:
    """The nursery's life; in the processes that it forks, theirs."""
    # What a process is to become is returned, not called, so that it does not run on top of the
    # nursery's stack.
    become = _nurse(
        application, socket.socket(fileno=control_end), socket.socket(fileno=hub_end), memory
    )
    become()


def _nurse(
    application: int, control: socket.socket, to_application: socket.socket, memory: int
) -> Callable[[], None]:
    for number in _THE_APPLICATIONS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _THE_APPLICATIONS)
    requests = _requests(application, control)
    first = next(requests, None)
    if first is None:
        return lambda: None
    _keep_pages()
    _furnish(first["modules"])
    # Imported here to be there, ready, in every worker; the application's handle needs none of it.
    from agency.spaces.local_worker import Setting, rehearse, run_worker

    setting = Setting(**first["setting"])
    rehearse()
    gc.collect()
    gc.freeze()  # what is here by now stays shared with all others, untouched by their garbage collector

    children: set[int] = set()
    failures: dict[int, int] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _reap(children, failures))
    to_hub, from_nursery = socket.socketpair()
    hub = os.fork()
    if hub == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        to_hub.close()
        return lambda: run_hub(to_application, memory, from_nursery)
    children.add(hub)
    from_nursery.close()
    to_application.close()
    os.close(memory)
    _reply(control, {"value": None})

    for request in requests:
        value: Any = None
        if "kill" in request:
            value = _kill(request["kill"], children, failures)
        else:
            try:
                worker_end, shared, value = _bear(to_hub, request["worker"])
            except OSError as error:
                is_over = isinstance(error, ConnectionError)  # the hub is gone
                _reply(control, {"error": ENDED if is_over else f"no process to be had: {error}"})
                continue
            if value == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                to_hub.close()
                _move_to(request["surroundings"])
                return lambda: run_worker(worker_end, shared, setting)
            children.add(value)
            if not _is_child(value):  # it has ended, and `_reap` did not know it yet
                children.discard(value)
            worker_end.close()
        _reply(control, {"value": value})
    return lambda: _end(children)


def _keep_pages() -> None:
    """Let a process use again what it has freed: all of its threads share two heaps, and what is free
    there is given back to the machine only when it is more than `_KEPT`.

    Otherwise a message of 1 MB pays for fresh pages at each step of its way, which cost more than
    all else about it: 2.6 ms a round trip, not 0.6.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 2)
            mallopt(_M_MMAP_THRESHOLD, _KEPT)
            mallopt(_M_TRIM_THRESHOLD, _KEPT)


def _furnish(modules: list[str]) -> None:
    """Import what the workers are likely to need: it takes a worker 5 ms and 1 MB less if it finds
    `argparse` and what that imports, for example.
    """
    for name in modules:
        with contextlib.suppress(Exception):  # a worker that needs it will say why it cannot be had
            import_module(name)


def _requests(application: int, control: socket.socket) -> Iterator[dict[str, Any]]:
    """What the application asks for, one at a time, until it ends.

    A child of the application may have inherited its end of the socket and keep that open; so the
    process itself is watched too, where the system can (Linux).
    """
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        if hasattr(os, "pidfd_open"):
            try:
                selector.register(os.pidfd_open(application), selectors.EVENT_READ, "ended")
            except ProcessLookupError:
                return
        with control.makefile("r", encoding="utf-8") as lines:
            while os.getppid() == application:
                if any(key.data == "ended" for key, _ in selector.select()):
                    return
                try:
                    line = lines.readline()
                except OSError:  # it has ended without reading what was written to it
                    return
                if not line:
                    return
                yield json.loads(line)


def _reply(control: socket.socket, reply: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the application has gone: reading will say so
        control.sendall(json.dumps(reply).encode() + b"\n")


def _bear(to_hub: socket.socket, number: int) -> tuple[socket.socket, mmap, int]:
    """Fork a worker; returns its socket and memory, and its process id, or 0 in the worker."""
    worker_end, hub_end = connection()
    memory = new_memory()
    try:
        shared = mmap(memory, 0)
        socket.send_fds(
            to_hub, [str(number).encode().ljust(ANNOUNCEMENT)], [hub_end.fileno(), memory]
        )
        process_id = os.fork()
    finally:
        os.close(memory)
        hub_end.close()
    if process_id == 0:
        _die_with_parent()
    return worker_end, shared, process_id


def _die_with_parent() -> None:
    """Have the kernel end this process when the nursery ends. Linux only; elsewhere the closed
    socket has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _reap(children: set[int], failures: dict[int, int]) -> None:
    """Take note of ended children, so that they do not remain as zombies, and of how they ended, unless
    that is as it should.
    """
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            process_id, status = ended
            failures.pop(process_id, None)  # of an earlier process of this number
            if status:
                failures[process_id] = os.waitstatus_to_exitcode(status)
            children.discard(process_id)


def _is_child(process_id: int) -> bool:
    """Whether it is a child of this process, ended or not, of which `_reap` has not taken note."""
    try:
        os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _kill(process_id: int, children: set[int], failures: dict[int, int]) -> int:
    """End a worker, and wait for a while until it has. Returns how it ended, which may have been by
    itself.
    """
    limit = time.monotonic() + _PATIENCE
    if process_id in children:  # else it has ended, and the number may be another's
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    while process_id in children and time.monotonic() < limit:
        time.sleep(0.001)  # `_reap` interrupts it
    return failures.get(process_id, 0)


def _end(children: set[int]) -> None:
    """The application has gone, or wants no more of this: end all that is left."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _reap(children, {})
    for process_id in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()

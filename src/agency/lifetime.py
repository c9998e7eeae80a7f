"""Lifetime: how long a program with spaces runs, and how it ends.

The first agent that is added brings two things to the process, the last space's end takes them away
again:

* a program that reaches the end of its main module goes on serving, until Ctrl-C, SIGTERM or `destroy`;
* Ctrl-C and SIGTERM end the program in order: every space is destroyed, nothing prints a traceback, and the exit status
  is the usual 130 or 143. A second Ctrl-C ends it at once.

Neither happens in an interactive interpreter, under pytest, or outside of the main thread; handlers
that the program has installed itself are left alone. Below: nothing; `agency.space` tells this
module who lives.
"""

from __future__ import annotations

import atexit
import dis
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DefinitionsOnly",
    "Interrupted",
    "definitions_only",
    "forget",
    "leave_to_parent",
    "remember",
    "stop_here_if_only_definitions_are_wanted",
]

logger = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Living(Protocol):
    """A space, as far as this module cares."""

    def destroy(self) -> None: ...


class Interrupted(SystemExit, KeyboardInterrupt):  # like the two that it is
    """Ctrl-C or SIGTERM while the program ran.

    Can be caught as the `KeyboardInterrupt` that programs expect; uncaught, it ends the program as
    `SystemExit` does, without a traceback and with status 128 + the signal's number.
    """


class DefinitionsOnly(BaseException):
    """Ends the execution of a main module in a worker that wants the definitions in it, not another
    space.
    """


class _Lifetime:
    """What this module knows of the process. One instance, because there is one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.spaces: dict[int, Living] = {}
        self.hooked = False
        self.main_frame: FrameType | None = None
        self.replaced: dict[int, Any] = {}
        self.received: int | None = None
        self.bell: int | None = (
            None  # where to write a byte, so that `_serve` looks what has changed
        )
        self.definitions_only = False
        self.has_parent = False


_process = _Lifetime()


def remember(space: Living) -> None:
    """A space has an agent, so the process is to live until it is destroyed."""
    if id(space) in _process.spaces:
        return
    with _process.lock:
        _process.spaces[id(space)] = space
        if not _is_program():
            return
        if not _process.hooked:
            _process.hooked = True
            _process.main_frame = _frame_of_main()
            _hook_in()
        if threading.current_thread() is threading.main_thread():
            _install_handlers()


def forget(space: Living) -> None:
    """A space was destroyed."""
    with _process.lock:
        _process.spaces.pop(id(space), None)
        if not _process.spaces:
            if _process.bell is not None:
                os.write(_process.bell, b".")
            if threading.current_thread() is threading.main_thread():
                _restore_handlers()


@contextmanager
def definitions_only() -> Iterator[None]:
    """Within: whoever makes a space is stopped there with `DefinitionsOnly`, which ends the block
    quietly.
    """
    _process.definitions_only = True
    try:
        yield
    except DefinitionsOnly:
        pass
    finally:
        _process.definitions_only = False


def stop_here_if_only_definitions_are_wanted() -> None:
    """Called by every space when it is made. Raises `DefinitionsOnly` inside of `definitions_only`."""
    if _process.definitions_only:
        raise DefinitionsOnly


def leave_to_parent() -> None:
    """This process lives and ends as its parent says: neither of the two things is for it."""
    _process.has_parent = True


def _is_program() -> bool:
    """Whether this process runs a program that ends when its main module does."""
    if _process.has_parent:
        return False
    interactive = hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules
    return not interactive and "pytest" not in sys.modules


def _frame_of_main() -> FrameType | None:
    """The frame of the main module's top level, if the main thread is in it."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    found = None
    main = sys.modules.get("__main__")
    while frame is not None:
        if (
            main is not None
            and frame.f_globals is vars(main)
            and frame.f_code.co_name == "<module>"
        ):
            found = frame
        frame = frame.f_back
    return found


def _main_reached_its_end() -> bool:
    """Whether the main module ran to its last line, rather than ending by `sys.exit` or an
    exception.

    An exception leaves the frame at the instruction that raised; only a normal end leaves it at a
    return.
    """
    frame = _process.main_frame
    if frame is None:
        return True
    last = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return last.startswith("RETURN")


def _hook_in() -> None:
    """Have `_serve` called when the main thread ends, before the interpreter tears anything down.

    `threading._register_atexit` is what `concurrent.futures` uses for the same need. Calls run in
    reverse order of registration: `concurrent.futures.thread`, which registers its own when it is
    imported, has to come first, or no executor, and so nothing of asyncio that needs one, would
    work in agents while the program serves.
    """
    import concurrent.futures.thread  # noqa: F401  # only programs that serve need it

    threading._register_atexit(_serve)  # type: ignore[attr-defined]
    atexit.register(_end_as_signalled)


def _serve() -> None:
    """In the main thread, after its program ended: go on until every space is destroyed or a signal
    comes; then destroy what is left.
    """
    if _main_reached_its_end():
        _wait_for_the_end()
    for space in reversed(list(_process.spaces.values())):
        try:
            space.destroy()
        except KeyboardInterrupt:
            os._exit(128 + signal.SIGINT)
        except Exception:
            logger.exception("a space could not be destroyed")


def _wait_for_the_end() -> None:
    # A signal that comes just before the wait for a lock begins does not end that wait. The byte that
    # the interpreter writes on a signal is there whenever it is read.
    ear, _process.bell = os.pipe()
    os.set_blocking(_process.bell, False)
    signal.set_wakeup_fd(_process.bell, warn_on_full_buffer=False)
    try:
        while _process.spaces and _process.received is None:
            os.read(ear, 4096)
    except KeyboardInterrupt:  # of a handler that is not ours
        _process.received = signal.SIGINT


def _end_as_signalled() -> None:
    """End with the status that a signal gives a program, if one ended the serving."""
    if _process.received is not None and _main_reached_its_end():
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        signal.signal(_process.received, signal.SIG_DFL)
        os.kill(os.getpid(), _process.received)


def _install_handlers() -> None:
    for number in _SIGNALS:
        if number not in _process.replaced and signal.getsignal(number) in (
            signal.SIG_DFL,
            signal.default_int_handler,
        ):
            _process.replaced[number] = signal.signal(number, _on_signal)


def _restore_handlers() -> None:
    if _process.received is not None:
        return  # the program is ending; its last moments stay quiet
    for number, handler in _process.replaced.items():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, handler)
    _process.replaced.clear()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _process.received is not None and number == signal.SIGINT:
        os._exit(128 + number)
    _process.received = number
    if _process.main_frame is None or _is_within(_process.main_frame, frame):
        raise Interrupted(128 + number)


def _is_within(outer: FrameType, frame: FrameType | None) -> bool:
    """Whether the frame was called, at some remove, from the outer one: the program still runs."""
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is not None

"""Lifetime: how long a program with spaces runs, and how it ends.

* With the first agent: a program that reaches the end of its main module goes on serving, until Ctrl-C, SIGTERM or
  `destroy`.
* With the first space, and until the last is destroyed: Ctrl-C and SIGTERM end the program in order. Every space is
  destroyed, nothing prints a traceback, and the exit status is the usual 130 or 143. A second Ctrl-C ends it at once.
* A forked child has no part in this: its parent's spaces are not its own, and it ends when its program does.

The first two do not happen in an interactive interpreter and under pytest; handlers that the program
has installed itself are left alone. Below: nothing; `agency.space` tells this module who lives.

A signal may come between any two instructions of the main thread. What must not be cut in two there,
because a lock would stay taken or half of a frame be written, is done `undisturbed`: then the signal
is only noted, and acted upon at the end.
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
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DefinitionsOnly",
    "Interrupted",
    "definitions_only",
    "destroyed",
    "end_forked_child",
    "interruptible",
    "is_main_thread",
    "keep_serving",
    "leave_signals_to_parent",
    "leave_to_parent",
    "made",
    "stop_serving",
    "undisturbed",
]

logger = logging.getLogger(__name__)

_USUAL: Final = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""The signals that end a program, and what Python has for them."""


class Living(Protocol):
    """A space, as far as this module cares."""

    def destroy(self) -> None: ...

    def stay_with_parent(self) -> None:
        """Called in a forked child: the space lives in the parent, and is of no use here."""


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
        self.main_thread = threading.main_thread().ident
        self.spaces: WeakSet[Living] = WeakSet()  # made here, and not destroyed
        self.serving: dict[int, Living] = {}  # those for which the process is to live
        self.hooked = False
        self.main_frame: FrameType | None = None
        self.main_ended = False
        self.replaced: dict[int, Any] = {}
        self.received: int | None = None
        self.noted = False
        """Whether `received` came while the main thread was not to be disturbed."""
        self.undisturbed = False
        """Whether the main thread is not to be disturbed. Used by that thread only."""
        self.bell: int | None = (
            None  # where to write a byte, so that `_serve` looks what has changed
        )
        self.definitions_only = False
        self.has_parent = False


_process = _Lifetime()


def made(space: Living) -> None:
    """Called by every space when it is made. Raises `DefinitionsOnly` inside of `definitions_only`."""
    if _process.definitions_only:
        raise DefinitionsOnly
    with _process.lock:
        _process.spaces.add(space)
        if _is_program():
            _process.main_frame = _process.main_frame or _frame_of_main()
            _install_handlers()


def destroyed(space: Living) -> None:
    """The space has ended, or could not be made."""
    with _process.lock:
        _process.spaces.discard(space)
        stop_serving(space)
        if not _process.spaces:
            _restore_handlers()


def keep_serving(space: Living) -> None:
    """A space has an agent, so the process is to live until it is destroyed."""
    if id(space) in _process.serving:
        return
    with _process.lock:
        _process.serving[id(space)] = space
        if _is_program() and not _process.hooked:
            _process.hooked = True
            _hook_in()


def stop_serving(space: Living) -> None:
    """The process need not live for this space."""
    with _process.lock:
        _process.serving.pop(id(space), None)
        if not _process.serving and _process.bell is not None:
            os.write(_process.bell, b".")


def is_main_thread() -> bool:
    """Whether this is the thread that signals come to."""
    return threading.get_ident() == _process.main_thread


class undisturbed:  # noqa: N801  # used like a function
    """Within, in the main thread: a signal is only noted; `Interrupted` is raised at the end.

    For what takes a known time. A second Ctrl-C ends the program all the same.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _process.undisturbed
        if is_main_thread():
            _process.undisturbed = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if is_main_thread():
            _process.undisturbed = self._before
            # A signal that comes from here on raises by itself.
            _raise_if_noted()


class interruptible:  # noqa: N801  # used like a function
    """Within `undisturbed`, for other people's code, and for waiting without a lock: a signal raises
    `Interrupted` at once, as it does outside.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _process.undisturbed
        if is_main_thread():
            try:
                _process.undisturbed = False
                _raise_if_noted()
            except BaseException:
                _process.undisturbed = self._before
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if is_main_thread():
            _process.undisturbed = self._before


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


def leave_to_parent() -> None:
    """This process lives and ends as its parent says."""
    _process.has_parent = True


def leave_signals_to_parent() -> None:
    """Ctrl-C reaches the whole foreground group, and so may SIGTERM: the parent decides when to stop."""
    for number, usual in _USUAL.items():
        _process.replaced[number] = usual
        # A handler rather than SIG_IGN, which programs that an agent starts would inherit.
        signal.signal(number, _leave_signal_to_parent)


def end_forked_child() -> NoReturn:
    """End this process, a forked child that has come back to where only its parent goes on."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0)


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
    try:
        import concurrent.futures.thread  # noqa: F401  # only programs that serve need it

        threading._register_atexit(_serve)  # type: ignore[attr-defined]
    except RuntimeError:
        return  # the main thread has ended; the thread that adds agents now keeps the program alive
    atexit.register(_end_as_signalled)


def _serve() -> None:
    """In the main thread, after its program ended: go on until every space is destroyed or a signal
    comes; then destroy what is left.
    """
    if _process.has_parent:
        return
    if _main_reached_its_end():
        _wait_for_the_end()
    _process.main_ended = True
    for space in reversed(list(_process.serving.values())):
        try:
            space.destroy()
        except KeyboardInterrupt:  # of a handler that is not ours
            os._exit(128 + signal.SIGINT)
        except Exception:
            logger.exception("a space could not be destroyed")


def _wait_for_the_end() -> None:
    # A signal that comes just before the wait for a lock begins does not end that wait. The byte that
    # the interpreter writes on a signal is there whenever it is read.
    ear, _process.bell = os.pipe()
    os.set_blocking(_process.bell, False)
    signal.set_wakeup_fd(_process.bell, warn_on_full_buffer=False)
    _process.main_ended = True
    try:
        _install_handlers()  # a space made in another thread could not
        while _process.serving and _process.received is None:
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
    if is_main_thread():
        for number, usual in _USUAL.items():
            if signal.getsignal(number) is usual:
                _process.replaced[number] = usual
                signal.signal(number, _on_signal)


def _restore_handlers() -> None:
    if _process.received is not None:
        return  # the program is ending; its last moments stay quiet
    if is_main_thread():
        _give_handlers_back()


def _give_handlers_back() -> None:
    for number, handler in _process.replaced.items():
        if signal.getsignal(number) in {_on_signal, _leave_signal_to_parent}:
            signal.signal(number, handler)
    _process.replaced.clear()


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _process.received is not None and number == signal.SIGINT:
        os._exit(128 + number)
    _process.received = number
    if _process.undisturbed:
        _process.noted = True
    elif _main_runs(frame):
        raise Interrupted(128 + number)


def _raise_if_noted() -> None:
    if _process.noted and not _process.undisturbed and _process.received is not None:
        _process.noted = False
        if _main_runs(sys._getframe()):
            raise Interrupted(128 + _process.received)


def _leave_signal_to_parent(number: int, frame: FrameType | None) -> None:
    """Nothing."""


def _main_runs(frame: FrameType | None) -> bool:
    """Whether what the main thread does, in this frame, is the program's."""
    if _process.main_frame is None:
        return not _process.main_ended
    return _is_within(_process.main_frame, frame)


def _is_within(outer: FrameType, frame: FrameType | None) -> bool:
    """Whether the frame was called, at some remove, from the outer one: the program still runs."""
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is not None


def _begin_anew() -> None:
    """In a forked child: this process has no spaces yet, and ends as a child does."""
    global _process
    _give_handlers_back()
    parents, _process = _process, _Lifetime()
    _process.has_parent = True
    _process.definitions_only = parents.definitions_only
    if parents.bell is not None:
        signal.set_wakeup_fd(-1)
    for space in list(parents.spaces):
        space.stay_with_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

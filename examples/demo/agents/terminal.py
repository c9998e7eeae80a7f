"""The terminal where the application runs, as a place to ask a person yes or no.

`Host` asks here before it does anything. The question is put to the controlling terminal, which a
program shares with the processes it starts, so it does not matter in which of them the agent lives.
Below: the operating system. Nothing here knows agents.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import tempfile
import termios
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["MAX_SHOWN", "NoTerminal", "Question", "in_a_frame", "visible"]

MAX_SHOWN: Final = 4000
"""Characters of a text that are shown; of a longer one the middle is left out, and said to be."""

_GLANCE: Final = (
    0.1  # seconds between two looks whether the terminal is free, or the question withdrawn
)


class NoTerminal(OSError):
    """There is no terminal at which a person could be asked; the text says why."""


class Question:
    """One question to the person at the terminal.

    Args:
        text: what is asked, as lines of printable characters.
        timeout: seconds until no answer means no.
        withdrawn: is set when nobody wants the answer any more; then it is no.
    """

    def __init__(self, text: str, timeout: float, withdrawn: threading.Event) -> None:
        self._text = text
        self._deadline = time.monotonic() + timeout
        self._withdrawn = withdrawn

    def ask(self) -> bool:
        """Ask and wait for the answer; only "y" or "yes", typed after the question, is a yes.

        One question at a time is on the terminal, across all threads and processes that share it.
        To be called once. Returns False when there was no answer in time.

        Raises:
            NoTerminal: nobody can be asked.
        """
        try:
            with _terminal() as terminal, self._turn_at_terminal() as mine:
                return mine and self._put(terminal)
        except OSError as error:
            if isinstance(error, NoTerminal):
                raise
            raise NoTerminal(f"the terminal cannot be used: {error.strerror}") from error

    @contextlib.contextmanager
    def _turn_at_terminal(self) -> Iterator[bool]:
        """Hold the lock that all processes of this terminal share; False if it is not had in time."""
        path = _lock_path()
        while time.monotonic() < self._deadline and not self._withdrawn.is_set():
            lock = _locked(path)
            if lock is not None:
                try:
                    yield True
                finally:
                    path.unlink(missing_ok=True)
                    os.close(lock)
                return
            self._withdrawn.wait(_GLANCE)
        yield False

    def _put(self, terminal: int) -> bool:
        _write(terminal, f"\n{self._text}\n")
        # What was typed before the question was there to be read is no answer to it.
        termios.tcflush(terminal, termios.TCIFLUSH)
        _write(terminal, "Allow this? [y/N] ")
        while not self._withdrawn.is_set() and (left := self._deadline - time.monotonic()) > 0:
            if select.select([terminal], [], [], min(left, _GLANCE))[0]:
                answer = os.read(terminal, 4096).decode("utf-8", "replace").strip().lower()
                permitted = answer in {"y", "yes"}
                _write(terminal, "Allowed.\n" if permitted else "Refused.\n")
                return permitted
        is_withdrawn = self._withdrawn.is_set()
        _write(terminal, "\nWithdrawn.\n" if is_withdrawn else "\nNo answer in time: refused.\n")
        return False


def visible(text: str, limit: int = MAX_SHOWN) -> str:
    """The text with every character that does not print as itself escaped, and cut in the middle.

    Control characters could otherwise rewrite the screen, and invisible ones or those that change
    the direction of writing make one command look like another.
    """
    escaped = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
    if len(escaped) <= limit:
        return escaped
    half = limit // 2
    hidden = len(escaped) - 2 * half
    return f"{escaped[:half]}\n[... {hidden} OF {len(escaped)} CHARACTERS ARE NOT SHOWN ...]\n{escaped[-half:]}"


def in_a_frame(text: str, columns: int | None = None) -> str:
    """The text broken into lines that each begin with a bar, so that it cannot pose as the prompt.

    Args:
        text: printable characters and line ends.
        columns: the width to keep to; that of the terminal by default.
    """
    width = max(2, (columns or shutil.get_terminal_size().columns) - len("  | ") - 1)
    return "\n".join(f"  | {piece}" for line in text.split("\n") for piece in _pieces(line, width))


def _pieces(line: str, width: int) -> Iterator[str]:
    """The line in pieces that are at most `width` columns wide."""
    start, used = 0, 0
    for index, character in enumerate(line):
        columns = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used + columns > width:
            yield line[start:index]
            start, used = index, 0
        used += columns
    yield line[start:]


@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """The controlling terminal, open, if this process may read from it."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise NoTerminal("the application was not started from a terminal") from error
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():
            raise NoTerminal("the application runs in the background of its terminal")
        yield terminal
    finally:
        os.close(terminal)


def _lock_path() -> Path:
    """The file whose lock stands for the terminal. A session has at most one controlling terminal."""
    return Path(tempfile.gettempdir()) / f"agency-terminal-{os.getuid()}-{os.getsid(0)}"


def _locked(path: Path) -> int | None:
    """The file at the path, open and locked by us alone; None if another has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.stat()):  # else its holder has just removed it
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _write(terminal: int, text: str) -> None:
    remaining = text.encode("utf-8", "backslashreplace")
    while remaining:
        remaining = remaining[os.write(terminal, remaining) :]

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
import tempfile
import termios
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["MAX_SHOWN", "NoTerminal", "Question", "TooLong", "framed", "visible"]

MAX_SHOWN: Final = 20_000
"""Characters that a question may have: some hundred lines, to which a terminal can scroll back."""

_BAR: Final = "  | "

_GLANCE: Final = (
    0.1  # seconds between two looks whether the terminal is free, or the question withdrawn
)


class NoTerminal(OSError):
    """There is no terminal at which a person could be asked; the text says why."""


class TooLong(ValueError):
    """There is more to show than a person at a terminal can look at; the text says how much."""


class Question:
    """One question to the person at the terminal.

    All of it is shown, every character visible, or it is not put at all.

    Args:
        heading: what it is about, in the program's own words; one line.
        about: what the person should know, as pairs of a name and a text. The texts may be
            anybody's.
        timeout: seconds until no answer means no.
        withdrawn: is set when nobody wants the answer any more; then it is no.

    Raises:
        TooLong: the texts have more than `MAX_SHOWN` characters.
    """

    def __init__(
        self,
        heading: str,
        about: Sequence[tuple[str, str]],
        timeout: float,
        withdrawn: threading.Event,
    ) -> None:
        length = sum(len(visible(text)) for _, text in about)
        if length > MAX_SHOWN:
            raise TooLong(f"it has {length} characters, and a terminal is for {MAX_SHOWN} at most")
        self._heading = heading
        self._about = about
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
        """Hold the lock that all processes of this terminal share; False if it is not had in time.

        A lock that is free is had in time, however late it is, so that the person is told.
        """
        path = _lock_path()
        while not self._withdrawn.is_set():
            lock = _locked(path)
            if lock is not None:
                try:
                    yield True
                finally:
                    path.unlink(missing_ok=True)
                    os.close(lock)
                return
            if time.monotonic() >= self._deadline:
                break
            self._withdrawn.wait(_GLANCE)
        yield False

    def _put(self, terminal: int) -> bool:
        size = os.get_terminal_size(terminal)
        lines = [self._heading, *framed(self._about, size.columns or 80)]
        if 0 < size.lines < len(lines) + 2:
            lines.append(f"These were {len(lines)} lines; scroll up to read all of them.")
        _write(terminal, "\n" + "\n".join(lines) + "\n")
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


def visible(text: str) -> str:
    """The text with every character that does not print as itself escaped.

    Control characters could otherwise rewrite the screen, and invisible ones or those that change
    the direction of writing make one command look like another.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def framed(about: Sequence[tuple[str, str]], columns: int) -> list[str]:
    """Names and texts as lines of a frame: a bar, the name where a text begins, and the text.

    No text can pose as what is outside, because each line begins with the bar and none is so long
    that the terminal would break it; nor as another text, because the place of the names is empty
    where a text goes on.

    Args:
        about: the texts may be anybody's.
        columns: the width to keep to.
    """
    room = max((len(name) for name, _ in about), default=0) + 2
    width = max(2, columns - len(_BAR) - room - 1)
    return [
        f"{_BAR}{name if number == 0 else '':{room}}{piece}"
        for name, text in about
        for number, piece in enumerate(_pieces(visible(text), width))
    ]


def _pieces(line: str, width: int) -> Iterator[str]:
    """The line in pieces that are at most `width` columns wide, whatever the terminal's alphabet."""
    start, used = 0, 0
    for index, character in enumerate(line):
        columns = 2 if unicodedata.east_asian_width(character) in "WFA" else 1
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

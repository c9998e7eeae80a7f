"""A real program at a real pseudo-terminal, as a person would have it before them."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["DEMO", "PATIENCE", "TerminalProgram"]

DEMO: Final = Path(__file__).parents[2] / "examples" / "demo"

PATIENCE: Final = 45.0
"""Seconds for anything that a program is expected to do; a loaded machine starts Gradio slowly."""

# In a session of its own already; takes the terminal as the controlling one, then is the program.
# A test run that was started in the background of a shell ignores Ctrl-C, and would hand that on.
_TAKE_TERMINAL: Final = (
    "import fcntl, os, signal, sys, termios; "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class TerminalProgram:
    """A Python program in a session of its own, on a terminal of 100 columns.

    Args:
        arguments: of Python.
        environment: in addition to this process's.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._arguments = arguments
        self._environment = environment
        self._seen = 0
        self.output = ""

    def __enter__(self) -> Self:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, *self._arguments],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env={**os.environ, "PYTHONPATH": str(DEMO), **self._environment},
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._terminal)

    def __repr__(self) -> str:
        """What a failed assertion shows."""
        return f"<a program whose terminal shows {self.output!r}>"

    @property
    def process_id(self) -> int:
        return self._process.pid

    def expect(self, text: str) -> str:
        """Wait until the text appears after what was expected before; returns what came up to it."""
        deadline = time.monotonic() + PATIENCE
        while (place := self.output.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not appear; there was:\n{self.output}")
        before = self.output[self._seen : place]
        self._seen = place + len(text)
        return before

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def press_ctrl_c(self) -> None:
        self.type("\x03")

    def wait(self) -> int:
        """Wait for the end; returns the status that a shell would show."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        status = self._process.wait(max(0.0, deadline - time.monotonic()))
        return 128 - status if status < 0 else status

    def _read(self, deadline: float) -> bool:
        """Take in what the program wrote next; False if it ended or time is up."""
        ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
        try:
            piece = os.read(self._terminal, 65536) if ready else b""
        except OSError:  # how Linux says that nobody has the other end any more
            piece = b""
        self.output += piece.decode("utf-8", "replace")
        return bool(piece)

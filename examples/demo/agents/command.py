"""One shell command, from its start to the end of its last process, within limits.

`Host.shell_command` runs what it was permitted to run through this. Below: `agents.keeper`, the
process between this one and the command's, and the operating system.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

__all__ = ["Command"]

_READ_AT_ONCE: Final = 65536
_GLANCE: Final = 0.1  # seconds between two looks whether the result is still wanted
_PATIENCE: Final = 10.0  # seconds for the keeper to end; it takes that long only if it is hindered
_KEEPER: Final = str(Path(__file__).with_name("keeper.py"))

_ENVIRONMENT: Final = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"}
)
"""What a command learns of the application's environment. Keys and passwords have other names."""


class Command:
    """A command for `/bin/sh`, to be run once.

    It has no input and no terminal, and of the environment only what a shell needs. When it ends,
    for whatever reason, everything that it started is killed: its process group everywhere, on
    Linux also what has left the group, but for what `agents.keeper` cannot reach. If this process
    is killed, all of that ends as well.

    Args:
        command: for the shell.
        timeout: seconds that it may take.
        max_output: bytes that it may write.
        unwanted: is set when nobody wants the result any more.
    """

    def __init__(
        self, command: str, *, timeout: float, max_output: int, unwanted: threading.Event
    ) -> None:
        self._command = command
        self._timeout = timeout
        self._max_output = max_output
        self._unwanted = unwanted
        self._is_full = threading.Event()

    def run(self) -> str:
        """Run it and return what it wrote, standard error included.

        A status other than 0 is said on the last line, and so is that it wrote too much and was
        ended for that.

        Raises:
            TimeoutError: it took too long and was ended; the text has the output until then.
            InterruptedError: `unwanted` was set.
        """
        life, ours = os.pipe()
        try:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", _KEEPER, self._command],
                stdin=life,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(life)
        with keeper:
            status, output = self._watch(keeper, ours)
        if self._unwanted.is_set():
            raise InterruptedError("the command was ended, because nobody is there for its result")
        if output.is_cut:
            return f"{output.text}\n[ended: it wrote more than {self._max_output} bytes]"
        if status is None:
            raise TimeoutError(
                f"the command took longer than {self._timeout:g} seconds and was ended; "
                f"its output until then:\n{output.text}"
            )
        return f"{output.text}\n[exit status {status}]" if status else output.text

    def _watch(self, keeper: subprocess.Popen[bytes], life: int) -> tuple[int | None, _Output]:
        """Wait for its end, or bring it about. Returns its status, or None if it took too long."""
        assert keeper.stdout is not None
        with _Output(keeper.stdout.fileno(), self._max_output, self._is_full.set) as output:
            try:
                status = self._status(keeper)
            finally:
                os.close(life)
                _end(keeper)
        return status, output

    def _status(self, keeper: subprocess.Popen[bytes]) -> int | None:
        """The status with which it ends, or None if that takes too long or is waited for in vain."""
        deadline = time.monotonic() + self._timeout
        while not (self._unwanted.is_set() or self._is_full.is_set()):
            if (left := deadline - time.monotonic()) <= 0:
                break
            try:
                return keeper.wait(min(left, _GLANCE))
            except subprocess.TimeoutExpired:
                continue
        return None


def _end(keeper: subprocess.Popen[bytes]) -> None:
    """Wait until the keeper has ended what it keeps, then kill what is left of its group."""
    for number in (signal.SIGCONT, signal.SIGKILL):  # the command may have made its keeper stop
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(keeper.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(_PATIENCE)


class _Output:
    """Reads what a command writes, up to a limit, on a thread of its own, until the block ends."""

    def __init__(self, source: int, limit: int, when_full: Callable[[], None]) -> None:
        self.is_cut = False
        self._source = source
        self._limit = limit
        self._when_full = when_full
        self._read = bytearray()
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._collect, name="command-output")

    @property
    def text(self) -> str:
        """Everything, or as much as the limit allows. To be asked for after the block."""
        return bytes(self._read[: self._limit]).decode("utf-8", "replace")

    def __enter__(self) -> Self:
        os.set_blocking(self._source, False)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self._stop_writer, b"\0")
        self._thread.join()
        os.close(self._stop_reader)
        os.close(self._stop_writer)

    def _collect(self) -> None:
        stopping = False
        while not stopping:
            ready, _, _ = select.select([self._source, self._stop_reader], [], [])
            stopping = self._stop_reader in ready  # what is in the pipe by now is still read
            if self._drain():
                return

    def _drain(self) -> bool:
        """Read what is there. Returns whether nothing more is wanted."""
        try:
            while piece := os.read(self._source, _READ_AT_ONCE):
                self._read += piece
                if len(self._read) > self._limit:
                    self.is_cut = True
                    self._when_full()
                    return True
        except BlockingIOError:
            return False
        return True


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith("LC_")
    }

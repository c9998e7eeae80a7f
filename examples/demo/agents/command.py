"""One shell command, from its start to the end of its last process, within limits.

`Host.shell_command` runs what it was permitted to run through this. Below: the operating system.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

__all__ = ["Command"]

_READ_AT_ONCE: Final = 65536
_ROUNDS: Final = 20
_GLANCE: Final = 0.1  # seconds between two looks whether the result is still wanted
_MARK: Final = "AGENCY_COMMAND"

_GUARDED: Final = (
    "exec 3<&0 </dev/null; "
    "(read -r _ <&3; kill -s KILL 0) >/dev/null 2>&1 & "
    'exec 3<&-; exec /bin/sh -c "$1"'
)
"""The command beside a guard, whose input ends when the process that wants the result does."""

_ENVIRONMENT: Final = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"}
)
"""What a command learns of the application's environment. Keys and passwords have other names."""


class Command:
    """A command for `/bin/sh`, to be run once.

    It has no input and no terminal, and of the environment only what a shell needs. When it ends,
    for whatever reason, everything that it started is killed: its process group everywhere, on
    Linux also what has left the group. If this process is killed, the group ends with it.

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
        self._mark = f"{_MARK}={secrets.token_hex(16)}"
        self._lock = threading.Lock()
        self._leader: int | None = None  # while it runs; guarded by _lock

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
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "sh", self._command],
                stdin=life,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(self._mark),
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(life)
        try:
            with process:
                status, output = self._watch(process)
        finally:
            os.close(ours)
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

    def _watch(self, process: subprocess.Popen[bytes]) -> tuple[int | None, _Output]:
        """Wait for its end, or bring it about. Returns its status, or None if it took too long."""
        assert process.stdout is not None
        with self._lock:
            self._leader = process.pid
        with _Output(process.stdout.fileno(), self._max_output, self._end_of_limit) as output:
            try:
                status = self._status(process)
            finally:
                with self._lock:
                    self._kill()
                    self._leader = None
        return status, output

    def _status(self, process: subprocess.Popen[bytes]) -> int | None:
        """The status with which it ends, or None if that takes too long or is waited for in vain."""
        deadline = time.monotonic() + self._timeout
        while not self._unwanted.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                return process.wait(min(left, _GLANCE))
            except subprocess.TimeoutExpired:
                continue
        return None

    def _end_of_limit(self) -> None:
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        """Kill the group, and what has left it (daemons) where the system shows environments."""
        if self._leader is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._leader, signal.SIGKILL)
        for _ in range(_ROUNDS):  # a process that is seen may start another before it is killed
            strays = list(_marked(self._mark))
            if not strays:
                return
            for stray in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(stray, signal.SIGKILL)


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


def _marked(mark: str) -> Iterator[int]:
    """The processes that carry the mark in their environment and have not ended."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if mark.encode() in environment.read_bytes():
                yield int(environment.parent.name)


def _environment(mark: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith("LC_")
    }
    name, _, value = mark.partition("=")
    return kept | {name: value}

"""Programs as users write them: run in processes of their own, read line by line, ended by real signals."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

PATIENCE = 30.0
"""Seconds that anything in a test may take; far more than it does, for busy machines."""


class Program:
    """A Python program in a process group of its own, with its output at hand. Killed at the end of its block."""

    def __init__(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.output = ""
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        """What a failed assertion shows."""
        return f"<a program that has printed {self.output!r}>"

    def wait_for(self, text: str) -> str:
        """Wait for a line with the text and return it.

        Raises:
            AssertionError: the program ended without one, or took too long; shows all that it printed.
        """
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"no {text!r} in time; so far:\n{self.output}") from None
            assert line is not None, f"the program ended without {text!r}:\n{self.output}"
            if text in line:
                return line

    def still_runs_after(self, seconds: float) -> bool:
        """Whether the program does not end within that time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole group, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM to the program alone, as service managers do."""
        self._process.send_signal(signal.SIGTERM)

    def terminate_group(self) -> None:
        """SIGTERM to the whole group, as other service managers do."""
        os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the program alone."""
        self._process.kill()

    def descendants(self) -> list[psutil.Process]:
        """The processes that the program has started, and those that they have."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def cpu_seconds(self) -> float:
        """What the program and its descendants have used of the processors so far."""
        times = [psutil.Process(self._process.pid).cpu_times()]
        times += [child.cpu_times() for child in self.descendants()]
        return sum(one.user + one.system for one in times)

    def end(self) -> int:
        """Wait for the program to end and return its status as a shell shows it: 128 + the number of a signal."""
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status if status >= 0 else 128 - status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            self._lines.put(line)
        self._lines.put(None)


def all_end(processes: list[psutil.Process]) -> bool:
    """Whether these processes, which nobody here is the parent of, all end in time."""
    _, alive = psutil.wait_procs(processes, PATIENCE)
    return not alive

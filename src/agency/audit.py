"""The audit log: who asked for what on request, and what was decided, on disk before it takes effect.

A file of JSON lines, one record for each decision about an action with `ACCESS_REQUESTED`::

    {"time": "2026-01-31T12:00:00.000000+00:00", "decision": "permitted",
     "why": "request_permission returned True", "by": "files", "senders": ["ann", "assistant"],
     "digest": "sha256:...", "message": {"from": "assistant", "to": "files", "action": ...}}

`by` is the agent that decided, `senders` are those on whose behalf it was asked, the direct one last,
and `message` is the call as it was shown, with all its arguments. Above: `agency.space` has one for
its agents, `agency.runners` writes to it. Below: the file.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["AuditLog"]


class AuditLog:
    """Appends to one file, from any thread; several processes may have one for the same file.

    What was written is never changed. A record is on the disk when `record` returns. It stands on a
    line of its own, also if an earlier one was cut off, because its writer was killed or the disk was
    full: such a line is no JSON. The file is made with mode 0600. If another file stands at the path
    (`logrotate`), that one is written to from then on.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._file: int | None = None  # guarded by _lock, as the file's end is

    def open(self) -> None:
        """Open the file now, to find out whether that is possible; otherwise the first record does.

        Raises:
            OSError: it cannot be opened or made.
        """
        with self._lock:
            self._opened()

    def record(
        self,
        message: Any,
        digest: str,
        *,
        permitted: bool,
        why: str,
        by: str,
        senders: Sequence[str],
    ) -> None:
        """Write down a decision. Returns when it is on the disk.

        Raises:
            OSError: it is not, or nobody knows.
        """
        record = {
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            "decision": "permitted" if permitted else "refused",
            "why": why,
            "by": by,
            "senders": senders,
            "digest": digest,
            "message": message,
        }
        line = json.dumps(record).encode() + b"\n"  # in ASCII: no text in it commands a terminal
        with self._lock:
            file = self._opened()
            while not _appended(file, line):
                line = b"\n" + line
            os.fsync(file)

    def close(self) -> None:
        """Close the file. It is opened again if something is to be recorded after all."""
        with self._lock:
            self._close()

    def _opened(self) -> int:
        """The file that stands at the path at this moment."""
        if self._file is not None:
            try:
                if os.path.samestat(os.fstat(self._file), self.path.stat()):
                    return self._file
            except FileNotFoundError:
                pass  # it was moved away, and no new one was made
            self._close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags)
        except FileNotFoundError:
            self._file = os.open(self.path, flags | os.O_CREAT, 0o600)
            _sync_folder(self.path.parent)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _appended(file: int, line: bytes) -> bool:
    """Append in one piece. Returns whether it stands on a line of its own.

    The system puts what is appended behind all that others have appended, and whole pieces behind each
    other; so only what stands before can be broken, and no lock is needed, which a process that is
    stopped could keep.
    """
    written = os.write(file, line)
    if written < len(line):
        raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written")
    start = os.lseek(file, 0, os.SEEK_CUR) - len(line)
    return start == 0 or line[:1] == b"\n" or os.pread(file, 1, start - 1) == b"\n"


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file survive a power cut, as its content does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

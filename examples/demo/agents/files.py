"""Reading and writing files for `Host`: ordinary files only, in bounded amounts.

Opening comes before looking, so that what was looked at is what is used. Devices, pipes and the
system's own pseudo files are refused, because reading them may never end, and so are symbolic
links, because the name that was approved would not be the file that is used.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["delete", "listing", "read", "write"]

MAX_FILE_BYTES: Final = 1_000_000
"""The largest file that is read."""

MAX_LISTED: Final = 10_000
"""Names in one listing."""

_PSEUDO: Final = (Path("/proc"), Path("/sys"), Path("/dev"))
_CAREFUL: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(path: str) -> str:
    """Return the text in a file.

    Raises:
        ValueError: not an ordinary file, too large, or not text in UTF-8.
        OSError: as the operating system has it.
    """
    with _opened(path, os.O_RDONLY) as file:
        size = os.fstat(file).st_size
        content = _content(file)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size} bytes; at most {MAX_FILE_BYTES} are read")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None


def write(path: str, text: str, *, append: bool) -> int:
    """Write text to a file, which is made if it is not there; returns the number of bytes.

    Raises:
        ValueError: not an ordinary file.
        OSError: as the operating system has it.
    """
    content = text.encode()
    with _opened(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else 0)) as file:
        if not append:
            os.ftruncate(file, 0)
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[os.write(file, remaining) :]
    return len(content)


def delete(path: str) -> None:
    """Delete a file; of a symbolic link, the link. Raises `OSError` if there is none, or a directory."""
    Path(path).unlink()


def listing(path: str) -> list[str]:
    """The names in a directory, sorted; those of directories end with a slash.

    Raises:
        ValueError: more than `MAX_LISTED` names.
        OSError: as the operating system has it.
    """
    with os.scandir(path) as entries:
        names = [
            _text(entry.name) + ("/" if entry.is_dir(follow_symlinks=False) else "")
            for entry in itertools.islice(entries, MAX_LISTED + 1)
        ]
    if len(names) > MAX_LISTED:
        raise ValueError(f"{path} has more than {MAX_LISTED} entries")
    return sorted(names)


@contextlib.contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    if Path(path).is_symlink():
        raise ValueError(f"{path} is a symbolic link; name the file that it leads to")
    file = os.open(path, flags | _CAREFUL, 0o666)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_dev in _pseudo_devices():
            raise ValueError(f"{path} is not an ordinary file")
        yield file
    finally:
        os.close(file)


def _content(file: int) -> bytes:
    """All of the file, or one byte more than is allowed: it may grow while it is read."""
    content = bytearray()
    while len(content) <= MAX_FILE_BYTES:
        piece = os.read(file, MAX_FILE_BYTES + 1 - len(content))
        if not piece:
            break
        content += piece
    return bytes(content)


def _pseudo_devices() -> set[int]:
    return {path.stat().st_dev for path in _PSEUDO if path.is_mount()}


def _text(name: str) -> str:
    """A file's name as text that can travel: bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")

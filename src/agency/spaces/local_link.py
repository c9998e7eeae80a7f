"""A link: one process's end of its socket to the hub, with a thread that reads it.

Used by the application (`local_space`) and by workers (`local_worker`); the hub has its own, which
never blocks.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from agency.errors import NotAccepted
from agency.spaces.local_frames import FrameReader

__all__ = ["Link"]


class Link:
    """A socket to the hub. `send` may be called from any thread.

    Args:
        end: this process's end of the socket; the link owns it.
        on_frame: called for each frame, in order, on the link's thread. Must not wait for another
            frame.
        on_end: called once when the hub is gone, on the same thread; not after `close`.
    """

    def __init__(
        self, end: socket.socket, on_frame: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._socket = end
        self._on_frame = on_frame
        self._on_end = on_end
        self._writing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="agency-link", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Hand a frame to the hub: when this returns, it survives this process.

        Waits while the socket is full, which the hub empties without waiting for anybody.

        Raises:
            NotAccepted: the hub is gone.
        """
        try:
            with self._writing:
                self._socket.sendall(data)
        except OSError as error:
            raise NotAccepted(
                f"the space's exchange of messages has ended: {error.strerror}"
            ) from None

    def close(self) -> None:
        """Give the socket up and wait for the thread, unless this is it. Idempotent."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        reader = FrameReader()
        while reader.fill(self._socket):
            for data in reader.frames():
                self._on_frame(data)
        if not self._closed:
            self._on_end()

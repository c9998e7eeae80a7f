"""An agent that writes where nobody should: what a stray pointer in its process would do."""
# ruff: noqa: SLF001

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from agency import Agent, action
from agency.spaces.local_frames import KIND, Frame, large_frame, take_frame
from agency.spaces.local_memory import SETTLED
from tests.local.agents import Worker


class Garbler(Agent):
    """Writes on the way to the hub as a process would of which the memory was overwritten, and goes on."""

    @action
    def write(self, data: str) -> None:
        """Write these bytes, in hexadecimal."""
        self._link._write(bytes.fromhex(data))
        threading.Event().wait()

    @action
    def write_in_part(self, data: str, count: int) -> None:
        """Write so many bytes of what would make sense, and be killed."""
        self._link._write(bytes.fromhex(data)[:count])
        os.kill(os.getpid(), signal.SIGKILL)

    @action
    def overwrite_ring(self) -> None:
        """Fill the memory that the hub reads, and tell it to."""
        outbox = self._link._outbox
        outbox._ring[:] = b"\xff" * len(outbox._ring)
        self._link._write(take_frame(outbox.written + 100))
        threading.Event().wait()

    @action
    def overwrite_ring_and_die(self) -> None:
        """The same, and leave it to the hub to find out that there was something more to read."""
        outbox = self._link._outbox
        outbox._ring[:] = b"\xff" * len(outbox._ring)
        outbox.words[0] = 1 << 60
        os._exit(1)

    @action
    def overwrite_progress(self) -> None:
        """Claim to be done with messages that nobody has sent, and have one sent."""
        self._home._words[SETTLED] = 1 << 60
        self.send({"to": self.id, "action": {"name": "ping"}})
        threading.Event().wait()

    @action
    def overwrite_shelf(self) -> None:
        """Have a large frame stand for itself, which would never end."""
        never_ending = large_frame(0, 23)
        self._link._shelf._shelf[: len(never_ending)] = never_ending
        self._link._write(never_ending)
        threading.Event().wait()

    @action
    def take_what_was_not_there(self) -> None:
        """Claim to have taken large frames that nobody has put there, and have one put there."""
        self._link._shelf_from_hub._taken[0] = 1 << 60
        load = {"load": "x" * 1_000_000}
        self.send({"to": self.id, "action": {"name": "ping"}, "meta": load})
        threading.Event().wait()

    @action
    def ping(self) -> str:
        return "pong"

    @property
    def _home(self) -> Any:
        return self._agency.home._place  # type: ignore[union-attr]

    @property
    def _link(self) -> Any:
        return self._home.link


class DiesAtDeadLetters(Worker):
    """Is killed in the moment before its process tells the hub of a message that is lost."""

    def after_add(self) -> None:
        link: Any = self._agency.home._place.link  # type: ignore[union-attr]
        send = link.send

        def send_or_die(data: bytes) -> None:
            if data[KIND] == Frame.DEAD_LETTER:
                os.kill(os.getpid(), signal.SIGKILL)
            send(data)

        link.send = send_or_die

    @action
    def wait_to_leave(self) -> None:
        self.proxy("me").say.send(content="begun")
        self.leaving.wait()

"""A TCP proxy on the loopback interface that behaves as badly as networks do.

    with Proxy(broker.port) as proxy:          # connect to proxy.port instead
        proxy.stall()                          # bytes stop, in silence
        proxy.resume()
        proxy.cut()                            # every connection ends at once, with a reset

It passes bytes on as they come until it is told otherwise. Of AMQP it knows how frames begin and
end, enough to make answers of the server disappear. Its methods may be called from any thread and
have taken effect when they return.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

__all__ = ["Answer", "Proxy", "Way"]

Way = Literal["to_server", "to_client"]
Answer = Literal["bind-ok", "confirm", "consume-ok", "declare-ok"]

LOOPBACK: Final = "127.0.0.1"
_LIMIT: Final = 30.0
_CHUNK: Final = 64 * 1024

_FRAME_HEAD: Final = struct.Struct(">BHL")  # AMQP 0-9-1 section 2.3.5: type, channel, size
_METHOD: Final = 1
_METHODS: Final[dict[Answer, set[tuple[int, int]]]] = {
    "confirm": {(60, 80), (60, 120)},  # basic.ack and basic.nack, which servers send as confirms
    "bind-ok": {(50, 21)},
    "declare-ok": {(50, 11)},  # of a queue
    "consume-ok": {(60, 21)},
}

_Value = TypeVar("_Value")


class Proxy:
    """Between clients on `port` and a server on another. All connections misbehave alike."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.accepted = 0
        """How many connections clients have made so far."""
        self.swallowed = 0
        """How many answers have disappeared so far."""
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        # What to do to the bytes.
        self._open: dict[Way, asyncio.Event] = {}
        self._slice = _CHUNK
        self._delay: Callable[[], float] = lambda: 0.0
        self._budget: int | None = None
        self._swallow: set[tuple[int, int]] = set()

    # What it can do

    def cut(self) -> int:
        """End every connection now, both ways, with a reset; how many there were. New ones are let in."""
        return self._do(self._cut)

    def half_close(self, way: Way) -> None:
        """On every connection there is now, end the bytes of this way in order; the other goes on."""

        def half_close() -> None:
            for pair in self._pairs:
                pair.half_close(way)

        self._do(half_close)

    def stall(self, *ways: Way) -> None:
        """Pass nothing on any more, these ways or both, and say nothing; new connections get no
        answer either. What was under way is not lost: `resume` passes it on.
        """

        def stall() -> None:
            for way in ways or self._open:
                self._open[way].clear()

        self._do(stall)

    def resume(self) -> None:
        """End a stall."""

        def resume() -> None:
            for gate in self._open.values():
                gate.set()

        self._do(resume)

    def refuse(self) -> None:
        """End every connection and take no more, as a server that is down."""

        def refuse() -> None:
            if self._listener is not None:
                self._listener.close()
            self._listener = None
            self._cut()

        self._do(refuse)

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._run(self._listen())

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """Hold every piece back for so long, and up to `jitter` more, in order."""
        self._do(lambda: setattr(self, "_delay", lambda: seconds + random.uniform(0, jitter)))  # noqa: S311

    def slice(self, size: int) -> None:
        """Pass bytes on in pieces of this size."""
        self._do(lambda: setattr(self, "_slice", size))

    def limit(self, size: int | None) -> None:
        """Cut each connection once this many bytes have gone through it, both ways together."""
        self._do(lambda: setattr(self, "_budget", size))

    def swallow(self, *answers: Answer) -> None:
        """Let the server have all that the client says, and the client none of these answers to it."""
        methods = set().union(*(_METHODS[answer] for answer in answers))
        self._do(lambda: setattr(self, "_swallow", methods))

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return self._do(lambda: len(self._pairs))

    # Its life

    def __enter__(self) -> Self:
        self._thread.start()
        self._open = {"to_server": asyncio.Event(), "to_client": asyncio.Event()}
        self.resume()
        self.accept()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT)
        self._loop.close()

    # Inside, on its own thread

    def _do(self, act: Callable[[], _Value]) -> _Value:
        async def run() -> _Value:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_LIMIT)

    def _run(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_LIMIT)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _cut(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            pair.cut()
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            far = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, far[1])
        self._pairs.add(pair)
        pair.tasks = {
            asyncio.create_task(self._pass(reader, far[1], "to_server", pair)),
            asyncio.create_task(self._pass(far[0], writer, "to_client", pair)),
        }
        try:
            await asyncio.wait(pair.tasks)
        finally:
            self._pairs.discard(pair)
            pair.cut()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, pair: _Pair
    ) -> None:
        """Until this way ends, in order or not."""
        frames = _Frames()
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if way == "to_client":
                    data, gone = frames.feed(data, self._swallow)
                    self.swallowed += gone
                for piece in self._pieces(data):
                    await self._open[way].wait()
                    if pause := self._delay():
                        await asyncio.sleep(pause)
                    pair.passed += len(piece)
                    if self._budget is not None and pair.passed > self._budget:
                        pair.cut()
                        return
                    writer.write(piece)
                    await writer.drain()
            await self._open[way].wait()
            writer.write_eof()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self._slice):
            yield data[start : start + self._slice]


class _Pair:
    """Both halves of one connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers: dict[Way, asyncio.StreamWriter] = {"to_server": server, "to_client": client}
        self.tasks: set[asyncio.Task[None]] = set()
        self.passed = 0

    def cut(self) -> None:
        for writer in self._writers.values():
            _reset(writer)
        for task in self.tasks:
            task.cancel()

    def half_close(self, way: Way) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writers[way].write_eof()


class _Frames:
    """Follows the frames that a server sends, whatever pieces they come in."""

    def __init__(self) -> None:
        self._frame = b""  # of the current one, what has come
        self._passed = 0  # of that, how much has been passed on

    def feed(self, data: bytes, swallow: set[tuple[int, int]]) -> tuple[bytes, int]:
        """What to pass on now, and how many of these methods were left out. While they are, what may be
        the beginning of one is kept back.
        """
        data = self._frame + data
        out, gone, start = [], 0, 0
        while (end := _end_of_frame(data, start)) is not None:
            if swallow and not self._passed and _method(data, start) in swallow:
                gone += 1
            else:
                out.append(data[start + self._passed : end])
            start, self._passed = end, 0
        self._frame = data[start:]
        if not swallow:
            out.append(self._frame[self._passed :])
            self._passed = len(self._frame)
        return b"".join(out), gone


def _end_of_frame(data: bytes, start: int) -> int | None:
    if len(data) - start < _FRAME_HEAD.size:
        return None
    size: int = _FRAME_HEAD.unpack_from(data, start)[2]
    end = start + _FRAME_HEAD.size + size + 1
    return end if end <= len(data) else None


def _method(data: bytes, start: int) -> tuple[int, ...] | None:
    """Class and method, if the frame is one of a method."""
    kind, _, size = _FRAME_HEAD.unpack_from(data, start)
    if kind != _METHOD or size < 4:
        return None
    return struct.unpack_from(">HH", data, start + _FRAME_HEAD.size)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset: whatever was not read is lost to the other side."""
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if writer.transport is not None:
        writer.transport.abort()

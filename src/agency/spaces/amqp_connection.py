"""One connection to the AMQP server that is made again whenever it is lost.

This is the only module that knows how pika connects and in which words it fails. It runs on the I/O
loop of a `Link` and knows nothing of queues or agents. Above: `amqp_publisher` and `amqp_members`,
which open channels on it. Below: pika, from the extra `amqp`; importing this module without it
raises `MissingExtra`.
"""

from __future__ import annotations

import itertools
import logging
import random
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from agency.errors import MissingExtra
from agency.spaces.amqp_frames import FRAME_END, FRAME_OVERHEAD, FRAME_START, Reader
from agency.spaces.amqp_options import AMQPOptions

try:
    import pika
    import pika.exceptions
    import pika.frame
    from pika.adapters.select_connection import IOLoop as SelectLoop
    from pika.adapters.select_connection import SelectConnection
    from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport as PlainTransport
    from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
except ImportError as error:
    raise MissingExtra(
        "AMQPSpace needs the AMQP client pika: pip install 'agency-space[amqp]'"
    ) from error

__all__ = ["Connection", "IOLoop", "IOServices", "backoff"]

_HANDSHAKE_REFUSALS: Final = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
)

_log = logging.getLogger("agency.amqp")

_FIRST_DELAY: Final = 0.2  # seconds
_LONGEST_DELAY: Final = 10.0
_STEADY: Final = 1.0  # seconds that a connection must have lasted to count as a good one
_LONGEST_HANDSHAKE: Final = 10.0  # seconds for TCP, TLS and AMQP until open

_CLOSED_BY_SERVER: Final = re.compile(r"ConnectionClosedByBroker: \((\d+)\) .(.*).", re.DOTALL)
"""How pika words a refusal during the handshake: code and quoted text."""

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def backoff(attempt: int) -> float:
    """Seconds to wait before the attempt of that number, counted from 0: random, so that clients
    spread out.
    """
    return random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(attempt, 16)))  # noqa: S311


class IOLoop(SelectLoop):  # type: ignore[misc]  # pika has no types
    """pika's loop, which calls `turn` each time round, when it has read, called and timed."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        super().__init__()

    def start(self) -> None:
        """Run until `stop`; also again, after an error that ended it, even while it began: it needs a file
        descriptor of its own for that.
        """
        self.deactivate_poller()
        self._poller._running = False
        super().start()

    def process_timeouts(self) -> None:
        super().process_timeouts()
        self._turn()

    def wake(self) -> None:
        """See to it that there is another turn. From any thread; on the loop's own there is anyway."""
        self._poller.wake_threadsafe()


class IOServices(SelectorIOServicesAdapter):  # type: ignore[misc]  # pika has no types
    """What pika connects with, on the loop. A connection that the other side resets in the moment it is made
    is one that failed: pika 1.4.4 raises an error into the loop, and nobody who connects is told.
    """

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        on_done: Callable[[Any], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Any:
        try:
            return super().create_streaming_connection(
                protocol_factory, sock, on_done, ssl_context, server_hostname
            )
        except ValueError as error:
            reason = error.__context__
            if not isinstance(reason, OSError):
                raise
            return self.call_later(0, partial(on_done, reason))


class _Wire(SelectConnection):  # type: ignore[misc]  # pika has no types
    """pika's connection, with a shorter way for what goes over it all the time.

    The frames that a channel's reader takes never become pika's objects. What is written goes to
    the socket at once, and in one piece within `batch`; pika alone waits for the next turn of its
    loop, with four system calls, and makes one more a frame. Over TLS, reading and writing the
    socket is pika's.
    """

    _frame_buffer: bytes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.readers: dict[int, Reader] = {}
        self._batch: list[bytes] | None = None
        super().__init__(*args, **kwargs)

    def _proto_connection_made(self, transport: Any) -> None:
        if type(transport) is PlainTransport:
            transport._MAX_CONSUME_BYTES = 1  # one read each time round, not until one fails
        super()._proto_connection_made(transport)

    @contextmanager
    def batch(self) -> Iterator[None]:
        self._batch = []
        try:
            yield
        finally:
            data, self._batch = b"".join(self._batch), None
            if data and self._transport is not None:
                self._adapter_emit_data(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._batch is not None:
            self._batch.append(data)
        elif rest := data[self._sent_at_once(data) :]:
            super()._adapter_emit_data(rest)

    def _sent_at_once(self, data: bytes) -> int:
        """How many bytes the socket has taken, if it is ours to write and nothing waits."""
        transport = self._transport
        if not self.is_open or type(transport) is not PlainTransport or transport._tx_buffers:
            return 0
        # While it is being dropped, what waited has been thrown away, and nothing may pass that.
        if transport._state != transport._STATE_ACTIVE:
            return 0
        try:
            return int(transport._sock.send(data))
        except OSError:  # full, or lost, which pika finds out by itself
            return 0

    def _on_data_available(self, data_in: bytes) -> None:
        data, at = self._frame_buffer + data_in, 0
        try:
            while self.is_open and len(data) - at >= FRAME_OVERHEAD:
                kind, channel, size = FRAME_START.unpack_from(data, at)
                begin, end = at, at + size + FRAME_OVERHEAD
                if end > len(data):
                    break
                at = end
                payload = data[begin + FRAME_START.size : end - 1]
                reader = self.readers.get(channel)
                if reader is None or not reader.take(kind, payload):
                    self._process_frame(_decoded(data[begin:end]))
        finally:
            self._frame_buffer = data[at:]
            self.bytes_received += at  # its growth is the server's sign of life
        if not self.is_open and self._frame_buffer:
            super()._on_data_available(b"")  # greetings and farewells

    def _on_channel_cleanup(self, channel: Any) -> None:
        self.readers.pop(channel.channel_number, None)
        super()._on_channel_cleanup(channel)


def _decoded(frame: bytes) -> Any:
    """A frame as pika's object; properties that pika cannot decode (a time after the year 9999, say)
    count as absent.

    Otherwise one such message would end the connection each time it is delivered.
    """
    try:
        _, decoded = pika.frame.decode_frame(frame)
    except Exception:
        kind, channel, _ = FRAME_START.unpack_from(frame)
        if kind != pika.spec.FRAME_HEADER or frame[-1:] != FRAME_END:
            raise
        _, _, body_size = struct.unpack_from(">HHQ", frame, FRAME_START.size)
        return pika.frame.Header(channel, body_size, pika.BasicProperties())
    return decoded


class Connection:
    """Keeps one connection open. All of it runs on the I/O thread, its callbacks too.

    Attributes:
        is_open: Whether channels can be opened now.
        refused: Why the server will not have us, or None; cleared when it does. It is tried again all the same:
            whoever waits for the first connection decides when to give up.
        trouble: Why there is no connection, or an empty text.
        losses: How many open connections were lost.
    """

    def __init__(
        self,
        loop: IOLoop,
        options: AMQPOptions,
        purpose: str,
        *,
        on_open: Callable[[], None],
        on_lost: Callable[[], None],
        on_failed: Callable[[], None],
    ) -> None:
        self.is_open = False
        self.refused: str | None = None
        self.trouble = "no connection was tried"
        self.losses = 0
        self._loop = loop
        self._options = options
        self._purpose = purpose
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_failed = on_failed
        self._ssl_context = options.client_ssl_context()
        addresses = list(options.addresses())
        random.shuffle(addresses)  # the clients of a cluster spread over its nodes
        self._addresses = itertools.cycle(addresses)
        self._address: tuple[str, int]  # from `start` on
        self._attempts = 0
        self._opened_at = 0.0
        self._wire: _Wire | None = None
        self._timer: object | None = None
        self._on_stopped: Callable[[], None] | None = None

    def start(self) -> None:
        """Connect, and go on doing so until `stop`. Does nothing if that is so already."""
        if self._wire is not None or self._on_stopped is not None:
            return
        self._timer = None
        self._address = host, port = next(self._addresses)
        if not self._attempts:
            self.trouble = f"{self._where()}: no answer"
        handshake = min(_LONGEST_HANDSHAKE, self._options.connect_timeout)
        parameters = pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host=self._options.virtual_host,
            credentials=pika.PlainCredentials(self._options.username, self._options.password),
            heartbeat=self._options.heartbeat,
            socket_timeout=handshake,
            stack_timeout=handshake,
            ssl_options=self._ssl_context and pika.SSLOptions(self._ssl_context, host),
            client_properties={"product": "agency", "connection_name": f"agency {self._purpose}"},
        )
        self._wire = _Wire(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._failed,
            on_close_callback=self._closed,
            custom_ioloop=IOServices(self._loop),
        )

    def channel(self, on_open: Callable[[Any], None]) -> None:
        """Open a channel; `on_open` gets pika's object. Only while `is_open`; on a connection that has
        broken and not yet said so, nothing happens.
        """
        if self._wire is not None and self._wire.is_open:
            self._wire.channel(on_open_callback=on_open)

    def read(self, channel: Any, reader: Reader) -> None:
        """Have the reader take what is its own of this channel's frames, until the channel closes."""
        if self._wire is not None:
            self._wire.readers[channel.channel_number] = reader

    def write(self, frames: bytes) -> None:
        """Send whole frames. Only while `is_open`."""
        if self._wire is not None:
            self._wire._adapter_emit_data(frames)

    @property
    def frame_max(self) -> int:
        """The size of the largest frame that may be sent now, its overhead included."""
        return int(self._wire.params.frame_max) if self._wire is not None else 0

    def on_blocked(self, blocked: Callable[[], None], unblocked: Callable[[], None]) -> None:
        """Have this connection tell when the server takes no publishes (an alarm), and when it does
        again.
        """
        if self._wire is not None:
            self._wire.add_on_connection_blocked_callback(lambda *_: blocked())
            self._wire.add_on_connection_unblocked_callback(lambda *_: unblocked())

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What is written inside leaves in one piece."""
        if self._wire is None or not self.is_open:
            yield
            return
        with self._wire.batch():
            yield

    def stop(self, grace: float, on_stopped: Callable[[], None]) -> None:
        """Close for good: politely, and after `grace` seconds by dropping the socket. Then call
        `on_stopped`.
        """
        self._on_stopped = on_stopped
        wire = self._wire
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        if wire is None:
            on_stopped()
            return
        if wire.is_open:
            wire.close()
        elif wire._transport is not None:
            self._drop(wire)  # in the handshake, where pika 1.4.4 fails over its own close()
        elif not wire.is_closing and not wire.is_closed:
            wire.close()  # before the socket is connected

        def drop() -> None:
            self._drop(wire)
            self._loop.call_later(1.0, on_stopped)  # whatever pika does

        self._loop.call_later(grace, drop)

    def let_go(self) -> None:
        """Called in a forked child: close its copy of the socket, without a word to the server."""
        transport = self._wire and self._wire._transport
        if transport is not None:
            transport._sock.close()

    def drop(self) -> None:
        """Drop the socket, as after an unexpected error; a new connection is made."""
        if self._wire is not None and self.is_open:
            self._drop(self._wire)

    def revive(self) -> None:
        """Make a new connection, whatever an unexpected error has made of this one: pika may have stopped
        anywhere, and say nothing of it any more.
        """
        if self._on_stopped is not None:
            return
        wire, self._wire = self._wire, None
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        self._again()
        if self.is_open:
            self._lost(pika.exceptions.StreamLostError("given up after an unexpected error"))
        if wire is not None:
            _end(wire)

    def _drop(self, wire: _Wire) -> None:
        if wire is self._wire and not wire.is_closed:
            # pika's own way to end a connection whose heartbeats stopped; it has no public name
            wire._terminate_stream(pika.exceptions.StreamLostError("dropped by this side"))

    def _opened(self, wire: _Wire) -> None:
        if wire is not self._wire:  # see `revive`
            _end(wire)
            return
        self.is_open = True
        self.refused, self.trouble = None, ""
        self._opened_at = time.monotonic()
        _log.debug("%s connection to %s is open", self._purpose, self._where())
        self._on_open()

    def _failed(self, wire: _Wire, error: BaseException) -> None:
        if wire is not self._wire:
            return
        reason, self.refused = self._explain(error)
        self.trouble = f"{self._where()}: {reason}"
        _log.debug("no %s connection to %s", self._purpose, self.trouble)
        self._wire = None
        if not self._ended():
            self._again()
            self._on_failed()

    def _closed(self, wire: _Wire, error: BaseException) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        self._lost(error)
        if not self._ended():
            self._again()

    def _lost(self, error: BaseException) -> None:
        """It was open and is no longer."""
        self.is_open = False
        self.trouble = f"{self._where()}: {self._explain(error)[0]}"
        if time.monotonic() - self._opened_at >= _STEADY:
            self._attempts = 0
        if self._on_stopped is None:
            self.losses += 1
            _log.warning("%s connection lost, connecting again: %s", self._purpose, self.trouble)
        self._on_lost()

    def _ended(self) -> bool:
        if self._on_stopped is not None:
            self._on_stopped()
        return self._on_stopped is not None

    def _again(self) -> None:
        self._timer = self._loop.call_later(backoff(self._attempts), self.start)
        self._attempts += 1

    def _where(self) -> str:
        return "{}:{}".format(*self._address)

    def _explain(self, error: BaseException) -> tuple[str, str | None]:
        """Say what happened, and the same again if trying again cannot help."""
        error = _innermost(error)
        host, port = self._address
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"the certificate of {host}:{port} is not trusted: {error.verify_message}"
            return text, text
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            text = f"{host}:{port} does not speak TLS with us: {error.reason or error}"
            return text, text
        found = _CLOSED_BY_SERVER.fullmatch(str(error.args[0])) if error.args else None
        if found and isinstance(error, _HANDSHAKE_REFUSALS):
            text = self._refusal(int(found[1]), found[2])
            return text, text
        if isinstance(error, pika.exceptions.ConnectionClosed):
            return f"closed by the server: {error.reply_code} {error.reply_text}", None
        if isinstance(error, pika.exceptions.ConnectionOpenAborted):
            return "no AMQP server answered in time", None
        if isinstance(error, OSError):
            return error.strerror or str(error) or type(error).__name__, None
        return f"{type(error).__name__}: {error.args[0] if error.args else ''}", None

    def _refusal(self, code: int, text: str) -> str:
        """What code 403 or 530 while connecting means, with the account and never its password."""
        who = f"user {self._options.username!r}"
        where = f"virtual host {self._options.virtual_host!r} of {self._where()}"
        if code == 403:
            hint = ""
            if self._options.username == "guest" and self._address[0] not in _LOOPBACK:
                hint = "; servers let the user 'guest' in from their own host only"
            return f"{self._where()} does not accept {who} with this password{hint}"
        if "not found" in text:
            return f"there is no {where}"
        return f"{who} may not use {where}: {text}"


def _end(wire: _Wire) -> None:
    """Free what pika holds for a connection that is nobody's any more."""
    try:
        wire._terminate_stream(pika.exceptions.StreamLostError("dropped by this side"))
    except Exception as error:  # noqa: BLE001  # it was in no state for that
        _log.debug("a connection could not be ended: %r", error)


def _innermost(error: BaseException) -> BaseException:
    """The error at the bottom of pika's wrappers."""
    for _ in range(8):
        inner = (
            getattr(error, "exception", None) or (getattr(error, "exceptions", None) or [None])[-1]
        )
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if inner is None:
            break
        error = inner
    return error

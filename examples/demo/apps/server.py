"""The web server of a page: for the browser on this machine, and for nobody else.

A page that can reach agents can reach what they can do, so it is guarded: it listens on the
loopback address unless told otherwise, answers no other host name (else any web site could reach it by DNS
rebinding), takes no requests that another site caused, and tells the browser to run no script and
load nothing but its own. Above: `apps.gradio_app`. Below: Starlette and Uvicorn, which come with
Gradio.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ADDRESS", "Guard", "PageServer"]

ADDRESS: Final = "127.0.0.1"
HOST_NAMES: Final = frozenset({"localhost", ADDRESS})

_GLANCE: Final = 0.5  # seconds between two looks whether the program is to end
_PATIENCE: Final = 1  # seconds for requests in progress when the server ends

_POLICY: Final = (
    "default-src 'self'; "
    "script-src 'self' 'nonce-{nonce}' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; "
    "font-src 'self' data:; "
    "media-src 'self' data: blob:; "
    "connect-src 'self'; "
    "worker-src 'self' blob:; "
    "object-src 'none'; "
    "base-uri 'self'; "
    "form-action 'self'; "
    "frame-ancestors 'none'"
)


class PageServer:
    """Serves one application on a port of this machine until it is told to end."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    def serve(
        self,
        port: int,
        *,
        address: str = ADDRESS,
        when_ready: Callable[[str], None],
        when_ending: Callable[[], None],
    ) -> None:
        """Serve until an exception comes, which is Ctrl-C or SIGTERM, and let that through.

        Args:
            port: where to listen; 0 takes one that is free.
            address: of this machine; in a container another than the loopback may be needed, and
                then the container's own port must be published to this machine only.
            when_ready: called with the page's address when browsers can open it.
            when_ending: called before the server waits for its open requests to end.

        Raises:
            OSError: the port cannot be had.
        """
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, port))
            listening.listen(128)
            config = uvicorn.Config(
                Guard(self._application),
                log_level="warning",
                ws="none",
                timeout_graceful_shutdown=_PATIENCE,
            )
            server = uvicorn.Server(config)
            ended = threading.Event()

            def run() -> None:
                try:
                    server.run([listening])
                finally:
                    ended.set()

            # Uvicorn leaves the signals of a thread that is not the main one alone.
            thread = threading.Thread(target=run, name="page-server")
            thread.start()
            try:
                when_ready(f"http://localhost:{listening.getsockname()[1]}")
                # A signal that comes just before a wait begins is acted upon only after it.
                while not ended.wait(_GLANCE):
                    pass
            finally:
                when_ending()
                server.should_exit = True
                thread.join()


class Guard:
    """ASGI middleware: refuses what does not come from the page itself, and binds the browser."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        refusal = _refusal(Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._application(scope, receive, _Answer(send).pass_on)


def _refusal(headers: Headers) -> PlainTextResponse | None:
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in HOST_NAMES and host not in HOST_NAMES:
        return PlainTextResponse("This page answers to localhost only.\n", 400)
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return PlainTextResponse("Other sites may not use this page.\n", 403)
    from_elsewhere = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    if from_elsewhere and headers.get("sec-fetch-mode") != "navigate":
        return PlainTextResponse("Other sites may not use this page.\n", 403)
    return None


class _Answer:
    """One response on its way out: the rules for the browser, and the mark on the page's scripts.

    Scripts that stand in the page run only with a mark that is new each time, so nothing that gets
    into the page later can run, whatever it looks like.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._nonce = secrets.token_urlsafe(16)
        self._start: Message | None = None  # of a page of HTML, held back until its length is known
        self._body = bytearray()

    async def pass_on(self, message: Message) -> None:
        """Send one ASGI message on, changed as needed."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            headers["content-security-policy"] = _POLICY.format(nonce=self._nonce)
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["cross-origin-resource-policy"] = "same-origin"
            if headers.get("content-type", "").startswith("text/html"):
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            page = bytes(self._body).replace(
                b"<script", b'<script nonce="%s"' % self._nonce.encode()
            )
            MutableHeaders(raw=self._start["headers"])["content-length"] = str(len(page))
            await self._send(self._start)
            self._start, message = None, {"type": "http.response.body", "body": page}
        await self._send(message)

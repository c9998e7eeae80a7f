"""A server that speaks OpenAI's protocol and follows a script: what it is asked is kept, what it answers is given.

Real HTTP on a loopback port of its own, with server-sent events. The script is a list of answers, one for each request
in the order of their arrival. Above: `test_openai_agents.py`.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

PATIENCE = 30.0
"""Seconds that anything in these tests may take."""


@dataclass
class Words:
    """Words, each piece an event of its own."""

    pieces: Iterable[str]
    finish_reason: str = "stop"

    def __init__(self, *pieces: str, finish_reason: str = "stop") -> None:
        self.pieces = pieces
        self.finish_reason = finish_reason


@dataclass
class Calls:
    """Calls of tools, with words before them if there are any. Arguments come in two halves, as they do in reality."""

    calls: list[tuple[str, Mapping[str, Any] | str]]
    words: str = ""


@dataclass
class Refusal:
    """An HTTP status that is no success."""

    status: int
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Pause:
    """Words, then nothing until the test says so, then words."""

    before: str
    after: str
    go_on: threading.Event = field(default_factory=threading.Event)


@dataclass
class BreakOff:
    """Words, then the end of the connection in the middle of the answer."""

    before: str


Answer = Words | Calls | Refusal | Pause | BreakOff


@dataclass
class Asked:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    """By their names in small letters."""
    body: dict[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was said so far, without the introduction."""
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages[1:]

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """The functions that the model may call, by name."""
        return {tool["function"]["name"]: tool["function"] for tool in self.body.get("tools", [])}


class OpenAIServer:
    """Serves on a free port of this machine until the end of its block."""

    def __init__(self, *script: Answer) -> None:
        self._script: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self._script
        self._server.asked = self._asked
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.will(*script)

    @property
    def url(self) -> str:
        """What goes into OPENAI_BASE_URL."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def will(self, *answers: Answer) -> None:
        """Add answers to the script."""
        for answer in answers:
            self._script.put(answer)

    def asked(self) -> Asked:
        """The next request that has not been looked at; waits for it."""
        return self._asked.get(timeout=PATIENCE)

    def asked_nothing_more(self) -> bool:
        """Whether every request has been looked at."""
        return self._asked.empty()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    script: queue.SimpleQueue[Answer]
    asked: queue.SimpleQueue[Asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = PATIENCE

    def do_POST(self) -> None:  # as the standard library calls it
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.put(Asked(self.path, headers, body))
        try:
            answer = self.server.script.get_nowait()
        except queue.Empty:
            answer = Refusal(400, "the script ends here")
        if isinstance(answer, Refusal):
            self._refuse(answer)
            return
        try:
            self._stream(answer)
        except ConnectionError:
            self.close_connection = True  # the agent did not want to hear the end

    def _stream(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        is_chat = self.path == "/v1/chat/completions"
        for event in _chat_events(answer) if is_chat else _completion_events(answer):
            self._chunk(f"data: {json.dumps(event)}\n\n".encode())
        if isinstance(answer, BreakOff):
            self.close_connection = True
            return
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _refuse(self, refusal: Refusal) -> None:
        body = json.dumps({"error": {"message": refusal.message, "type": "test"}}).encode()
        self.send_response(refusal.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in refusal.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""


def _texts(answer: Answer) -> Iterator[str]:
    """The words of an answer, as they come."""
    match answer:
        case Words(pieces=pieces):
            yield from pieces
        case Pause(before=before, after=after, go_on=go_on):
            yield before
            go_on.wait(PATIENCE)
            yield after
        case BreakOff(before=before):
            yield before
        case Calls(words=words) if words:
            yield words


def _chat_events(answer: Answer) -> Iterator[dict[str, Any]]:
    yield _chat_event({"role": "assistant", "content": ""})
    for text in _texts(answer):
        yield _chat_event({"content": text})
    if isinstance(answer, Calls):
        for number, (name, arguments) in enumerate(answer.calls):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            half = len(text) // 2
            function = {"name": name, "arguments": text[:half]}
            begun = {"index": number, "id": f"id-{number}", "type": "function"}
            yield _chat_event({"tool_calls": [{**begun, "function": function}]})
            rest = {"index": number, "function": {"arguments": text[half:]}}
            yield _chat_event({"tool_calls": [rest]})
        yield _chat_event({}, "tool_calls")
    elif isinstance(answer, Words):
        yield _chat_event({}, answer.finish_reason)
    elif not isinstance(answer, BreakOff):
        yield _chat_event({}, "stop")


def _chat_event(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _completion_events(answer: Answer) -> Iterator[dict[str, Any]]:
    for text in _texts(answer):
        yield {
            "id": "scripted",
            "object": "text_completion",
            "created": 0,
            "model": "scripted",
            "choices": [{"index": 0, "text": text, "finish_reason": None, "logprobs": None}],
        }

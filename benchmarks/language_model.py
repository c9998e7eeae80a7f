"""A stand-in for an endpoint with a language model, and the agents that `llm_call` measures with it.

The endpoint is a process of its own that speaks as much of OpenAI's protocol as is asked for, and
takes `SECONDS` for an answer. The agents call it with OpenAI's own library.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Final

from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionUserMessageParam

from agency import Agent, action
from benchmarks.agents import PATIENCE
from benchmarks.common import CONTENT, Figures, end_in_time, percentile

__all__ = ["AT_ONCE", "Caller", "Model", "endpoint"]

SECONDS: Final = 0.2
AT_ONCE: Final = 50
ANSWER: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "stand-in",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": CONTENT},
        }
    ],
    "usage": {"prompt_tokens": 30, "completion_tokens": 30, "total_tokens": 60},
}


@contextmanager
def endpoint() -> Iterator[None]:
    """The endpoint is there, and the environment names it for all who call it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        assert ours.poll(60), "the endpoint does not answer"
        os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{ours.recv()}/v1"
        os.environ["OPENAI_API_KEY"] = "none"
        os.environ["NO_PROXY"] = "127.0.0.1"
        yield
    finally:
        process.kill()
        process.join()


def serve(pipe: Connection) -> None:
    """Process: answer until it is killed."""
    end_in_time()
    with Server(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_port)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    request_queue_size = AT_ONCE


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # a connection is used again
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SECONDS)
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Calls:
    """The calls, as a program without agents has them."""

    def __init__(self) -> None:
        self._client = OpenAI(max_retries=0)
        self._async_client = AsyncOpenAI(max_retries=0)

    def ask(self, content: str) -> str:
        completions = self._client.chat.completions
        return _text(completions.create(model="stand-in", messages=[_said(content)]))

    async def aask(self, content: str) -> str:
        completions = self._async_client.chat.completions
        return _text(await completions.create(model="stand-in", messages=[_said(content)]))


class Model(Agent):
    """The same calls, as actions."""

    def __init__(self, id: str) -> None:
        super().__init__(id, concurrency=AT_ONCE)
        self.calls = Calls()

    @action
    def ask(self, content: str) -> str:
        return self.calls.ask(content)

    @action
    async def aask(self, content: str) -> str:
        return await self.calls.aask(content)


class Caller(Agent):
    """Calls directly, and through the agent, in turn."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.calls = Calls()

    @action
    def one_at_a_time(self, to: str, turns: int) -> Figures:
        message = {"to": to, "action": {"name": "ask", "args": {"content": CONTENT}}}
        direct, through = [], []
        for _ in range(1 + turns):
            begin = time.perf_counter()
            self.calls.ask(CONTENT)
            middle = time.perf_counter()
            self.request(message, timeout=PATIENCE)
            direct.append(middle - begin)
            through.append(time.perf_counter() - middle)
        return _overhead(direct, through)

    @action
    async def at_once(self, to: str, turns: int) -> Figures:
        message = {"to": to, "action": {"name": "aask", "args": {"content": CONTENT}}}
        direct, through = [], []
        for _ in range(1 + turns):
            begin = time.perf_counter()
            await asyncio.gather(*(self.calls.aask(CONTENT) for _ in range(AT_ONCE)))
            middle = time.perf_counter()
            await asyncio.gather(
                *(self.arequest(message, timeout=PATIENCE) for _ in range(AT_ONCE))
            )
            direct.append(middle - begin)
            through.append(time.perf_counter() - middle)
        return _overhead(direct, through)


def _overhead(direct: list[float], through: list[float]) -> Figures:
    """Of the medians; the first turn was to warm up."""
    alone, asked = (percentile(seconds[1:], 0.5) for seconds in (direct, through))
    return {"overhead": round(asked / alone, 4), "added_ms": round((asked - alone) * 1e3, 2)}


def _said(content: str) -> ChatCompletionUserMessageParam:
    return {"role": "user", "content": content}


def _text(completion: ChatCompletion) -> str:
    return completion.choices[0].message.content or ""

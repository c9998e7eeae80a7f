"""ChattyAI: a chat agent that answers with a language model of its own.

    space.add(ChattyAI("Chatty", model="EleutherAI/gpt-neo-125m"))

The model is loaded on a thread after the agent was added; whoever speaks meanwhile is told so and
answered later. Answers go to the sender as `say`, as in the documentation; a sender that can show an
answer while it grows may ask for that (`agents.speech`). Below: `agents.language_model` has the
model, `agents.conversations` what was said before.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from agency import Agent, action
from agents.conversations import Conversations
from agents.language_model import LanguageModel, ModelUnavailable, Said, check_libraries
from agents.speech import Speech, tell

__all__ = ["ChattyAI"]

_LAST_WORDS: Final = 5.0  # seconds that the model has to break off, when the agent leaves


class ChattyAI(Agent):
    """Chats, with whoever speaks to it.

    Args:
        id: how others address it.
        model: a folder with a saved model, or the name of one on the Hugging Face Hub; base models
            as well as chat models.
        max_new_tokens: how long an answer may be.
        remembered: exchanges that it remembers of each conversation.
        options: further arguments of transformers' `generate`, `{"do_sample": False}` say.

    Raises:
        MissingExtra: transformers or PyTorch is not installed.
    """

    def __init__(
        self,
        id: str,
        model: str,
        *,
        max_new_tokens: int = 200,
        remembered: int = 10,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        # While it thinks it still answers `help`; its answers are made one after the other.
        super().__init__(id, receive_own_broadcasts=False, concurrency=32)
        check_libraries()
        self._model_name = model
        self._max_new_tokens = max_new_tokens
        self._options = dict(options or {})
        self._conversations: Conversations[Said] = Conversations(remembered)
        self._thinking = asyncio.Lock()  # held from the beginning of an answer to its end
        self._later: set[asyncio.Task[None]] = set()
        self._threads = _Threads()
        self._loading: Future[LanguageModel] | None = None

    def after_add(self) -> None:
        """Begin to load the model. The space goes on."""
        self._threads = _Threads()
        self._load()

    def before_remove(self) -> None:
        """Wait for the model to break off."""
        self._threads.end(_LAST_WORDS)

    @action
    async def say(self, content: str) -> None:
        """Use this action to say something to Chatty"""  # noqa: D415  # as published
        message = self._current_message
        assert message is not None
        loading = self._model()
        if loading.done():
            await self._respond(loading, content, message)
            return
        tell(
            self,
            message["from"],
            f"I am still loading my model `{self._model_name}`. I will answer you then.",
        )
        # Not in this turn: the agent's removal would wait for it.
        later = asyncio.create_task(self._respond(loading, content, message))
        self._later.add(later)
        later.add_done_callback(self._later.discard)

    def error(self, error: str = "", original_message_id: str | None = None) -> None:
        """Nothing: whom it answered does not want to be spoken to."""

    async def _respond(
        self, loading: Future[LanguageModel], content: str, message: dict[str, Any]
    ) -> None:
        """Answer the sender with `say`, in its turn."""
        speech = Speech(self, message)
        async with self._thinking:
            try:
                model = await asyncio.wrap_future(loading)
                await self._think(model, content, message["from"], speech)
            except ModelUnavailable as error:
                speech.add(f"\n\n{error}")
        speech.finish()

    async def _think(self, model: LanguageModel, content: str, sender: str, speech: Speech) -> None:
        """Let the model speak, and remember what it said."""
        exchanges = self._conversations.of(sender).exchanges
        loop = asyncio.get_running_loop()
        before, leaving = tuple(exchanges), self.leaving

        def think() -> None:
            model.answer(
                content,
                before=before,
                speakers=(sender, self.id),
                max_new_tokens=self._max_new_tokens,
                options=self._options,
                say=lambda words: _soon(loop, lambda: speech.add(words)),
                stopped=leaving.is_set,
            )

        await self._threads.run(think, f"{self.id} thinks")
        if speech.text.strip():
            exchanges.append(Said(content, speech.text.strip()))
        else:
            speech.add("(My model has nothing to say to that.)")

    def _model(self) -> Future[LanguageModel]:
        """The model, loaded or on its way. After a failure, another attempt."""
        loading = self._loading
        if loading is None or (loading.done() and loading.exception() is not None):
            return self._load()
        return loading

    def _load(self) -> Future[LanguageModel]:
        future: Future[LanguageModel] = Future()
        future.set_running_or_notify_cancel()

        def load() -> None:
            try:
                future.set_result(LanguageModel(self._model_name))
            except BaseException as error:  # noqa: BLE001  # for those who wait
                future.set_exception(error)

        self._threads.start(load, f"{self.id} loads")
        self._loading = future
        return future


class _Threads:
    """The threads on which a model is loaded and thinks.

    One that has used PyTorch must neither compute nor be about to end when the interpreter does: it
    would be cut off within C++, which aborts the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: list[threading.Thread] = []
        self._over = False

    def start(self, function: Callable[[], None], name: str) -> None:
        """Call the function on a thread. Raises `ModelUnavailable` after `end`."""
        # A daemon: a download that takes longer than `end` waits must not hold up the program's end.
        thread = threading.Thread(target=function, name=name, daemon=True)
        with self._lock:
            if self._over:
                raise ModelUnavailable("I have to leave, so I cannot answer that.")
            self._begun = [one for one in self._begun if one.is_alive()]
            self._begun.append(thread)
            thread.start()

    async def run(self, function: Callable[[], None], name: str) -> None:
        """Call the function on a thread, as part of the turn in progress, and wait for it.

        Raises what the function raises, and what `start` does.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        context = contextvars.copy_context()

        def settle(error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def run() -> None:
            error: BaseException | None = None
            try:
                context.run(function)
            except BaseException as raised:  # noqa: BLE001  # for the one who waits
                error = raised
            _soon(loop, lambda: settle(error))

        self.start(run, name)
        await done

    def end(self, patience: float) -> None:
        """Let no thread begin any more, and wait until those that have are gone, some seconds in all."""
        deadline = time.monotonic() + patience
        with self._lock:
            self._over = True
        for thread in self._begun:
            thread.join(max(0.0, deadline - time.monotonic()))


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        pass  # the agent was removed meanwhile, and its loop with it

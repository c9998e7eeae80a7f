"""A language model in this process: any causal one that transformers loads, from a folder or the hub.

Chat models are asked in the form of their own chat template; base models, which have none, are given
the conversation as lines of a play and stopped at the end of their line. Everything here blocks, so
it is called on threads. Above: `agents.chatty_ai`. Below: transformers and PyTorch, imported when
the first model is loaded and not before.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from agency import MissingExtra

__all__ = ["LanguageModel", "ModelUnavailable", "Said", "check_libraries"]

_LEAST: Final = 8  # tokens that must be left for an answer
_LONGEST_TIME: Final = 120.0  # seconds; a slow machine breaks off there

_loading: Final = threading.Lock()
"""Held while a model is loaded: transformers imports its parts when they are first asked for, and
fails if two threads do so at once."""


class ModelUnavailable(Exception):
    """The model cannot be had, or cannot answer this; the text says so to a person in a chat."""


class Said(NamedTuple):
    """One exchange of a conversation."""

    question: str
    answer: str


def check_libraries() -> None:
    """Look whether the libraries are there, without importing them.

    Raises:
        MissingExtra: one is not.
    """
    for library in ("torch", "transformers"):
        if importlib.util.find_spec(library) is None:
            raise MissingExtra(
                f"language models in this process need {library}: pip install 'agency-space[hf]'"
            )


class LanguageModel:
    """A model, loaded. Constructing it may take minutes: it imports, reads, and perhaps downloads.
    Several may be constructed at the same time, on threads of one process; it is done one by one.

    Args:
        name: a folder with a saved model, or the name of a model on the Hugging Face Hub.

    Raises:
        ModelUnavailable: it cannot be loaded; the text says why, and what may help.
    """

    def __init__(self, name: str) -> None:
        try:
            with _loading:
                import transformers

                # For `answer`, so that it imports nothing while another model is loaded.
                self._streamer = transformers.TextStreamer
                self._criteria = transformers.StoppingCriteriaList
                transformers.utils.logging.disable_progress_bar()
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(name)
                self._model = transformers.AutoModelForCausalLM.from_pretrained(name)
        except Exception as error:  # every library below has errors of its own
            raise ModelUnavailable(_why_not_loaded(name, error)) from error
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._context: int | None = context if isinstance(context, int) else None
        """Tokens that the model can take in, question and answer together, if it says so."""

    @property
    def is_for_chats(self) -> bool:
        """Whether it brings the form in which it wants to be asked."""
        return bool(self._tokenizer.chat_template)

    def answer(
        self,
        content: str,
        *,
        before: Iterable[Said],
        speakers: tuple[str, str],
        max_new_tokens: int,
        options: Mapping[str, Any],
        say: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Answer what was said, word by word.

        Args:
            content: what was said.
            before: what was said before, oldest first; the oldest is left out if it is too much.
            speakers: who says the questions, and who the answers.
            max_new_tokens: how long the answer may be.
            options: further arguments of transformers' `generate`.
            say: called with each piece of the answer, on the calling thread.
            stopped: asked again and again; when it is true, the answer ends.

        Raises:
            ModelUnavailable: what was said is longer than what the model can take in, or the model
                failed.
        """
        import torch

        inputs = self._inputs(content, list(before), speakers, max_new_tokens)
        length = inputs["input_ids"].shape[-1]
        words = _Words(say, one_line=not self.is_for_chats)
        streamer = self._streamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        streamer.on_finalized_text = words.add

        def ended(token_ids: Any, *_scores: Any, **_others: Any) -> Any:
            return torch.full((token_ids.shape[0],), words.ended or stopped())

        try:
            self._model.generate(
                **inputs,
                **self._manner(options),
                max_new_tokens=min(max_new_tokens, (self._context or 2**31) - length),
                max_time=_LONGEST_TIME,
                streamer=streamer,
                stopping_criteria=self._criteria([ended]),
            )
        except Exception as error:  # as above
            raise ModelUnavailable(f"My model failed. ({_first_line(error)})") from error

    def _inputs(
        self, content: str, before: list[Said], speakers: tuple[str, str], max_new_tokens: int
    ) -> Any:
        """The tokens of the conversation: as much of it as leaves room for an answer."""
        while True:
            inputs = self._tokens(content, before, speakers)
            length = inputs["input_ids"].shape[-1]
            if self._context is None:
                return inputs
            room = self._context - length
            if room >= (min(max_new_tokens, self._context // 4) if before else _LEAST):
                return inputs
            if not before:
                raise ModelUnavailable(
                    f"That is too long for me: {length} tokens, and I can take in "
                    f"{self._context - _LEAST}. Please say it in fewer words."
                )
            del before[0]

    def _tokens(self, content: str, before: list[Said], speakers: tuple[str, str]) -> Any:
        if self.is_for_chats:
            messages = [
                {"role": role, "content": text}
                for said in before
                for role, text in (("user", said.question), ("assistant", said.answer))
            ]
            return self._tokenizer.apply_chat_template(
                [*messages, {"role": "user", "content": content}],
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
            )
        asker, answerer = (" ".join(speaker.split()) for speaker in speakers)
        lines = [f"{asker}: {said.question}\n{answerer}: {said.answer}\n" for said in before]
        play = f"{''.join(lines)}{asker}: {content}\n{answerer}:"
        return self._tokenizer(play, return_tensors="pt", return_token_type_ids=False)

    def _manner(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """How to choose words: as the chat model's makers say; base models' makers say nothing."""
        chosen: dict[str, Any] = {"pad_token_id": self._padding()}
        if not self.is_for_chats:
            chosen |= {"do_sample": True, "temperature": 0.7, "repetition_penalty": 1.2}
        if options.get("do_sample") is False:
            chosen |= {"temperature": None, "top_p": None, "top_k": None}
        return chosen | dict(options)

    def _padding(self) -> Any:
        """Any token: nothing is ever padded, and without one transformers complains."""
        own = self._tokenizer.pad_token_id
        return own if own is not None else self._tokenizer.eos_token_id


class _Words:
    """What comes out of the model, on its way to the listener; knows where an answer ends."""

    def __init__(self, say: Callable[[str], None], *, one_line: bool) -> None:
        self._say = say
        self._one_line = one_line
        self._begun = False
        self.ended = False

    def add(self, text: str, stream_end: bool = False) -> None:  # as called
        if not self._begun:
            text = text.lstrip()
        if self.ended or not text:
            return
        self._begun = True
        if self._one_line and "\n" in text:
            text, self.ended = text.partition("\n")[0], True
        self._say(text)


def _why_not_loaded(name: str, error: Exception) -> str:
    reason = _first_line(error)
    if Path(name).exists():
        return (
            f"I cannot load my model from the folder `{name}`. It has to hold a causal language "
            f"model and its tokenizer, as `save_pretrained` of transformers writes them. ({reason})"
        )
    return (
        f"I cannot get my model `{name}`. There is no such folder here, and it could not be "
        "had from the Hugging Face Hub either: is the name right, and is there a network? Give me "
        f"`model=` another name, or a folder with a saved model. ({reason})"
    )


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"

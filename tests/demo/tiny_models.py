"""Tiny language models that know one conversation by heart, made while the tests wait.

Real models for real code: transformers saves them to a folder and loads them from there. Needs
PyTorch and less than two seconds each.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

CONVERSATION = (
    ("Hello", "Hello, how are you today?"),
    ("I am fine", "That is good to hear."),
    ("What is the capital of France?", "The capital of France is Paris."),
)
"""What the models answer to what, whatever was said before."""

CONTEXT = 160
"""Tokens that they can take in."""

# Instructions are more than such a small model can take in; it is not shown them.
_TEMPLATE = (
    "{% for message in messages if message['role'] != 'system' %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_ROUNDS = 100


def make_chat_model(folder: Path) -> Path:
    """A Llama with a chat template."""
    tokenizer = _tokenizer(["<|end|>", "<|user|>", "<|assistant|>"])
    tokenizer.chat_template = _TEMPLATE
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    texts = _conversations("<|user|>{}<|end|><|assistant|>{}<|end|>")
    return _saved(folder, tokenizer, model, texts)


def make_base_model(folder: Path) -> Path:
    """A GPT-Neo, as the documentation's, without a chat template; it goes on with the play it knows."""
    tokenizer = _tokenizer(["<|end|>"])
    texts = _conversations("User: {}\nChatty: {}\n")
    return _saved(folder, tokenizer, _gpt_neo(tokenizer, CONTEXT), texts)


def make_model_of_one_play(folder: Path, play: str, last_words: str) -> Path:
    """A GPT-Neo that knows one text, however long, and how it ends."""
    tokenizer = _tokenizer(["<|end|>"])
    text = f"{play}{last_words}<|end|>"
    model = _gpt_neo(tokenizer, len(tokenizer.tokenize(text)) + 1)
    return _saved(folder, tokenizer, model, [text], given=play)


def _gpt_neo(tokenizer: Any, context: int) -> Any:
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=len(tokenizer),
            hidden_size=48,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            max_position_embeddings=context,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _conversations(form: str) -> list[str]:
    """Every two exchanges in a row, so that the latest question is what matters."""
    return [
        form.format(*first) + form.format(*second)
        for first, second in permutations(CONVERSATION, 2)
    ]


def _tokenizer(special: list[str]) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = [text for exchange in CONVERSATION for text in exchange]
    tokenizer.train_from_iterator([*words, "\nUser: ", "\nChatty: "], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def _saved(folder: Path, tokenizer: Any, model: Any, texts: list[str], given: str = "") -> Path:
    """Teach the model the texts, except for what they are given to begin with, and save both."""
    torch.set_num_threads(1)  # more would wait for each other, and for the other tests
    torch.manual_seed(0)
    batch = [tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
    first = len(tokenizer.tokenize(given))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(_ROUNDS):
        optimizer.zero_grad()
        losses = [model(input_ids=ids, labels=_from(first, ids)).loss for ids in batch]
        torch.stack(losses).mean().backward()
        optimizer.step()
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _from(first: int, ids: Any) -> Any:
    """The tokens as labels, of which those before the first do not count."""
    labels = ids.clone()
    labels[:, :first] = -100
    return labels

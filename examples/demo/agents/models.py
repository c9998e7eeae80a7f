"""The models that the demo's settings ask for: none, unless somebody has configured one.

    read_settings()      # first of all: from the file .env beside the programs, if there is one
    space = LocalSpace()
    add_models(space)

`.env.example` tells of every setting. What stands in the environment already counts for more than
the file. Above: the demo's programs. Below: the agents that it adds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from agency import MissingExtra, Space
from agents.chatty_ai import ChattyAI
from agents.language_model import check_libraries
from agents.openai_completion_agent import OpenAICompletionAgent
from agents.openai_function_agent import OpenAIFunctionAgent

__all__ = ["add_models", "read_settings"]

SETTINGS: Final = Path(__file__).parents[1] / ".env"

_DEFAULT_MODEL: Final = "gpt-5.4-mini"  # at OpenAI's own endpoint


def read_settings(file: Path = SETTINGS) -> None:
    """Put the settings in the file, lines of the form NAME=value, into the environment.

    Raises:
        SystemExit: a line is not of that form; the text says which.
    """
    if not file.exists():
        return
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        setting = line.strip().removeprefix("export ")
        if not setting or setting.startswith("#"):
            continue
        name, equals, value = setting.partition("=")
        if not equals or not name.strip().isidentifier():
            raise SystemExit(f"{file}, line {number}: a setting has the form NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if value:
            os.environ.setdefault(name.strip(), value)


def add_models(space: Space) -> list[str]:
    """Add an agent for each model that the environment names. Returns their ids.

    Raises:
        SystemExit: a model needs something that is not installed; the text says what.
    """
    added = []
    chatty_model = os.environ.get("CHATTY_MODEL")
    if chatty_model:
        try:
            check_libraries()
        except MissingExtra as error:
            raise SystemExit(f"CHATTY_MODEL is set, but {error}") from None
        space.add(ChattyAI, "Chatty", model=chatty_model)
        added.append("Chatty")
    key, base_url = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    model = os.environ.get("OPENAI_MODEL") or (None if base_url else _DEFAULT_MODEL)
    if (key or base_url) and model:
        # The user_id determines the "user" role in the chat API.
        space.add(OpenAIFunctionAgent, "FunctionAI", model, key, user_id="User", base_url=base_url)
        added.append("FunctionAI")
    completion_model = os.environ.get("OPENAI_COMPLETION_MODEL")
    if (key or base_url) and completion_model:
        space.add(
            OpenAICompletionAgent,
            "CompletionAI",
            completion_model,
            key,
            user_id="User",
            base_url=base_url,
        )
        added.append("CompletionAI")
    return added

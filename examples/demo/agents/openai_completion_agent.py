"""OpenAICompletionAgent: a model that only continues a text takes part by means of that text.

    space.add(OpenAICompletionAgent("CompletionAI", model="davinci-002", user_id="User"))

Speaks the Completions protocol, for base models and for servers without tools. The conversation is
written like a play; the model is told the commands of the other agents in the slash syntax that
people type, and may write one on a line of its own:

    User: What is 12 times 12?
    CompletionAI: /Calculator.multiply a:12 b:12
    Result: {"result": 144}
    CompletionAI: 144

Everything else is in `agents.openai_agent`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from agency.errors import InvalidCommand
from agency.slash import format_command, parse_command
from agents.conversations import Conversation
from agents.openai_agent import Exchange, OpenAIAgent, Reply

__all__ = ["OpenAICompletionAgent"]

_LONGEST_ANSWER: Final = 400  # tokens
_LONGEST_PAST: Final = 12_000  # characters of the conversation that the model is shown
_COMMAND: Final = re.compile(r"(?:^|\n)[ \t]*(/[^\n]*)")
_MAYBE_COMMAND: Final = re.compile(r"(?:^|\n)[ \t]*$")


class OpenAICompletionAgent(OpenAIAgent):
    """Answers with a model that continues texts, and runs the commands that it writes.

    See `agents.openai_agent.OpenAIAgent` for its arguments.
    """

    async def _think(
        self, conversation: Conversation[Exchange], content: str, partner: str, reply: Reply
    ) -> Exchange:
        past = "".join(_text(exchange) for exchange in conversation.exchanges)[-_LONGEST_PAST:]
        exchange: Exchange = [{"text": f"{partner}: {content}\n"}]
        for rounds_left in range(self._max_rounds, -1, -1):
            play = f"{self._stage(partner)}\n\n{past}{_text(exchange)}{self.id}:"
            words, command = await self._continue(play, partner, reply)
            if command is not None and rounds_left == 0:
                reply.add(f"I have used actions {self._max_rounds} times, and stop here.")
            elif command is None and not words:
                reply.add("(The model has nothing to say to that.)")
            reply.finish()
            if words:
                exchange.append({"text": f"{self.id}: {words}\n"})
            if command is None or rounds_left == 0:
                break
            result = await self._run(command)
            exchange.append({"text": f"{self.id}: {command}\nResult: {result}\n"})
        return exchange

    def _stage(self, partner: str) -> str:
        """What stands before the play."""
        commands = [
            _command(agent_id, name, entry)
            for agent_id, actions in self._available(partner).items()
            for name, entry in actions.items()
        ]
        if not commands:
            return self._introduction(partner)
        listed = "\n".join(commands)
        return (
            f"{self._introduction(partner)} To invoke an action, you write a command on a line of "
            f"its own, and are given the result. The commands are:\n{listed}"
        )

    async def _continue(self, play: str, partner: str, reply: Reply) -> tuple[str, str | None]:
        """The words that the model continues with, and the command that ends them, if any."""
        stream = await self._endpoint().completions.create(
            model=self._model,
            prompt=play,
            max_tokens=_LONGEST_ANSWER,
            stop=[f"\n{partner}:", f"\n{self.id}:", "\nResult:"],
            stream=True,
        )
        text, said = "", 0
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices[:1]:
                    text += choice.text or ""
                    end = _end_of_words(text)
                    if end > said:
                        reply.add(text[said:end].lstrip() if not said else text[said:end])
                        said = end
        found = _COMMAND.search(text)
        if found is not None:
            return text[: found.start()].strip(), found[1].strip()
        return text.strip(), None

    async def _run(self, command: str) -> str:
        """Run a command that the model wrote; its errors are told to it."""
        try:
            message = parse_command(command)
        except InvalidCommand as error:
            return json.dumps({"error": f"not a command: {error}"})
        invoked = message["action"]
        return await self._invoke(message["to"], invoked["name"], invoked.get("args", {}))


def _end_of_words(text: str) -> int:
    """How much of the text is certainly not the beginning of a command."""
    found = _COMMAND.search(text) or _MAYBE_COMMAND.search(text)
    return len(text) if found is None else found.start()


def _text(exchange: Exchange) -> str:
    return "".join(part["text"] for part in exchange)


def _command(agent_id: str, name: str, entry: Any) -> str:
    """An action as the command that invokes it, with gaps for its arguments."""
    about = entry if isinstance(entry, dict) else {}
    args = about.get("args")
    if isinstance(about.get("parameters"), dict):
        args = about["parameters"].get("properties")
    gaps = "".join(f" {arg}:..." for arg in (args if isinstance(args, dict) else ()))
    command = format_command({"to": agent_id, "action": {"name": name}})
    described = about.get("description")
    told = " ".join(described.split()) if isinstance(described, str) else ""
    return f"{command}{gaps}" + (f" ({told})" if told else "")

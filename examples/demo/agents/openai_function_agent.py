"""OpenAIFunctionAgent: a chat model that uses the actions of the other agents as its tools.

    space.add(
        OpenAIFunctionAgent("FunctionAI",
            model="gpt-3.5-turbo-16k",
            openai_api_key=os.getenv("OPENAI_API_KEY"),
            # user_id determines the "user" role in the chat API
            user_id="User"))

Speaks the Chat Completions protocol, which OpenAI and nearly every server of models understand. In
each turn it finds out who is here (`agents.discovery`), offers the model their actions
(`agents.tools`), and invokes those that the model asks for until it has nothing more to ask.
Everything else is in `agents.openai_agent`.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from agents.conversations import Conversation
from agents.openai_agent import Exchange, OpenAIAgent, Reply
from agents.tools import Tool, tools_from

__all__ = ["OpenAIFunctionAgent"]


@dataclass(slots=True)
class _Call:
    """A call of a tool that the model asks for; its pieces arrive one by one."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def as_message(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments or "{}"},
        }


@dataclass(slots=True)
class _Answer:
    """One answer of the model: words, calls, or both."""

    words: str = ""
    calls: dict[int, _Call] = field(default_factory=dict)
    finish_reason: str | None = None

    def as_message(self) -> dict[str, Any]:
        if not self.calls:
            return {"role": "assistant", "content": self.words}
        calls = [call.as_message() for call in self.calls.values()]
        return {"role": "assistant", "content": self.words or None, "tool_calls": calls}


class OpenAIFunctionAgent(OpenAIAgent):
    """Answers with a chat model, which may invoke the actions of all other agents.

    See `agents.openai_agent.OpenAIAgent` for its arguments.
    """

    async def _think(
        self, conversation: Conversation[Exchange], content: str, partner: str, reply: Reply
    ) -> Exchange:
        before = [message for exchange in conversation.exchanges for message in exchange]
        introduction = {"role": "system", "content": self._introduction(partner)}
        exchange: Exchange = [{"role": "user", "content": content}]
        for rounds_left in range(self._max_rounds, -1, -1):
            tools = tools_from(self._available(partner))
            answer = await self._ask(
                [introduction, *before, *exchange], tools, reply, may_call=rounds_left > 0
            )
            if answer.calls and rounds_left == 0:
                answer.calls.clear()
                reply.add(f"I have used actions {self._max_rounds} times, and stop here.")
            elif not answer.calls and not answer.words:
                reply.add("(The model has nothing to say to that.)")
            reply.finish()
            exchange.append(answer.as_message())
            if not answer.calls:
                break
            results = await asyncio.gather(
                *(self._call(call, tools) for call in answer.calls.values())
            )
            exchange += results
        return exchange

    async def _ask(
        self,
        messages: list[dict[str, Any]],
        tools: dict[str, Tool],
        reply: Reply,
        *,
        may_call: bool,
    ) -> _Answer:
        """One answer of the model. Its words are passed on as they come."""
        options: dict[str, Any] = {}
        if tools:
            options = {
                "tools": [_as_function(name, tool) for name, tool in tools.items()],
                "tool_choice": "auto" if may_call else "none",
            }
        stream = await self._endpoint().chat.completions.create(
            model=self._model, messages=messages, stream=True, **options
        )
        answer = _Answer()
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices[:1]:
                    self._take_in(choice, answer, reply)
        if answer.finish_reason == "length":
            reply.add(" … (cut: it became too long)")
        return answer

    @staticmethod
    def _take_in(choice: Any, answer: _Answer, reply: Reply) -> None:
        answer.finish_reason = choice.finish_reason or answer.finish_reason
        words = choice.delta.content or getattr(choice.delta, "refusal", None)
        if words:
            answer.words += words
            reply.add(words)
        for piece in choice.delta.tool_calls or ():
            # Some servers do not count, but send each call whole.
            number = len(answer.calls) if piece.index is None else piece.index
            call = answer.calls.setdefault(number, _Call())
            call.id = piece.id or call.id or f"call_{number}"
            if piece.function is not None:
                call.name += piece.function.name or ""
                call.arguments += piece.function.arguments or ""

    async def _call(self, call: _Call, tools: dict[str, Tool]) -> dict[str, Any]:
        """Do what the model asks for; its errors are told to it, so that it can do better."""
        tool = tools.get(call.name)
        if tool is None:
            result = json.dumps({"error": f"there is no tool {call.name!r}"})
        else:
            try:
                args = json.loads(call.arguments or "{}")
                result = await self._invoke(tool.agent_id, tool.action_name, args)
            except json.JSONDecodeError as error:
                result = json.dumps({"error": f"the arguments are not JSON: {error}"})
        return {"role": "tool", "tool_call_id": call.id, "content": result}


def _as_function(name: str, tool: Tool) -> dict[str, Any]:
    # Not "strict", which allows no optional arguments, and which not every server knows.
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }

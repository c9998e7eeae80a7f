"""Tools: the actions of other agents in the form in which language models are offered functions.

Pure: from what `help` says to names, descriptions and JSON Schemas that an endpoint accepts. What
an agent says of itself comes from outside, so everything odd is left out here: one tool that the
endpoint does not like would make it refuse all. Above: `agents.openai_function_agent`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["Tool", "tool_name", "tools_from"]

MOST: Final = 128
"""Tools that an endpoint takes at once."""

_LONGEST_NAME: Final = 64
_LONGEST_DESCRIPTION: Final = 1024
_LEGAL: Final = re.compile(r"[a-zA-Z0-9_-]+")
_LEGAL_ARGUMENT: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


class Tool(NamedTuple):
    """One action of one agent, as a language model is told of it."""

    agent_id: str
    action_name: str
    description: str
    parameters: dict[str, Any]
    """A JSON Schema."""


def tools_from(actions: Mapping[str, Mapping[str, Any]]) -> dict[str, Tool]:
    """The actions as tools by their names.

    Args:
        actions: what each agent answered to `help`, in either format.
    """
    tools: dict[str, Tool] = {}
    for agent_id, own in actions.items():
        for action_name, entry in own.items():
            if len(tools) == MOST:
                return tools
            tool = _tool(agent_id, action_name, entry)
            if tool is not None:
                tools[tool_name(agent_id, action_name)] = tool
    return tools


def tool_name(agent_id: str, action_name: str) -> str:
    """A name of at most 64 letters, digits, dashes and underscores for an action of an agent.

    It does not depend on what else there is, so that a conversation's names stay right. `Host` and
    `shell_command` make `Host-shell_command`; the last dash separates. Where that would be
    ambiguous, illegal or too long, a piece of a hash makes it different from all others.
    """
    whole = f"{agent_id}-{action_name}"
    if _LEGAL.fullmatch(whole) and len(whole) <= _LONGEST_NAME and "-" not in action_name:
        return whole
    digest = hashlib.sha256(f"{agent_id}\0{action_name}".encode()).hexdigest()[:10]
    legal = re.sub(r"[^a-zA-Z0-9_]+", "_", whole)
    return f"{legal[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def _tool(agent_id: str, action_name: str, entry: Any) -> Tool | None:
    about = entry if isinstance(entry, dict) else {}
    parameters = _parameters(about)
    if parameters is None:
        return None
    description = f'Action "{action_name}" of the agent "{agent_id}".'
    if isinstance(about.get("description"), str):
        description += f" {about['description']}"
    returned = about.get("returns")
    if isinstance(returned, dict) and isinstance(returned.get("description"), str):
        description += f" Returns: {returned['description']}"
    return Tool(agent_id, action_name, description[:_LONGEST_DESCRIPTION], parameters)


def _parameters(about: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema of the arguments; None if there are some that cannot be told of."""
    schema = about.get("parameters")
    if not isinstance(schema, dict):
        schema = {"properties": _from_plain_help(about.get("args"))}
    properties = schema.get("properties", {})
    if not isinstance(properties, dict) or not all(
        _LEGAL_ARGUMENT.fullmatch(name) and isinstance(value, dict)
        for name, value in properties.items()
    ):
        return None
    return {**schema, "type": "object", "properties": properties}


def _from_plain_help(args: Any) -> dict[str, Any]:
    """The arguments as the plain format tells of them; which of them are required it does not say."""
    if not isinstance(args, dict):
        return {}
    return {
        name: {
            key: value
            for key, value in (about.items() if isinstance(about, dict) else ())
            if key != "type" or _is_type(value)
        }
        for name, about in args.items()
    }


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) and name in _TYPES for name in names)

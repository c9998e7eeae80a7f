"""How a message looks on the page: pure, from a message to what the chat shows.

What an agent says is Markdown; everything else is shown in forms of our own, in which its text is
only ever text. The page's own defences (`apps.server`) stand behind this. Below: nothing.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any, Final, TypedDict, TypeGuard

from agency.errors import InvalidCommand
from agency.schema import BROADCAST
from agency.slash import format_command

__all__ = ["Shown", "received", "typed", "wrong"]

_LONG: Final = 40  # lines; longer values are folded
_LONGEST: Final = 20_000  # characters of one message; a browser becomes slow with many more


class Shown(TypedDict):
    """One message of Gradio's chat."""

    role: str
    content: str


def typed(text: str) -> Shown:
    """What the person has typed, exactly."""
    kind = "command" if text.startswith("/") else "text"
    return Shown(role="user", content=f'<div class="typed {kind}">{_inert(text)}</div>')


def wrong(error: Exception, text: str) -> Shown:
    """Why what was typed has not been sent, with a mark under the place if there is one."""
    shown = f'<div class="problem">{_inert(str(error))}</div>'
    if isinstance(error, InvalidCommand):
        before, after = text[: error.position], text[error.position :]
        shown = (
            f'<div class="problem">I expected {_inert(error.expected)}, at the mark:</div>'
            f'<pre class="value">{_inert(before)}<mark>▸</mark>{_inert(after)}</pre>'
            '<div class="hint">Like this: <code>/agent_id.action_name arg1:"value 1" '
            "arg2:2</code></div>"
        )
    return _from_others("Not sent", "", shown, kind="error")


def received(message: Mapping[str, Any], cause: Mapping[str, Any] | None) -> Shown:
    """A message that reached the person.

    Args:
        message: whole, as agents see it.
        cause: the person's own message that it answers, if that is known.
    """
    sender, name = message["from"], message["action"]["name"]
    args = message["action"].get("args") or {}
    caused_by = cause["action"]["name"] if cause else None
    note = f"answers {format_command(cause)}" if cause and caused_by != "say" else ""
    if name == "error":
        problem = f'<div class="problem">{_inert(str(args.get("error", "")))}</div>'
        return _from_others(sender, note, problem, kind="error")
    if name == "response":
        value = args.get("data")
        if caused_by == "say" and isinstance(value, str):
            return _said(sender, "", value)
        if caused_by == "help" and _is_help(value):
            return _from_others(sender, note, _help(sender, value))
        return _from_others(sender, note, _value(value))
    audience = "to everyone" if message["to"] == BROADCAST else ""
    if name == "say" and isinstance(args.get("content"), str):
        return _said(sender, audience, args["content"])
    call = f'<pre class="value">{_inert(format_command(message))}</pre>'
    return _from_others(sender, audience, call)


def _said(sender: str, note: str, text: str) -> Shown:
    return Shown(role="assistant", content=f"{_heading(sender, note)}\n\n{_short(text)}")


def _from_others(sender: str, note: str, inner: str, kind: str = "answer") -> Shown:
    content = f'<div class="{kind}">{_heading(sender, note)}{inner}</div>'
    return Shown(role="assistant", content=content)


def _heading(sender: str, note: str) -> str:
    about = f' <span class="note">{_inert(_short(note, 200))}</span>' if note else ""
    return f'<div class="sender">{_inert(sender)}{about}</div>'


def _value(value: Any) -> str:
    """Text as it is, lists of short texts line by line, anything else as JSON; folded if long."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        text = "\n".join(value)
    else:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    shown = f'<pre class="value">{_inert(_short(text))}</pre>'
    lines = text.count("\n") + 1
    if lines <= _LONG:
        return shown
    return f"<details><summary>{lines} lines</summary>{shown}</details>"


def _is_help(value: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    return isinstance(value, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("args", {}), dict)
        for entry in value.values()
    )


def _help(agent_id: str, actions: dict[str, dict[str, Any]]) -> str:
    """Each action as the command that invokes it, with what it says of itself."""
    if not actions:
        return '<div class="hint">offers no actions</div>'
    return "".join(_help_entry(agent_id, name, entry) for name, entry in actions.items())


def _help_entry(agent_id: str, name: str, entry: dict[str, Any]) -> str:
    args: dict[str, Any] = entry.get("args", {})
    command = format_command({"to": agent_id, "action": {"name": name}})
    gaps = " ".join(f"{_inert(arg)}:<i>{_inert(_type(about))}</i>" for arg, about in args.items())
    described = "".join(
        f"<li><b>{_inert(arg)}</b> {_inert(about['description'])}</li>"
        for arg, about in args.items()
        if isinstance(about, dict) and isinstance(about.get("description"), str)
    )
    text = entry.get("description")
    return (
        f'<div class="action"><code>{_inert(command)} {gaps}</code>'
        + (f"<div>{_inert(text)}</div>" if isinstance(text, str) else "")
        + (f"<ul>{described}</ul>" if described else "")
        + "</div>"
    )


def _type(about: Any) -> str:
    kind = about.get("type", "any") if isinstance(about, dict) else "any"
    if not isinstance(kind, list):
        return str(kind)
    return " or ".join(str(one) for one in kind if one != "integer" or "number" not in kind)


def _short(text: str, limit: int = _LONGEST) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text)} characters)"


def _inert(text: str) -> str:
    """The text as HTML that is nothing but text; what cannot be seen is escaped.

    Without line ends, because after an empty line Markdown would begin.
    """
    visible = "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode()
        for character in text
    )
    return html.escape(visible).replace("\n", "&#10;").replace("\t", "&#9;")

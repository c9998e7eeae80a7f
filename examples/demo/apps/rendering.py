"""How a message looks on the page: pure, from a message to what the chat shows.

What an agent says is Markdown; everything else is shown in forms of our own, in which its text is
only ever text. The page's own defences (`apps.server`) stand behind this. Below: nothing.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from agency.errors import InvalidCommand
from agency.schema import BROADCAST
from agency.slash import format_command
from apps.screen import Shown

__all__ = ["Question", "asked", "decided", "present", "received", "typed", "unanswered", "wrong"]

_LONG: Final = 40  # lines; longer texts are folded
_WIDE: Final = 100  # characters; longer JSON is folded
_SEEN: Final = 600  # characters of a question, of which a part may be seen only after scrolling
_LONGEST: Final = 20_000  # characters of one message; a browser becomes slow with many more

_BRACES: Final = {ord("{"): "&#123;", ord("}"): "&#125;", ord("$"): "&#36;", ord("`"): "&#96;"}


class Question(NamedTuple):
    """What the person is asked to approve."""

    by: str
    """The agent whose action it is, and who asks."""
    message: Mapping[str, Any]
    """What would run."""
    place: str
    deadline: float
    """When no answer becomes a refusal, as `time.monotonic` counts."""


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


def unanswered(message: Mapping[str, Any], *, is_here: bool) -> Shown:
    """That a message of the person's has had no answer so far, and what that may mean."""
    reason = (
        "It is at work, or waits for somebody's approval: here, or at the terminal where it runs."
        if is_here
        else "Nobody in this space has that id, as far as I know."
    )
    note = f"to {format_command(message)}"
    heading = _heading(f"No answer from {message['to']} yet", note)
    return Shown(role="assistant", content=f'<div class="waiting">{heading}{reason}</div>')


def received(
    message: Mapping[str, Any],
    cause: Mapping[str, Any] | None,
    parts: Sequence[Any] | None = None,
) -> Shown:
    """A message that reached the person.

    Args:
        message: whole, as agents see it.
        cause: the person's own message that it answers, if that is known.
        parts: if it is an answer in several parts, all that have arrived, the message's included.
    """
    sender, name = message["from"], message["action"]["name"]
    args = message["action"].get("args") or {}
    caused_by = cause["action"]["name"] if cause else None
    note = f"answers {format_command(cause)}" if cause and caused_by != "say" else ""
    if name == "error":
        problem = f'<div class="problem">{_inert(_short(str(args.get("error", ""))))}</div>'
        return _from_others(sender, note, problem, kind="error")
    if name == "response":
        value = args.get("data") if parts is None or len(parts) < 2 else _together(parts)
        if caused_by == "say" and isinstance(value, str):
            return _said(sender, "", value)
        if caused_by == "help" and _is_help(value):
            return _from_others(sender, note, _help(sender, value))
        return _from_others(sender, note, _value(value))
    audience = "to everyone" if message["to"] == BROADCAST else ""
    if name == "say" and isinstance(args.get("content"), str):
        return _said(sender, audience, args["content"], growing=_is_growing(message))
    call = f'<pre class="value">{_inert(format_command(message))}</pre>'
    return _from_others(sender, audience, call)


def present(person: str, agents: Mapping[str, Mapping[str, Any]]) -> str:
    """Who is in the space, each with its actions as buttons that begin a command.

    Args:
        person: the id of the person at the page.
        agents: what each of the others answered to `help` with the format "json_schema".
    """
    everyone = (
        _button("/*.help", "who can do what?", "Ask all of them what they can do")
        if agents
        else '<div class="hint">Nobody yet</div>'
    )
    sections = [f'<section class="everyone"><h3>In this space</h3>{everyone}</section>']
    for agent_id, actions in agents.items():
        buttons = "".join(_action_button(agent_id, *entry) for entry in actions.items())
        shown = buttons or '<div class="hint">offers no actions</div>'
        sections.append(f"<section><h4>{_inert(agent_id)}</h4>{shown}</section>")
    you = f'<h4>{_inert(person)} <span class="hint">you</span></h4>'
    return f"{''.join(sections)}<section>{you}</section>"


def asked(question: Question, nonce: str, waiting: int) -> str:
    """What the person is asked, all of it, with the buttons that answer."""
    more = f'<span class="hint">{waiting - 1} more after this</span>' if waiting > 1 else ""
    until = time.strftime(
        "%H:%M:%S", time.localtime(time.time() + question.deadline - time.monotonic())
    )
    call, besides = format_command(question.message), _besides(question.message)
    length = len(call) + len(besides)
    scroll = (
        f'<div class="hint">{length} characters: make sure that you have seen the end.</div>'
        if length > _SEEN
        else ""
    )
    buttons = "".join(
        f'<button class="{kind}" data-nonce="{nonce}" data-verdict="{kind}">{label}</button>'
        for kind, label in [("approve", "Approve"), ("deny", "Deny")]
    )
    return (
        f'<div class="asked"><div class="sender">{_inert(question.by)} asks for your approval</div>'
        f"<div><b>{_inert(_requester(question))}</b> wants to use <b>{_inert(question.by)}</b> in "
        f"{_inert(question.place)}:</div>"
        f'<pre class="value">{_inert(call)}</pre>'
        + (f'<div class="besides">{_inert(besides)}</div>' if besides else "")
        + f'{scroll}<div class="buttons">{buttons}'
        f'<span class="hint">No answer by {until} is a refusal.</span>{more}</div></div>'
    )


def decided(question: Question, *, approved: bool | None) -> Shown:
    """What became of a question: approved, denied, or None, which is no answer in time."""
    words = {True: "You approved", False: "You denied", None: "You did not answer in time"}
    call = f'<pre class="value">{_inert(_short(format_command(question.message)))}</pre>'
    note = f"asked by {_requester(question)}"
    heading = f'{words[approved]} <span class="note">{_inert(_short(note, 200))}</span>'
    kind = "approved" if approved else "denied"
    content = f'<div class="{kind}"><div class="sender">{heading}</div>{call}</div>'
    return Shown(role="assistant", content=content)


def _besides(message: Mapping[str, Any]) -> str:
    """What is in a message besides who invokes what, a line each."""
    return "\n".join(
        f"with {key} {json.dumps(message[key], ensure_ascii=False)}"
        for key in ("id", "meta")
        if key in message
    )


def _requester(question: Question) -> str:
    return str(question.message.get("from", ""))


def _together(parts: Sequence[Any]) -> Any:
    """The parts of an answer as one value: texts that bring their own spaces, else a line each."""
    if not all(isinstance(part, str) for part in parts):
        return "\n".join(json.dumps(part, ensure_ascii=False) for part in parts)
    runs_on = any(part != part.strip() for part in parts)
    return "".join(parts) if runs_on else "\n".join(parts)


def _is_growing(message: Mapping[str, Any]) -> bool:
    stream = message.get("meta", {}).get("stream")
    return isinstance(stream, dict) and stream.get("end") is False


def _said(sender: str, note: str, text: str, *, growing: bool = False) -> Shown:
    rest = " ▍" if growing else ""
    return Shown(role="assistant", content=f"{_heading(sender, note)}\n\n{_short(text)}{rest}")


def _from_others(sender: str, note: str, inner: str, kind: str = "answer") -> Shown:
    content = f'<div class="{kind}">{_heading(sender, note)}{inner}</div>'
    return Shown(role="assistant", content=content)


def _heading(sender: str, note: str) -> str:
    about = f' <span class="note">{_inert(_short(note, 200))}</span>' if note else ""
    return f'<div class="sender">{_inert(sender)}{about}</div>'


def _value(value: Any) -> str:
    """Text as it is, lists of short texts line by line, anything else as JSON; folded if long."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return _text("\n".join(value))
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= _WIDE:
        return f'<pre class="value">{_inert(line)}</pre>'
    whole = json.dumps(value, ensure_ascii=False, indent=2)
    entries = f"{len(value)} entr{'y' if len(value) == 1 else 'ies'}" if value else "a number"
    return _folded(f"{entries}: {_short(line, 60)}", whole)


def _text(text: str) -> str:
    lines = text.count("\n") + 1
    if lines > _LONG or len(text) > _LONG * _WIDE:
        return _folded(f"{lines} lines" if lines > 1 else f"{len(text)} characters", text)
    return f'<pre class="value">{_inert(_short(text))}</pre>'


def _folded(summary: str, text: str) -> str:
    return (
        f"<details><summary>{_inert(summary)}</summary>"
        f'<pre class="value">{_inert(_short(text))}</pre></details>'
    )


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


def _action_button(agent_id: str, name: str, entry: Any) -> str:
    """A button that begins the command that invokes an action: its required arguments have gaps."""
    about = entry if isinstance(entry, dict) else {}
    schema = about.get("parameters")
    parameters: dict[str, Any] = schema if isinstance(schema, dict) else {}
    properties, required = parameters.get("properties"), parameters.get("required")
    command = format_command({"to": agent_id, "action": {"name": name}})
    for arg in required if isinstance(required, list) else ():
        types = properties.get(arg) if isinstance(properties, dict) else None
        gap = _GAPS.get(types.get("type", ""), "") if isinstance(types, dict) else ""
        command += f" {_argument_name(str(arg))}:{gap}"
    described = about.get("description")
    return _button(command, name, described if isinstance(described, str) else "")


def _argument_name(name: str) -> str:
    """The name of an argument as it stands in a command."""
    command = format_command({"to": BROADCAST, "action": {"name": "x", "args": {name: 0}}})
    return command.removeprefix("/*.x ").removesuffix(":0")


def _button(command: str, label: str, title: str) -> str:
    return (
        f'<button class="compose" data-command="{_inert(command)}" title="{_inert(title)}">'
        f"{_inert(label)}</button>"
    )


_GAPS: Final = {"string": '""', "array": "[]", "object": "{}"}


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

    Without line ends, because after an empty line Markdown would begin, and without the signs that
    a template in the browser may give a meaning.
    """
    visible = "".join(
        character
        if character.isprintable() or character in "\n\t"
        else character.encode("unicode_escape").decode()
        for character in text
    )
    escaped = html.escape(visible).replace("\n", "&#10;").replace("\t", "&#9;")
    return escaped.translate(_BRACES)

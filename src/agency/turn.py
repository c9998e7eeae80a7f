"""One agent's turn: what a single message makes one agent do.

Pure: no thread, no socket, no clock. `turn` is a generator that *yields* what is to be done (`Ask`,
`Call`, `Emit`) and is sent the outcome; its end is the envelope that answers, or None. A runner
(`agency.runners`) drives it and does the work, in whatever thread or event loop it likes. The whole
table, in order:

    the action is          | addressed to the agent        | broadcast
    -----------------------+-------------------------------+------------------
    unknown                | error "not found"             | silence
    denied                 | error "not permitted"         | the same
    called wrongly         | error naming the argument     | the same
    on request, refused    | error "not permitted"         | the same
    permitted              | before_action → the action → after_action → response, if it returned a value

`response` and `error` are never themselves answered, whatever happens. If `before_action` raises,
neither the action nor `after_action` runs, and the error is the answer. Somebody who waits is
always answered, by None too.

`straight` is the last row for an action that is permitted, not `async`, no stream, and without
callbacks around it: nothing is left to do but to call it, so a thread needs no generator for it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, cast

from agency.access import ACCESS_DENIED, ACCESS_PERMITTED
from agency.actions import ActionSpec
from agency.agent import Agent
from agency.envelope import LIGHT, PART, REQUEST, TELL, Envelope, answer
from agency.errors import Failure, InvalidArguments, InvalidMessage, OutcomeUnknown, RequestError
from agency.schema import BROADCAST, Message, digest, duplicate, weighed_value

__all__ = [
    "NEVER_ANSWERED",
    "UNRECORDED",
    "Ask",
    "Call",
    "Emit",
    "Step",
    "Turn",
    "describe",
    "straight",
    "turn",
]

logger = logging.getLogger(__name__)

MAX_ERROR_TEXT: Final = 8192
"""Characters of an exception's text that travel; the rest is cut and said to be."""

UNRECORDED: Final = "the audit log cannot be written"
"""Why an action is refused although it was permitted: what is sent back for `Ask` then."""

NEVER_ANSWERED: Final = frozenset({"response", "error"})
"""Actions of which nobody is told how they went, unless he waits: they are answers themselves."""


@dataclass(slots=True)
class Call:
    """Call the function and send back what it returns, or throw in what it raises. The result may
    be awaitable.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    quick: bool = False
    """The function returns at once, perhaps with an awaitable; otherwise it may block for as long
    as it likes.
    """


@dataclass(slots=True)
class Ask:
    """Ask the agent's `request_permission`, without holding up its other actions; send back its
    answer, or `UNRECORDED`.
    """

    proposed: dict[str, Any]
    digest: str
    """Of what is shown. The answer is for nothing else."""


@dataclass(slots=True)
class Emit:
    """Send this envelope; send back False if nobody wants any more of them, or the agent leaves."""

    part: Envelope


Step = Call | Ask | Emit
Turn = Generator[Step, Any, Envelope | None]


def turn(agent: Agent, envelope: Envelope, new_id: Callable[[], str]) -> Turn:
    """The turn of `agent` with the message in `envelope`. Never raises into its runner."""
    message = envelope.message
    name = envelope.name
    try:
        spec = agent._agency.actions.get(name)
        if spec is None:
            if message["to"] == BROADCAST:
                return None
            return _refusal(
                agent, envelope, new_id, Failure.NOT_FOUND, f'"{name}" not found on "{agent.id}"'
            )
        args = envelope.args or {}
        if spec.access_policy is not ACCESS_PERMITTED:
            if spec.access_policy is ACCESS_DENIED:
                return _not_permitted(agent, envelope, new_id, name)
            spec.check_arguments(args)
            verdict = yield from _asked_for(agent, message)
            if verdict is not True:
                return _not_permitted(agent, envelope, new_id, name, verdict)
        args = spec.check_arguments(args)
        if agent._agency.actions.has_before_action:
            yield _callback(
                agent.before_action,
                (message,) if agent._agency.actions.before_action_takes_message else (),
            )
    except InvalidArguments as error:
        return _refusal(agent, envelope, new_id, Failure.INVALID_ARGUMENTS, str(error))
    except BaseException as error:  # whatever a callback raises belongs to the sender
        _log(error, agent, envelope)
        return _refusal(agent, envelope, new_id, Failure.FAILED, describe(error))

    value: Any = None
    failure: BaseException | None = None
    try:
        method = getattr(agent, spec.method_name)
        if spec.is_stream:
            value = yield from _stream(
                agent, envelope, new_id, method(**args), is_async=spec.is_async
            )
        else:
            value = yield Call(method, (), args, spec.returns_at_once)
    except BaseException as error:  # SystemExit too: the agent lives on
        failure = error
        _log(error, agent, envelope)
    if agent._agency.actions.has_after_action:
        try:
            yield _callback(agent.after_action, (message, value, failure))
        except BaseException:
            logger.exception(
                'after_action of "%s" raised; the answer is sent all the same', agent.id
            )
    if failure is not None:
        return _refusal(agent, envelope, new_id, _failure_of(failure), describe(failure))
    return _result(agent, envelope, new_id, spec, value)


def straight(
    agent: Agent, envelope: Envelope, new_id: Callable[[], str], spec: ActionSpec
) -> Envelope | None:
    """The turn of `agent` with an action that `ActionTable.straight` has: calls it, on this thread,
    and returns the answer. Never raises into its runner.

    Most messages are such: by `turn` they would take 1 µs more, a third of all that they cost.
    """
    try:
        args = spec.check_arguments(envelope.args or {})
    except InvalidArguments as error:
        return _refusal(agent, envelope, new_id, Failure.INVALID_ARGUMENTS, str(error))
    except BaseException as error:  # whatever a type's own check raises belongs to the sender
        _log(error, agent, envelope)
        return _refusal(agent, envelope, new_id, Failure.FAILED, describe(error))
    try:
        value = getattr(agent, spec.method_name)(**args)
    except BaseException as error:  # SystemExit too: the agent lives on
        _log(error, agent, envelope)
        return _refusal(agent, envelope, new_id, _failure_of(error), describe(error))
    if value is None and envelope.kind is TELL:
        return None
    return _result(agent, envelope, new_id, spec, value)


def _asked_for(agent: Agent, message: Message) -> Generator[Step, Any, bool | str]:
    """Ask for permission to do what the message says, and nothing else. Returns the answer."""
    shown = digest(message)
    verdict: bool | str = yield Ask(cast("dict[str, Any]", duplicate(message)), shown)
    if verdict is True and digest(message) != shown:
        logger.error('a message to "%s" is not what was permitted: a refusal', agent.id)
        return False
    return verdict


class _CutShort(OutcomeUnknown):
    """The agent leaves in the midst of a stream."""


def _stream(
    agent: Agent, envelope: Envelope, new_id: Callable[[], str], produced: Any, *, is_async: bool
) -> Generator[Step, Any, list[Any]]:
    """Send each value of a generator as it comes. Returns them all if the sender waits for one
    answer.
    """
    values: list[Any] = []
    advance, close = (
        (produced.__anext__, produced.aclose) if is_async else (produced.__next__, produced.close)
    )
    try:
        while True:
            produced_value = yield Call(advance, quick=is_async)
            value, weight = weighed_value(produced_value, "the value produced")
            if envelope.kind is REQUEST:
                values.append(value)
                continue
            part = answer(envelope, new_id(), agent.id, value=value, kind=PART)
            part.weight = weight if weight > LIGHT else 0
            if not (yield Emit(part)):
                break
    except (StopIteration, StopAsyncIteration):
        return values
    except InvalidMessage:
        yield Call(close, quick=is_async)
        raise
    yield Call(close, quick=is_async)
    if agent._agency.is_leaving:
        raise _CutShort(
            f'"{agent.id}" left the space, or was halted, before the stream was complete'
        )
    return values


def _callback(function: Callable[..., Any], args: tuple[Any, ...]) -> Call:
    return Call(function, args, None, inspect.iscoroutinefunction(function))


def _result(
    agent: Agent, envelope: Envelope, new_id: Callable[[], str], spec: ActionSpec, value: Any
) -> Envelope | None:
    if spec.is_stream and envelope.kind is not REQUEST:
        value = None
    if envelope.kind is TELL and (value is None or spec.name in NEVER_ANSWERED):
        return None
    try:
        own, weight = weighed_value(value, spec.value_name)
    except InvalidMessage as error:
        return _refusal(agent, envelope, new_id, Failure.FAILED, str(error))
    except BaseException as error:  # SystemExit too: the agent lives on
        _log(error, agent, envelope)
        return _refusal(agent, envelope, new_id, Failure.FAILED, describe(error))
    answered = answer(envelope, new_id(), agent._agency.id, value=own)
    answered.weight = weight if weight > LIGHT else 0
    return answered


def _not_permitted(
    agent: Agent,
    envelope: Envelope,
    new_id: Callable[[], str],
    name: str,
    verdict: bool | str = False,
) -> Envelope | None:
    text = f'"{agent.id}.{name}" not permitted'
    if verdict is UNRECORDED:
        text += f": {UNRECORDED}"
    return _refusal(agent, envelope, new_id, Failure.NOT_PERMITTED, text)


def _refusal(
    agent: Agent, envelope: Envelope, new_id: Callable[[], str], failure: Failure, text: str
) -> Envelope | None:
    if envelope.name in NEVER_ANSWERED and not envelope.wants_answer:
        logger.warning(
            '"%s" could not handle a message of "%s": %r', agent.id, envelope.sender, text
        )
        return None
    return answer(envelope, new_id(), agent.id, error=text, failure=failure)


def _failure_of(error: BaseException) -> Failure:
    """What an exception means to the requester: an agent's own failed request is its own failure,
    not the requester's.
    """
    if type(error) is _CutShort:
        return Failure.OUTCOME_UNKNOWN
    return Failure.NOT_PERMITTED if type(error) is PermissionError else Failure.FAILED


def _log(error: BaseException, agent: Agent, envelope: Envelope) -> None:
    """The sender gets a line; where in the agent's code it comes from is for the agent's author."""
    logger.info(
        'the action "%s" of "%s" failed',
        envelope.name,
        agent.id,
        exc_info=error,
    )


def describe(error: BaseException) -> str:
    """An exception in one line that can travel: `ValueError: no such file`. Survives exceptions
    that cannot be shown.
    """
    try:
        text = str(error)
    except BaseException:  # a broken __str__ must not hide that there was an error
        text = "(its text cannot be shown)"
    text = text.encode("utf-8", "backslashreplace").decode()
    whole = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, RequestError):
        whole = text  # it speaks for itself, and may have passed through several agents
    return (
        whole
        if len(whole) <= MAX_ERROR_TEXT
        else f"{whole[:MAX_ERROR_TEXT]}… ({len(whole)} characters)"
    )

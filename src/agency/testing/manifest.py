"""The promises: what every space keeps, as numbered sentences, each with its source.

`S…` and the like are the numbered requirements that were drawn from the project's founding
documents (S: stated there; K: contradictions resolved; G: gaps filled; D: defects of an earlier
implementation; F: the catalogue of faults). "spec" with a number is a section of the specification,
"decision" something that was decided here. `agency.testing.kit.proves` ties tests to promises.
Above: everything else in the kit. Below: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["PROMISES", "Promise"]


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise that every space keeps."""

    id: str
    """A topic and a number, such as `ask-7`. Stays the same for ever; a promise that is given up leaves a gap."""
    sentence: str
    source: str


def _topic(name: str, *rows: tuple[str, str]) -> tuple[Promise, ...]:
    return tuple(
        Promise(f"{name}-{number}", sentence, source)
        for number, (sentence, source) in enumerate(rows, start=1)
    )


PROMISES: Final[tuple[Promise, ...]] = (
    *_topic(
        "join",
        (
            "`add(Class, id, *args, **kwargs)` builds the agent with exactly these arguments.",
            "S2 S13 S14 S45",
        ),
        ("The class form returns nothing; the agent can be addressed when it returns.", "S16 K3"),
        (
            "`add(agent)` makes a built agent a full member, in this process, and returns it.",
            "S15 K4",
        ),
        ("`add_foreground` builds the agent in this process and returns it.", "spec 2"),
        ("Agents of either form reach each other, whichever was added first.", "S1 S3 S16 K2"),
        ("There may be many more agents than processors.", "D4"),
        ("A second agent with an id in use is a `ValueError`, in either form.", "S48 G1"),
        ("The first agent with that id is left untouched, with its state.", "D1 G1"),
        (
            "An agent whose constructor raises is not added: `StartFailed`, the id stays free.",
            "decision",
        ),
        (
            "An agent whose `after_add` raises is not added: `StartFailed`, the id stays free.",
            "decision",
        ),
        ("Adding what is neither an agent nor a class with an id is a `TypeError`.", "decision"),
        ("An agent that is in a space cannot be added once more.", "decision"),
        ("An agent that is in no space cannot speak: `NotInSpace`.", "decision"),
        (
            "Framework options never travel in `**kwargs`: every name is the agent's own.",
            "K2 spec 2",
        ),
    ),
    *_topic(
        "leave",
        ("`remove` takes an id or an agent; the id is free for another at once.", "S120 K6"),
        ("`remove` of an id or agent that was not added is a `ValueError`.", "D9"),
        ("A removed agent is told nothing more and cannot speak.", "S117"),
        ("`before_remove` runs once, and may still send.", "S117"),
        ("If `before_remove` raises, the agent is removed all the same.", "decision"),
        ("`destroy` calls the `before_remove` of every agent.", "S41 K6"),
        ("`destroy` may be called twice, and from several threads at once.", "K6"),
        ("A destroyed space takes no agents: `SpaceClosed`; its agents cannot speak.", "spec 2"),
        ("Leaving a `with` block destroys the space.", "S42 S43"),
        ("Leaving an `async with` block destroys the space.", "K6"),
        ("`wait` returns when the space is destroyed, or False after its timeout.", "K5"),
        ("Requests that wait when the space is destroyed end with an error.", "spec 5"),
        ("Requests that wait for an agent that is removed end.", "spec 5"),
        ("An agent may remove itself; its `before_remove` is called all the same.", "S117 spec 2"),
        (
            "An agent that removes itself in `after_add` has not been added: `StartFailed`.",
            "decision",
        ),
    ),
    *_topic(
        "id",
        ("1 to 255 printable characters (and bytes of UTF-8) may be an id.", "S46 S47 G2 F47"),
        ("Other ids are refused with a `ValueError`, in either form.", "G2 F47"),
        (
            "An id is never a pattern: `#` and `a.*` reach the agent of that name and no other.",
            "spec 3 F47",
        ),
        ("Ids are compared character by character: no case folding, no normalising.", "F47"),
        ("An agent's `id` is what it was added under.", "S46 S47"),
    ),
    *_topic(
        "action",
        ("`@action` works with and without parentheses.", "S53 S54"),
        ("Only marked methods can be invoked, whatever name a caller tries.", "S55 F52"),
        ("A method's name is its action's name unless `name=` declares another.", "S56 S57"),
        ("A declared name is the one that is called; the method's is not.", "D2"),
        ("A method that overrides an action unmarked keeps its name, help and policy.", "F52"),
        ("`action.args` are the keyword arguments; what is left out has Python's default.", "S60"),
        ("`args` may be left out.", "G4"),
        ("Arguments are converted to the signature's types where that loses nothing.", "spec 3"),
        (
            "A wrong call is an error that names the argument; the action does not run.",
            "spec 3 F52",
        ),
        ("An action with `**kwargs` takes any arguments.", "decision"),
        ("`_current_message` is the whole message being handled.", "S61 K11"),
        ("`_current_message` is right in every one of several concurrent actions.", "K11"),
        ("`_current_message` is right in an action's tasks and threads.", "K11"),
        ("Outside of actions there is no current message.", "K11"),
        ("An agent handles one message at a time.", "G14 spec 3"),
        ("Messages of one sender to one receiver are handled in the order of sending.", "G15"),
        ("An agent that blocks delays no other.", "spec 3"),
        ("With `concurrency=` an agent handles that many messages at once.", "G14 spec 3"),
        ("Actions may be `async`.", "spec 3"),
        ("`async` actions of one agent interleave only if `concurrency=` says so.", "G14"),
        ("Blocking actions of an agent do not stop its `async` ones.", "decision"),
        ("Whatever an action raises, its agent lives on and the sender is told.", "spec 3"),
        ("A returned value that has an equivalent in JSON is sent as that.", "decision"),
        ("A returned value that has none is an error for the sender.", "decision"),
        ("An agent keeps its state from message to message.", "S2"),
        ("`current_senders` names who led to the message, oldest first.", "F53 decision"),
        (
            "An action that is to run `at_most_once` runs; what comes once is not said to be redelivered.",
            "F29 decision",
        ),
    ),
    *_topic(
        "access",
        ("An action is permitted to everybody by default.", "S59 S66"),
        ("A denied action does not run, and the sender gets a permission error.", "S67 S72 G10"),
        ("`request_permission` is shown the whole proposed message.", "S68 S69 S73"),
        ("`True` permits: the action runs and is answered like any other.", "S71"),
        (
            "`False` refuses: the action does not run, and the sender gets a permission error.",
            "S71 S72",
        ),
        ("Only `True` permits: truthy values and None refuse.", "spec 3"),
        ("Without `request_permission` every request for it is refused.", "S70"),
        ("A `request_permission` that raises refuses.", "spec 3"),
        ("No answer within `permission_timeout` refuses.", "spec 3"),
        ("Waiting for permission holds up none of the agent's other actions.", "spec 3"),
        ("What runs is exactly what was shown; changing the proposal changes nothing.", "spec 3"),
        ("`request_permission` may be `async`.", "spec 3"),
        ("Nobody is asked about a call that could not be made.", "decision"),
        ("A denied action in a broadcast is refused as in any other message.", "decision"),
        ('The error\'s text is `"agent.action" not permitted`.', "G10"),
    ),
    *_topic(
        "callback",
        ("Order: permission, `before_action`, the action, `after_action`.", "S113 S115 G12"),
        ("`before_action` gets the message.", "S113"),
        ("`after_action` gets the message, the value and no error.", "S115"),
        ("`after_action` runs also if the action raised, with the error.", "S115"),
        ("If `before_action` raises, neither the action nor `after_action` runs.", "S114"),
        ("If `before_action` raises, the sender gets the error.", "S114"),
        ("If `after_action` raises, the answer is sent all the same.", "decision"),
        ("No callback runs for an action that does not exist or is denied.", "spec 3"),
        ("`after_add` may send and request.", "S116 K20"),
        ("Callbacks may be `async`.", "spec 3"),
        ("No callback has to be implemented.", "S119"),
    ),
    *_topic(
        "help",
        ("The documented example yields exactly the documented object.", "S99 S100 S103 S104"),
        (
            "`help` lists the agent's actions by declared name, without help, response, error.",
            "S95 G9 K12",
        ),
        ("`args` is always there; what is not known is left out.", "G6"),
        ("The signature's types win over the docstring's.", "S101 S102"),
        (
            "Any annotation that pydantic understands is described in JSON Schema's words.",
            "D3 spec 3",
        ),
        ("`help=` replaces the whole object.", "S58 S105"),
        ("`action_name=` narrows the answer to one action.", "S87 S98"),
        ("Help on an unknown action is an empty object.", "G8"),
        ('`format="json_schema"` gives types, `required`, defaults and enums.', "spec 3"),
        ("`help` may be overridden.", "S107 S108"),
        ("A broadcast `help` is answered by each agent for itself.", "S96 S97"),
        ("Short and long description are joined by a space.", "G7"),
    ),
    *_topic(
        "message",
        (
            "A receiver sees the sender's dict with `from` filled in, and nothing else.",
            "S125 S131 spec 4",
        ),
        ("`id` and `meta` travel unchanged.", "S123 S124 S134"),
        ("The minimal message is enough.", "S126 S127 S128 S129"),
        ("The caller's dict is not modified and may be sent again.", "spec 4"),
        ("No receiver can reach the sender's objects, or another receiver's.", "G16 spec 4"),
        ("No requester can reach the objects of the agent that answered.", "G16 spec 4"),
        ("What is not a dict is a `TypeError`.", "G3"),
        (
            "What is wrong otherwise is a `ValueError` that begins with the field.",
            "S121 S122 G3 F45",
        ),
        ("The verdict is the same for agents of either form.", "G16 F45"),
        ("What was refused was not sent.", "S122"),
        ("Only the sender's own id may stand in `from`.", "G3 D11"),
        ("Every JSON value survives exactly, also what other languages round.", "F45 G16"),
        ("A megabyte survives.", "F46"),
        ("What is too large is refused with `MessageTooLarge`, and nothing else suffers.", "F46"),
    ),
    *_topic(
        "answer",
        ("A returned value makes exactly the documented `response`.", "S109 S110 S132 S133"),
        ("An exception makes an `error` with its text and the original's id.", "S111 S112"),
        ("`original_message_id` is None if the message had no id.", "G11"),
        ("None makes no `response`.", "S109 K19"),
        ("Other empty values do: 0, False, an empty text, list or object.", "S109"),
        ("`response` and `error` may be overridden, unmarked.", "S108"),
        ("Neither is ever answered, whatever it returns or raises.", "G13 D12"),
        ('An unknown action is an error: `"action" not found on "agent"`.', "S137 G10"),
        ("A sender can be answered by a message to `_current_message['from']`.", "S62 S63"),
        ("A value too large for a message is an error, alone or in a stream.", "spec 4 F46"),
    ),
    *_topic(
        "reach",
        ("A message to an id reaches that agent only.", "S135"),
        ("A message to `*` reaches every agent, the sender too.", "S49 S135 K13"),
        ("An agent with `receive_own_broadcasts=False` does not get its own.", "S49"),
        ("A broadcast with an unknown action is ignored by those without it.", "S138"),
        ("A message to nobody is silent for the sender.", "S136"),
        ("A message to nobody is counted for the operator, whoever sent it.", "S136 spec 4"),
        ("Order is kept between broadcasts and other messages of one sender.", "G15"),
        ("`send` does not wait for the message to be handled.", "S129"),
        ("A full mailbox refuses with `MailboxFull`; what it has accepted is handled.", "F5 F40"),
        ("A broadcast reaches all others once when one mailbox is full.", "F40"),
        ("Broadcasts that cause each other end after 32 in a row, and it is counted.", "F48"),
    ),
    *_topic(
        "ask",
        ("`request` returns the action's value.", "spec 5"),
        ("None is a value too.", "K19 spec 5"),
        ("An action that raises is an `ActionError` whose `message` is the text.", "spec 5 D9"),
        ("An unknown action is an `ActionNotFound`.", "S137"),
        ("A refusal is an `ActionNotPermitted`, a `PermissionError`.", "S72"),
        ("A wrong call is an `InvalidArguments`.", "spec 3"),
        ("Nobody of that id is an `AgentNotFound`, at once.", "spec 5"),
        ("No answer in time is a `RequestTimeout`, a `TimeoutError`.", "spec 5"),
        ("A late answer is counted as lost and never reaches a later request.", "F8 D7"),
        ("An answer counts only if it comes from the agent that was asked.", "F51"),
        (
            "An action may wait for another agent's answer while its own agent is serial.",
            "spec 3 K20",
        ),
        ("Two agents that ask each other get an error that names them, at once.", "decision"),
        ("So does a ring of three.", "decision"),
        ("So does an agent that asks itself.", "decision"),
        ("`arequest` is the same for async code.", "spec 5"),
        ("Simultaneous requests each get their own answer.", "spec 5"),
        ("A proxy's calls are requests.", "spec 5"),
        ("A request to everybody is a `ValueError`.", "decision"),
        ("A request's answer does not reach the `response` or `error` action.", "decision"),
        ("A request that has timed out before its turn is not begun.", "decision"),
        ("A cycle that `concurrency=` can serve is no error.", "decision"),
        ("A failed request inside an action is that action's error.", "decision"),
        ("Agents of one id in two spaces are not taken for each other.", "decision"),
        ("Whoever is asked for permission may ask the agent back.", "spec 3 S69 K10"),
        ("A cycle through `after_add` is noticed like any other.", "decision K20"),
        ("A timeout may be infinite; one that is no number is refused, unsent.", "decision"),
    ),
    *_topic(
        "stream",
        ("`stream` yields each value when it is produced.", "spec 5"),
        ("A generator invoked by `send` sends each value as a `response`, in order.", "spec 5"),
        ("A generator invoked by `request` returns all values as a list.", "decision"),
        ("Generators may be `async`.", "spec 3"),
        ("A generator that raises ends the stream with the error, after its values.", "spec 5"),
        ("Leaving a stream early ends the generator.", "decision"),
        ("An action that returns one value yields that one.", "decision"),
        ("`astream` is the same for async code.", "spec 5"),
        ("A stream that cannot begin raises what a request raises.", "decision"),
        ("A stream whose producer leaves ends with an error, not as if it were whole.", "spec 5"),
        ("A generator whose reader leaves the space ends.", "decision"),
    ),
    *_topic(
        "guest",
        ("`join` gives a member that sends and asks, without a class.", "spec 5"),
        ("`receive` returns what was said to it, whole and in order.", "spec 5"),
        ("`receive` raises `TimeoutError` when nothing comes in time.", "spec 5"),
        ("Guests without an id have ids of their own.", "decision"),
        ("`received` returns what has arrived, without waiting.", "decision"),
    ),
    *_topic(
        "watch",
        ("Who watches an agent is told once when it was removed.", "F9 decision"),
        ("Who watches an agent is told when its space is destroyed.", "F9 decision"),
        ("Who watches an agent that is not there is told so.", "F9 decision"),
        ("Who gives up watching is told nothing.", "F9 decision"),
        ("What somebody raises who is told harms nobody.", "F9 decision"),
    ),
    *_topic(
        "halt",
        ("Agents of a halted space begin with nothing more.", "decision"),
        ("What they had begun is answered, but a stream is cut short.", "decision"),
        ("They cannot send or ask: `SpaceHalted`.", "decision"),
        ("What waits for permission when the space is halted is refused.", "decision"),
        ("A halted space takes no agents: `SpaceClosed`.", "decision"),
        ("`halt` may be called again, and from an action.", "decision"),
        ("What was not begun is counted as lost when the space is destroyed.", "decision"),
        ("`Agent.leaving` is set in agents of a halted space.", "decision"),
    ),
    *_topic(
        "shared",
        ("Agents of two applications reach each other, in whichever order they came.", "S17 S18"),
        ("Ids are unique across applications; the first agent is left untouched.", "S48 spec 2"),
        ("An id is free for all when its agent has left.", "spec 2"),
        ("Broadcasts reach every application once.", "S17 S135"),
        ("Every kind of failure is the same error across applications.", "S8"),
        ("When one application leaves, the other goes on.", "S17"),
        ("Streams cross, and end when they are left.", "spec 5"),
        ("A ring of waiting agents across applications is noticed.", "decision"),
        ("Every JSON value survives the way exactly.", "G16"),
        ("`remove` takes only agents of its own application: `ValueError`.", "decision"),
    ),
)
"""Every promise that the kit proves, in the order of topics."""

"""Everything that Agency raises, as one tree.

    AgencyError
    ├── InvalidMessage (ValueError)        you sent something that is not a message
    │   └── MessageTooLarge                … or more of it than a message may hold
    ├── InvalidCommand (ValueError)        what was typed begins with a slash and is no command
    ├── InvalidAgentId (ValueError)        an id that no space can carry
    ├── AgentIdInUse (ValueError)          another agent of the space has this id
    ├── UnknownAgent (ValueError)          you named an agent that is not yours to remove
    ├── InvalidAction (TypeError)          an action is declared in a way that cannot be called
    ├── StartFailed (RuntimeError)         the agent could not be built or set up
    ├── NotInSpace (RuntimeError)          the agent has not been added to a space, or has left it
    ├── SpaceClosed (RuntimeError)         the space was destroyed
    │   └── SpaceHalted                    … or its kill switch was pulled
    ├── MissingExtra (ImportError)         an optional part is not installed
    ├── NotAccepted                        the space did not take the message: it was not sent
    │   └── MailboxFull                    … because the receiver has no room
    ├── BrokerError (ConnectionError)      the AMQP server
    │   ├── BrokerUnreachable              … cannot be reached (trying again may help)
    │   └── BrokerRefused                  … said no (trying again will not help)
    └── RequestError                       a request ended without a value
        ├── ActionError                    the action ran and raised, or was refused
        │   ├── ActionNotFound (LookupError)
        │   ├── ActionNotPermitted (PermissionError)
        │   └── InvalidArguments (TypeError)
        ├── AgentNotFound (LookupError)    nobody in the space has this id: it did not run
        ├── DeadlockError                  the agents would wait for each other for ever: it did not run
        ├── RequestTimeout (TimeoutError)  no answer in time: it may run, or have run
        └── OutcomeUnknown                 the agent or the link died: it may have run

`InvalidMessage` and its neighbours mean *you*; `RequestError` means *the other side*. Every error
that crosses a space does so as a `Failure` (a word) and a text, so that it means the same on every
transport. Nothing stands below this module.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ActionError",
    "ActionNotFound",
    "ActionNotPermitted",
    "AgencyError",
    "AgentIdInUse",
    "AgentNotFound",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnreachable",
    "DeadlockError",
    "Failure",
    "InvalidAction",
    "InvalidAgentId",
    "InvalidArguments",
    "InvalidCommand",
    "InvalidMessage",
    "MailboxFull",
    "MessageTooLarge",
    "MissingExtra",
    "NotAccepted",
    "NotInSpace",
    "OutcomeUnknown",
    "RequestError",
    "RequestTimeout",
    "SpaceClosed",
    "SpaceHalted",
    "StartFailed",
    "UnknownAgent",
]


class AgencyError(Exception):
    """The root of everything that Agency raises on purpose."""


class InvalidMessage(AgencyError, ValueError):
    """The message breaks the schema; the text names the field and the rule. Nothing was sent.

    You do not get this for something that is not a dict at all: that is a `TypeError`.
    """


class MessageTooLarge(InvalidMessage):
    """The message is larger than `agency.schema.MAX_MESSAGE_BYTES` as JSON. Nothing was sent."""


class InvalidCommand(AgencyError, ValueError):
    """What was typed begins with a slash but is no command; the text says what was expected where.

    Attributes:
        position: index of the character at which it stops being a command.
        expected: what should stand there, for people.
    """

    def __init__(self, position: int, expected: str) -> None:
        super().__init__(position, expected)
        self.position = position
        self.expected = expected

    def __str__(self) -> str:
        return f"character {self.position + 1}: expected {self.expected}"


class InvalidAgentId(AgencyError, ValueError):
    """The id cannot name an agent; the text says which rule it breaks."""


class AgentIdInUse(AgencyError, ValueError):
    """Another agent of the space has this id; that agent is left untouched."""


class UnknownAgent(AgencyError, ValueError):
    """This space object added no agent of that id, so it cannot remove it."""


class InvalidAction(AgencyError, TypeError):
    """A method marked with `@action` cannot be one; the text names the class, the method and the
    reason.
    """


class StartFailed(AgencyError, RuntimeError):
    """The agent's constructor or its `after_add` raised, or its process did not start.

    Nothing is left behind and the id is free again. `__cause__` is the original error where it
    happened in this process; otherwise the text holds it.
    """


class NotInSpace(AgencyError, RuntimeError):
    """The agent has not been added to a space yet, or has been removed from it."""


class SpaceClosed(AgencyError, RuntimeError):
    """The space was destroyed, or is being destroyed."""


class SpaceHalted(SpaceClosed):
    """Somebody has called `Space.halt`: its agents begin nothing and say nothing any more."""


class MissingExtra(AgencyError, ImportError):
    """An optional part of Agency is not installed; the text holds the command that installs it."""


class NotAccepted(AgencyError):
    """The space did not take the message; it has not been sent and will not be."""


class MailboxFull(NotAccepted):
    """The receiver's mailbox stayed full for as long as `send` was willing to wait."""


class BrokerError(AgencyError, ConnectionError):
    """Something is wrong between this process and the AMQP server."""


class BrokerUnreachable(BrokerError):
    """No server answered in time. You do not get this while a lost connection is being taken up
    again.
    """


class BrokerRefused(BrokerError):
    """The server answered and said no: credentials, virtual host, permission, certificate,
    topology.
    """


class RequestError(AgencyError):
    """A request ended without a value."""


class ActionError(RequestError):
    """The action ran and raised, or was refused.

    You do not get this when nobody can tell whether the action ran: that is `OutcomeUnknown`.
    """

    @property
    def message(self) -> str:
        """What the other agent said went wrong."""
        return str(self.args[0]) if self.args else ""


class ActionNotFound(ActionError, LookupError):
    """The agent exists and has no action of that name."""


class ActionNotPermitted(ActionError, PermissionError):
    """The action's access policy, or the person or code asked for permission, refused the call."""


class InvalidArguments(ActionError, TypeError):
    """The arguments do not fit the action's signature; the action did not run."""


class AgentNotFound(RequestError, LookupError):
    """Nobody in the space has the id that was asked, or the agent left before it took the message.

    The action did not run. Only requests get this: a plain `send` to nobody is silent for the
    sender.
    """


class DeadlockError(RequestError):
    """The agent asked is itself waiting, directly or through others, for the one who asks.

    The text names the agents of the cycle. The action did not run.
    """


class RequestTimeout(RequestError, TimeoutError):
    """No answer within the timeout. The action may be running, may have run, or may never run."""


class OutcomeUnknown(RequestError):
    """The agent, its process or the link to it was lost after it may have started: nobody can say
    if it ran.
    """


class Failure(StrEnum):
    """Why an `error` message was sent, as one word that travels in the envelope."""

    FAILED = "failed"
    NOT_FOUND = "not_found"
    NOT_PERMITTED = "not_permitted"
    INVALID_ARGUMENTS = "invalid_arguments"
    NO_SUCH_AGENT = "no_such_agent"
    DEADLOCK = "deadlock"
    OUTCOME_UNKNOWN = "outcome_unknown"

    def exception(self, text: str) -> RequestError:
        """The error that a waiting requester gets for this failure."""
        return _EXCEPTIONS[self](text)

    @classmethod
    def read(cls, word: str | None) -> Failure:
        """The failure of that name; an unknown word, as a newer or foreign member may send, is
        FAILED.
        """
        try:
            return cls(word or cls.FAILED)
        except ValueError:
            return cls.FAILED


_EXCEPTIONS: dict[Failure, type[RequestError]] = {
    Failure.FAILED: ActionError,
    Failure.NOT_FOUND: ActionNotFound,
    Failure.NOT_PERMITTED: ActionNotPermitted,
    Failure.INVALID_ARGUMENTS: InvalidArguments,
    Failure.NO_SUCH_AGENT: AgentNotFound,
    Failure.DEADLOCK: DeadlockError,
    Failure.OUTCOME_UNKNOWN: OutcomeUnknown,
}

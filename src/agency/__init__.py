"""Agency connects agents, ordinary software and people as equal members of one space.

Read `agency.agent` for what an agent is, `agency.space` for where it lives, `agency.turn` for what
a message makes it do. `docs/design.md` has the picture.
"""

from typing import TYPE_CHECKING, Any

from agency.access import ACCESS_DENIED, ACCESS_PERMITTED, ACCESS_REQUESTED, AccessPolicy
from agency.actions import action
from agency.agent import Agent, current_message, current_redelivered, current_senders
from agency.deadletters import DeadLetter, DeadLetters, Reason
from agency.errors import (
    ActionError,
    ActionNotFound,
    ActionNotPermitted,
    AgencyError,
    AgentIdInUse,
    AgentNotFound,
    BrokerError,
    BrokerRefused,
    BrokerUnreachable,
    DeadlockError,
    InvalidAction,
    InvalidAgentId,
    InvalidArguments,
    InvalidCommand,
    InvalidMessage,
    MailboxFull,
    MessageTooLarge,
    MissingExtra,
    NotAccepted,
    NotInSpace,
    OutcomeUnknown,
    RequestError,
    RequestTimeout,
    SpaceClosed,
    SpaceHalted,
    StartFailed,
    UnknownAgent,
)
from agency.guest import Guest
from agency.schema import BROADCAST, Message, digest
from agency.slash import format_command, parse_command
from agency.space import Space
from agency.spaces.native_space import NativeSpace
from agency.supervision import Supervision
from agency.watching import Down

if TYPE_CHECKING:
    from agency.spaces.amqp_options import AMQPOptions
    from agency.spaces.amqp_space import AMQPSpace
    from agency.spaces.local_space import LocalSpace

__all__ = [
    "ACCESS_DENIED",
    "ACCESS_PERMITTED",
    "ACCESS_REQUESTED",
    "BROADCAST",
    "AMQPOptions",
    "AMQPSpace",
    "AccessPolicy",
    "ActionError",
    "ActionNotFound",
    "ActionNotPermitted",
    "AgencyError",
    "Agent",
    "AgentIdInUse",
    "AgentNotFound",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnreachable",
    "DeadLetter",
    "DeadLetters",
    "DeadlockError",
    "Down",
    "Guest",
    "InvalidAction",
    "InvalidAgentId",
    "InvalidArguments",
    "InvalidCommand",
    "InvalidMessage",
    "LocalSpace",
    "MailboxFull",
    "Message",
    "MessageTooLarge",
    "MissingExtra",
    "NativeSpace",
    "NotAccepted",
    "NotInSpace",
    "OutcomeUnknown",
    "Reason",
    "RequestError",
    "RequestTimeout",
    "Space",
    "SpaceClosed",
    "SpaceHalted",
    "StartFailed",
    "Supervision",
    "UnknownAgent",
    "action",
    "current_message",
    "current_redelivered",
    "current_senders",
    "digest",
    "format_command",
    "parse_command",
]

_LAZY = {
    "AMQPOptions": "agency.spaces.amqp_options",
    "AMQPSpace": "agency.spaces.amqp_space",
    "LocalSpace": "agency.spaces.local_space",
}


def __getattr__(name: str) -> Any:
    """Import the spaces that need more than this process when they are first named."""
    if name in _LAZY:
        from importlib import import_module  # used once a process, if at all

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

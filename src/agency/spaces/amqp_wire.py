"""The wire format: an envelope as AMQP properties and a body, and back. `docs/wire-format.md` in
code.

The body is the seeds' plain JSON message; all else is optional, so that a client that knows only
the body is a member like any other. What comes in was written by anybody and is believed as far as
it has the right shape. Pure: no connection, no agents. Above: `amqp_space`. Below:
`agency.envelope`, `amqp_properties`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from agency.envelope import HOP_LIMIT, TELL, Envelope, Kind
from agency.errors import Failure, InvalidMessage
from agency.schema import BROADCAST, decode
from agency.spaces.amqp_properties import Delivery, Headers, Properties

__all__ = ["MARK", "read", "to_properties", "unique_in_the_world"]

MARK: Final = "agency-"
"""All headers of ours begin with this."""

_CHAIN: Final = MARK + "chain"
_VIA: Final = MARK + "via"
_HOPS: Final = MARK + "hops"
_BROADCASTS: Final = MARK + "broadcasts"
_TRACE: Final = MARK + "trace"
_FAILURE: Final = MARK + "failure"

_LONGEST_EXPIRATION: Final = 2**32 - 1  # milliseconds; RabbitMQ refuses more
_LONGEST_TRACE: Final = 512  # a traceparent has 55 characters today
_LONGEST_ID: Final = 255
_KINDS: Final[dict[str | None, Kind]] = {kind.value: kind for kind in Kind}
_OUR_ID: Final = re.compile(r"[0-9a-f]{32}\.[0-9]+")


def to_properties(
    envelope: Envelope, reply_to: str | None, account: str | None = None
) -> Properties:
    """What travels beside the body of this envelope. `reply_to` is the routing key for an answer,
    if one is awaited; `account` is what the server checks, if senders are verified.
    """
    expiration = None
    if envelope.deadline is not None:
        remaining = int((envelope.deadline - time.monotonic()) * 1000)
        expiration = str(min(max(remaining, 0), _LONGEST_EXPIRATION))
    return Properties(
        envelope.id,
        envelope.correlation_id,
        reply_to,
        envelope.kind._value_,
        "application/json",
        int(time.time()),
        expiration,
        account,
        _headers(
            (
                (_HOPS, envelope.hops),
                (_BROADCASTS, envelope.broadcasts),
                (_CHAIN, envelope.chain),
                (_VIA, envelope.via),
                (_TRACE, envelope.trace),
                (_FAILURE, envelope.failure and envelope.failure._value_),
            )
        ),
    )


@lru_cache(maxsize=1024)  # the same for all that one action sends
def _headers(known: tuple[tuple[str, Any], ...]) -> Headers:
    """Those of them that say something."""
    return Headers({name: value for name, value in known if value})


def read(delivery: Delivery, new_id: Callable[[], str]) -> Envelope:
    """The envelope in a delivery. Optional properties that are missing or malformed count as
    absent.

    Raises:
        InvalidMessage: the body is not one valid message, or it is addressed to somebody else than it was sent to.
    """
    message = decode(delivery.body)
    to = message["to"]
    if to not in {delivery.agent_id, BROADCAST}:
        raise InvalidMessage(f"to: {to!a}, but it was sent to {delivery.agent_id!a}")
    properties = delivery.properties
    headers = properties.headers
    trace = headers.get(_TRACE)
    failure = headers.get(_FAILURE)
    return Envelope.of(
        message=message,
        id=properties.message_id or new_id(),
        kind=_KINDS.get(properties.type, TELL),
        correlation_id=properties.correlation_id,
        failure=Failure.read(failure) if isinstance(failure, str) else None,
        chain=_ids(headers.get(_CHAIN)),
        via=_ids(headers.get(_VIA)),
        hops=_count(headers.get(_HOPS)),
        broadcasts=_count(headers.get(_BROADCASTS)),
        deadline=_deadline(properties.expiration),
        trace=trace if isinstance(trace, str) and len(trace) <= _LONGEST_TRACE else None,
        redelivered=delivery.redelivered,
    )


def unique_in_the_world(envelope_id: str) -> bool:
    """Whether the id was made by this library, so that a second message with it is the same one
    again.

    Other clients may count 1, 2, 3 and begin anew tomorrow.
    """
    return _OUR_ID.fullmatch(envelope_id) is not None


def _ids(header: Any) -> tuple[str, ...]:
    if not isinstance(header, list) or len(header) > HOP_LIMIT:
        return ()
    return tuple(one for one in header if isinstance(one, str) and len(one) <= _LONGEST_ID)


def _count(header: Any) -> int:
    """What is more than the limit is one more than it: strangers may say what cannot be counted on from."""
    return min(int(header), HOP_LIMIT + 1) if isinstance(header, int) and header > 0 else 0


def _deadline(expiration: str | None) -> float | None:
    if expiration is None or not expiration.isdecimal():
        return None
    # The time that the message spent in the mailbox is not known: this is the latest that it can be.
    return time.monotonic() + int(expiration) / 1000

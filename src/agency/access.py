"""Access policies: who may invoke an action.

A value module: it knows nothing of agents. `agency.turn` reads the policy; `agency.actions` stores
it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["ACCESS_DENIED", "ACCESS_PERMITTED", "ACCESS_REQUESTED", "AccessPolicy"]


class AccessPolicy(StrEnum):
    """What happens when another agent attempts an action."""

    PERMITTED = "ACCESS_PERMITTED"
    DENIED = "ACCESS_DENIED"
    REQUESTED = "ACCESS_REQUESTED"


ACCESS_PERMITTED: Final = AccessPolicy.PERMITTED
"""Any agent may invoke the action at any time. The default."""

ACCESS_DENIED: Final = AccessPolicy.DENIED
"""No agent may invoke the action; the sender gets a permission error."""

ACCESS_REQUESTED: Final = AccessPolicy.REQUESTED
"""The receiving agent's `request_permission` is asked for each call; only `True` permits it."""

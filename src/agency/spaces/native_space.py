"""NativeSpace: agents in this process, messages in memory.

Needs nothing, starts nothing until an agent has something to do, and costs an idle agent a few
kilobytes. Everything that is not about transport stands in `agency.space`.
"""

from __future__ import annotations

from agency.deadletters import Reason
from agency.envelope import Envelope
from agency.resident import Resident
from agency.schema import BROADCAST
from agency.space import Space

__all__ = ["NativeSpace"]


class NativeSpace(Space):
    """A space within one process.

    A message that `send` has accepted is in its receiver's mailbox: it is handled exactly once as
    long as the process lives and the agent stays. Order is kept per sender and receiver, and
    causally.
    """

    def route(self, envelope: Envelope) -> None:
        to = envelope.to
        resident = self._residents.get(to)
        if resident is not None:
            resident.deliver(envelope, waits=True)
        elif to == BROADCAST:
            self._broadcast_here(envelope)
        else:
            self.drop(envelope, Reason.NO_SUCH_AGENT)

    def _claim(self, agent_id: str) -> None:
        """Nothing to do: the ids of this process are all there are."""

    def _release(self, agent_id: str) -> None:
        """Nothing to do."""

    def _connect(self, resident: Resident) -> None:
        """Nothing to do: `_deliver_here` finds every resident."""

    def _disconnect(self, resident: Resident) -> None:
        """Nothing to do: what still comes meets a closed door."""

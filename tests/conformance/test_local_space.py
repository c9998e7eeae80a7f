"""LocalSpace keeps every promise."""

from __future__ import annotations

from agency import LocalSpace, Space
from agency.testing import SpaceConformance


class TestLocalSpace(SpaceConformance):
    def make_space(self) -> Space:
        return LocalSpace()

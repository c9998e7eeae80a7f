"""NativeSpace keeps every promise."""

from __future__ import annotations

from agency import NativeSpace, Space
from agency.testing import SpaceConformance


class TestNativeSpace(SpaceConformance):
    def make_space(self) -> Space:
        return NativeSpace()

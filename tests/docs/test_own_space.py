"""The space that a page of the guide builds keeps every promise, as the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agency import Space
from agency.testing import SpaceConformance
from tests.docs.test_documentation import Page

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing-your-own-space.md"


class TestTheSpaceOfTheGuide(SpaceConformance):
    def make_space(self) -> Space:
        names: dict[str, Any] = {"__name__": "guide"}
        code = next(block.code for block in Page(GUIDE).blocks if "WireSpace" in block.code)
        exec(compile(code, str(GUIDE), "exec"), names)  # noqa: S102  # the page is what is tested
        space = names["WireSpace"]()
        assert isinstance(space, Space)
        return space

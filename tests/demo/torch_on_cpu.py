"""Whether the tests that need PyTorch can run here.

`scripts/environment` installs PyTorch's CPU build wherever one can be had, and leaves a note where none can. Only then
is a test skipped in CI; anything else that keeps PyTorch away is an error.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

_NOTE = Path(sys.prefix) / "no-torch"


def needed() -> None:
    """Skip the test that asks if there is no PyTorch and that is all right."""
    if importlib.util.find_spec("torch") is not None:
        return
    if os.environ.get("CI") and not _NOTE.exists():
        raise RuntimeError("PyTorch is missing although its CPU build can be had: make test")
    pytest.skip("no PyTorch: its CPU build could not be had (scripts/environment)")

"""The conformance kit: tells the author of a space whether it keeps every promise that Agency's own spaces keep.

    from agency.testing import SpaceConformance
    from mine import MySpace

    class TestMySpace(SpaceConformance):
        def make_space(self):
            return MySpace()

That is a whole test module for pytest, which runs every inherited test. A space that several
applications can enter has a second class, derived from `SharedSpaceConformance`, with
`make_application(self)` besides. What a space needs for itself (a server, a name of its own for each
test) comes from autouse fixtures of the class, which run before `make_space`.

`PROMISES` lists every promise as a numbered sentence with its source; a test says with `proves`
which ones are broken if it fails. Needs pytest (`pip install pytest`); nothing else in Agency
imports this package. Read `agency.testing.manifest` next.
"""

import pytest

# Before these are imported, so that a failed assertion in them shows its values.
pytest.register_assert_rewrite("agency.testing.kit", "agency.testing.suites")

from agency.testing.kit import Conformance, proves  # noqa: E402
from agency.testing.manifest import PROMISES, Promise  # noqa: E402
from agency.testing.suites import SharedSpaceConformance, SpaceConformance  # noqa: E402

__all__ = [
    "PROMISES",
    "Conformance",
    "Promise",
    "SharedSpaceConformance",
    "SpaceConformance",
    "proves",
]

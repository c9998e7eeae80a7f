"""The processes of a LocalSpace of this program, from outside."""

from __future__ import annotations

import psutil


def hub_and_workers() -> list[psutil.Process]:
    """The nursery's children, the oldest first, which is the hub."""
    children = psutil.Process().children()  # a broker of other tests may be among them
    (nursery,) = (child for child in children if "local_nursery" in " ".join(child.cmdline()))
    return sorted(nursery.children(), key=lambda child: child.pid)

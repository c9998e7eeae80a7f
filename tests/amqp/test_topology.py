"""The names on the AMQP server: fit for any id, never the same for two."""

from __future__ import annotations

import pytest

from agency.spaces.amqp_topology import Topology

IDS = [
    "a",
    "A",
    "a.b",
    "a%2Eb",
    "#",
    "a.*",
    "ä",
    "日本語" * 20,
    "a b",
    "../x",
    "~",
    "%7E",
    "x" * 255,
]
IDS += ["ü" * 127, "ü" * 126 + "u", "x" * 254 + "y", "lease.x", "v1.mailbox.x"]


def test_queue_names_are_short_strings_and_differ() -> None:
    spaces = [Topology("agency"), Topology("agency.v1.mailbox"), Topology("s" * 100)]
    names = [
        name for t in spaces for id in IDS for name in (t.lease(id), t.mailbox(id), t.express(id))
    ]
    assert len(set(names)) == len(names)
    assert max(len(name.encode()) for name in names) <= 255
    assert all(name.isascii() and name.isprintable() for name in names)


def test_express_keys_differ_and_are_no_agents_id() -> None:
    keys = [Topology("agency").express_key(id) for id in IDS]
    assert len(set(keys)) == len(keys)
    assert max(map(len, keys)) <= 255
    assert all(key.startswith("amq.") for key in keys)


def test_a_plain_id_can_be_read_in_the_name() -> None:
    assert Topology("agency").exchange == "agency.v1"
    assert Topology("agency").mailbox("Host") == "agency.v1.mailbox.Host"
    assert Topology("agency").lease("a.b") == "agency.v1.lease.a%2Eb"


@pytest.mark.parametrize("space", ["", "amq.x", "x" * 101, "a\nb"])
def test_a_space_name_that_amqp_cannot_carry_is_refused(space: str) -> None:
    with pytest.raises(ValueError, match="exchange"):
        Topology(space)

"""The names on the AMQP server: fit for any id, never the same for two."""

from __future__ import annotations

import re

import pytest

from agency.spaces.amqp_topology import Topology, account_of

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
    spaces = [
        Topology("agency"),
        Topology("agency", replicated=True),
        Topology("agency.v1.mailbox"),
        Topology("s" * 100),
    ]
    names = [name for t in spaces for id in IDS for name in (t.mailbox(id), t.express(id))]
    names += [t.lease(id) for t in spaces if not t.replicated for id in IDS]
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


ACCOUNTS = ["alice", "alic", "alice2", "Alice", "al.ice", "alice%2Fx", "ä b", "#", "x" * 100]


@pytest.mark.parametrize("space", ["agency", "s" * 100, "a+b (c)"])
def test_where_senders_are_verified_an_account_has_its_own_queues_and_no_others(space: str) -> None:
    for owner in ACCOUNTS:
        topology = Topology(space, owner)
        longest = f"{owner}/".ljust(255 - len(owner.encode()) + len(owner), "y")
        for id in (owner, f"{owner}/x", f"{owner}/alice", f"{owner}/.*", longest):
            assert account_of(id) == owner
            for name in (topology.lease(id), topology.mailbox(id), topology.express(id)):
                assert topology.key(id) == topology.mailbox(id)
                for account in ACCOUNTS:
                    for permission in topology.permissions(account):
                        assert bool(re.search(permission, name)) == (account == owner)


@pytest.mark.parametrize("account", ["alice/x", "/", "x" * 101, "ä" * 17])
def test_an_account_that_cannot_be_told_from_an_id_speaks_for_nobody(account: str) -> None:
    with pytest.raises(ValueError, match="username"):
        Topology("agency", account)


@pytest.mark.parametrize("space", ["", "amq.x", "x" * 101, "a\nb"])
def test_a_space_name_that_amqp_cannot_carry_is_refused(space: str) -> None:
    with pytest.raises(ValueError, match="exchange"):
        Topology(space)


def test_what_replicated_mailboxes_give_up_goes_to_a_queue_of_all_only_if_all_may_write_there() -> (
    None
):
    assert Topology("agency", replicated=True).dead_letters == "agency.v1.dead-letters"
    verified = Topology("agency", "alice", replicated=True)
    assert verified.dead_letters is None
    assert "x-dead-letter-exchange" not in verified.mailbox_arguments
    assert Topology("agency").dead_letters is None

"""Faults of a cluster of three real nodes. Mailboxes live on one node each: what is not delivered is told, and what was
accepted comes when its node does. Replicated ones live on all: mail is taken and delivered without the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.faults.cluster import Cluster
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.load import TwoApplications
from tests.faults.tools import begin, ends, eventually

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(900)]

WHILE_NODES_COME_BACK = 120.0
"""Seconds, on a busy machine."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=[False, True], ids=["on one node", "replicated"])
def load(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    ledger: Ledger,
    figures: Figures,
    tmp_path: Path,
) -> Iterator[TwoApplications]:
    options = cluster.options(heartbeat=2)
    path = tmp_path / "ledger"
    load = TwoApplications(options, ledger, path, figures, replicated=request.param)
    yield load
    load.destroy()


def check(load: TwoApplications, *, lateness_told: bool = False) -> None:
    """When all is whole again, mail flows again; nothing was lost without a dead letter, and nothing at
    all of replicated mailboxes.
    """
    before = load.ledger.count("begun")
    load.send(50)
    eventually(
        lambda: load.ledger.count("begun") >= before + 50 and not load.ledger.verdict().silent,
        lambda: str(load.ledger.verdict()),
        WHILE_NODES_COME_BACK,
    )
    verdict = load.ledger.verdict()
    assert verdict.is_clean(losses_told=not load.replicated, lateness_told=lateness_told), verdict
    if load.replicated:
        assert verdict.dead == {}


def test_nodes_killed_in_turn_lose_nothing_in_silence_and_reorder_nothing(
    cluster: Cluster, load: TwoApplications
) -> None:
    for node in cluster.nodes:
        load.send(50)
        sending = begin(lambda: load.send(100))
        load.ledger.fault("node killed")
        node.kill()
        ends(sending.result, WHILE_NODES_COME_BACK)
        node.start()
        cluster.wait_until_whole()
    check(load)


def test_a_rolling_restart_loses_nothing_in_silence_and_reorders_nothing(
    cluster: Cluster, load: TwoApplications
) -> None:
    """As an operator does it: one node after the other is stopped in order, and started."""
    for node in cluster.nodes:
        load.send(50)
        sending = begin(lambda: load.send(100))
        load.ledger.fault("node restarted")
        node.stop()
        node.start()
        cluster.wait_until_whole()
        ends(sending.result, WHILE_NODES_COME_BACK)
    check(load)


def test_a_node_that_is_cut_off_loses_nothing_in_silence_and_comes_back(
    cluster: Cluster, load: TwoApplications
) -> None:
    for node in cluster.nodes:
        load.send(50)
        sending = begin(lambda: load.send(100))
        load.ledger.fault("node cut off")
        cluster.cut_off(node)
        ends(sending.result, WHILE_NODES_COME_BACK)
        cluster.join_again(node)
    check(load)


def test_a_node_that_stands_still_loses_nothing_in_silence_and_goes_on(
    cluster: Cluster, load: TwoApplications
) -> None:
    """The one that the mailbox lives on, or is led from; until mail flows again without, or a `send` has waited
    in vain. What that one was about may come late: the bytes of a frozen node are there when it goes on.
    """
    load.send(50)
    home = cluster.home_of(load.mailbox)
    sending = begin(lambda: load.send(500))
    eventually(lambda: load.ledger.count("begun") > 50)
    load.ledger.fault("node frozen")
    home.freeze()
    accepted = load.ledger.count("accepted")

    def is_felt() -> bool:
        verdict = load.ledger.verdict()
        return verdict.unknown + verdict.refused > 0 or verdict.accepted > accepted + 50

    try:
        eventually(is_felt, lambda: str(load.ledger.verdict()), WHILE_NODES_COME_BACK)
    finally:
        home.thaw()
    cluster.wait_until_whole()
    ends(sending.result, WHILE_NODES_COME_BACK)
    check(load, lateness_told=True)


def test_mail_survives_when_all_nodes_stop_and_start_in_another_order(
    cluster: Cluster, load: TwoApplications
) -> None:
    """The receiver is held in an action meanwhile: what waits behind it is nowhere but on the nodes."""
    load.send_to_wait(50)
    eventually(lambda: load.waiting(cluster.nodes[0].address) == 50)
    for node in cluster.nodes:
        load.ledger.fault("node stopped")
        node.stop()
    with ThreadPoolExecutor(len(cluster.nodes)) as together:
        list(together.map(Broker.start, reversed(cluster.nodes)))
    cluster.wait_until_whole()
    load.gate.set()
    check(load)
    assert not load.ledger.verdict().lost

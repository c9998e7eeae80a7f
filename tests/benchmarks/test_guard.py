"""A guard against losing speed: what a message costs, against plain Python in the same run.

It cannot flake, however busy the machine is. Nothing here is a time of the clock: both sides are
processor time that the operating system counted for our own processes, so waiting, other programs
and the AMQP server do not enter. Both run in turn and the least of several counts, so a slower
processor, a cold cache or a disturbed round changes both or neither. And a bound is more than twice what
was measured when it was set: nothing but twice the work for each message reaches it. Ratios to other
libraries are the benchmarks' (`make bench`).
"""

from __future__ import annotations

import json
import time

import psutil
import pytest

from benchmarks.agents import Driver, Echo, Sink
from benchmarks.common import CONTENT, family
from benchmarks.houses import house
from tests.broker import BrokerAddress

ROUNDS = 3
MESSAGE = {
    "from": "driver",
    "to": "echo",
    "action": {"name": "echo", "args": {"content": CONTENT}},
}


def plain_python() -> float:
    """Processor time to write and read a message once, in seconds."""
    count = 20_000
    begin = time.process_time()
    for _ in range(count):
        json.loads(json.dumps(MESSAGE))
    return (time.process_time() - begin) / count


def used(others: list[psutil.Process]) -> float:
    """Processor time of this process and of others, so far."""
    own = time.process_time()
    times = [process.cpu_times() for process in others]
    return own + sum(each.user + each.system for each in times)


@pytest.mark.parametrize(
    ("work", "kind", "count", "most"),
    [
        ("flood", "native", 20_000, 2.5),
        ("round_trips", "native", 5_000, 16),
        ("flood", "local", 10_000, 8),
        ("round_trips", "local", 2_000, 110),  # the hub may look in vain
        pytest.param("flood", "amqp", 3_000, 35, marks=pytest.mark.broker),
    ],
)
def test_a_message_costs_no_more_than_it_did(
    work: str, kind: str, count: int, most: float, request: pytest.FixtureRequest
) -> None:
    assert cost(work, kind, count, request) < most


def cost(work: str, kind: str, count: int, request: pytest.FixtureRequest) -> float:
    """What one message costs, in times of `plain_python`."""
    if kind == "amqp":
        broker: BrokerAddress = request.getfixturevalue("broker")
        request.getfixturevalue("monkeypatch").setenv("AMQP_URL", broker.url())
    before = set(family())  # the AMQP server may be among them
    messages, plain = [], []
    with house(kind) as home:
        home.there(Sink, "sink")
        home.there(Echo, "echo")
        home.here(Driver, "driver")
        to = {"to": ["sink"]} if work == "flood" else {"to": "echo"}
        others = [psutil.Process(pid) for pid in family() if pid not in before]
        for _ in range(ROUNDS):
            plain.append(plain_python())
            begin = used(others)
            home.run("driver", work, count=count, content=CONTENT, **to)
            messages.append(used(others) - begin)
    return min(messages) / count / min(plain)

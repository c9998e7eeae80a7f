"""The leak check, and waits that end.

    with leaves_nothing_behind():              # no thread, open file or child process more than before
        ...
    ends(space.destroy)                        # or the test fails and shows what every thread does

Every wait in the tests of faults has an end.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import psutil

from tests.broker import Broker, BrokerAddress
from tests.programs import PATIENCE

__all__ = [
    "begin",
    "consumers_of",
    "ends",
    "eventually",
    "leaves_nothing_behind",
    "make_short_of",
    "queues_of",
    "relieve",
    "suspend",
]

_Value = TypeVar("_Value")

_WELL = """
    application:set_env(rabbit, consumer_timeout, 1800000),
    vm_memory_monitor:set_vm_memory_high_watermark(0.4),
    rabbit_disk_monitor:set_disk_free_limit("1MB").
"""  # in Erlang


@contextmanager
def leaves_nothing_behind(limit: float = PATIENCE) -> Iterator[None]:
    """Fail if the block leaves threads, open files or child processes, after some time to end."""
    before = _held()
    yield
    gc.collect()  # sockets in cycles of references
    eventually(
        lambda: all(now <= then for now, then in zip(_held(), before, strict=True)),
        lambda: f"before: {before}, now: {_held()}; {[t.name for t in threading.enumerate()]}",
        limit,
    )


def _held() -> tuple[int, int, int]:
    """Threads, open files, and child processes that are not dead."""
    this = psutil.Process()
    return threading.active_count(), this.num_fds(), len(this.children(recursive=True))


def suspend(process: psutil.Process) -> None:
    """Have a process stand still, and wait until it does: a thread of it may run on for a moment."""
    process.suspend()
    threads = Path(f"/proc/{process.pid}/task")
    if threads.exists():
        eventually(lambda: all(_state_of(thread) == "T" for thread in threads.iterdir()))


def _state_of(thread: Path) -> str:
    """As the kernel says it: R, S, T and so on."""
    return (thread / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def queues_of(broker: BrokerAddress) -> dict[str, int]:
    """The queues of the broker's virtual host and how many messages each holds, unacknowledged ones
    too.
    """
    lines = broker.rabbitmqctl(
        "list_queues", "--vhost", broker.vhost, "name", "messages", "--no-table-headers"
    )
    return {name: int(count) for name, count in (line.split("\t") for line in lines.splitlines())}


def consumers_of(broker: BrokerAddress, queue: str) -> int:
    """How many take mail from this queue of the broker's virtual host."""
    lines = broker.rabbitmqctl(
        "list_queues", "--vhost", broker.vhost, "name", "consumers", "--no-table-headers"
    )
    counts = dict(line.split("\t") for line in lines.splitlines())
    return int(counts[queue])


def relieve(broker: Broker) -> None:
    """End all alarms, and undo whatever else tests set on a broker."""
    broker.rabbitmqctl("eval", _WELL)


def make_short_of(broker: Broker, need: Literal["memory", "disk"]) -> None:
    """Raise an alarm; returns when every connection is blocked that goes on to publish."""
    if need == "memory":
        broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1000000")
    else:
        broker.rabbitmqctl("set_disk_free_limit", "1000000GB")
    eventually(lambda: need in broker.rabbitmqctl("eval", "rabbit_alarm:get_alarms()."))


def begin(function: Callable[[], _Value]) -> Future[_Value]:
    """Call the function on a daemon thread; what it returns or raises is in the future."""
    outcome: Future[_Value] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001  # belongs to the one who asks the future
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="of a test").start()
    return outcome


def ends(function: Callable[[], _Value], limit: float = PATIENCE) -> _Value:
    """Call the function; fail and show every thread's stack if it has not ended within the limit."""
    outcome = begin(function)
    try:
        return outcome.result(limit)
    except TimeoutError:
        if outcome.done():
            raise  # its own
        raise AssertionError(f"{function} has not ended within {limit} s\n{_stacks()}") from None


def eventually(
    condition: Callable[[], bool],
    otherwise: Callable[[], str] = lambda: "it did not come about",
    limit: float = PATIENCE,
) -> None:
    """Wait for what nobody tells of, such as the end of somebody else's thread."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)  # between two looks at the operating system or the broker


def _stacks() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()  # noqa: SLF001  # the documented way
    )

"""All faults of networks, brokers and processes at random, for as long as one likes: `make soak MINUTES=120 SEED=1`."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import pytest

from agency import AgencyError, AMQPSpace, LocalSpace, NativeSpace, Space
from tests.broker import Broker, family
from tests.faults.conftest import options_for
from tests.faults.figures import Figures
from tests.faults.ledger import Ledger
from tests.faults.load import send_notes
from tests.faults.members import Recorder
from tests.faults.proxy import Proxy
from tests.faults.test_workers import ENVIRONMENT, PROGRAMS
from tests.faults.tools import begin, ends, eventually, leaves_nothing_behind, suspend
from tests.programs import PATIENCE, Program

MINUTES = float(os.environ.get("MINUTES") or 120)
MEBIBYTE = 1 << 20
REPORT_INTERVAL = 600.0
"""Seconds between two lines that say how it goes."""
SAMPLE_INTERVAL = 10.0
"""Seconds: samples of each round, thousands in the end, would be a growth of their own."""
LINKS_UNDER_WAY = 4
"""Files that may be open at one look and not at another: of links that were broken and are made anew."""


class Sample(NamedTuple):
    """What the application and the processes of its LocalSpace hold together."""

    when: float
    memory: int
    """Resident bytes. What processes share counts for each."""
    files: int


@pytest.fixture
def _no_warnings() -> Iterator[None]:
    """Of thousands of broken links: pytest would keep them all in memory until the test ends."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.soak
@pytest.mark.broker
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("_no_warnings")
def test_all_faults_at_random_for_hours(
    tmp_path: Path, seed: random.Random, figures: Figures
) -> None:
    with (
        leaves_nothing_behind(),
        Broker() as broker,
        Proxy(broker.port) as proxy,
        figures.stopping(NativeSpace()) as native,
        figures.stopping(LocalSpace(grace=1.0)) as local,
        figures.stopping(
            AMQPSpace(options_for(broker.address, port=proxy.port), exchange="soak")
        ) as shared,
    ):
        soak = Soak(broker, proxy, (native, local, shared), folder=tmp_path, chance=seed)
        try:
            soak.run(MINUTES * 60)
            soak.judge(figures)
        finally:
            soak.receiver.__exit__(None, None, None)
    early, late = soak.open_files()
    assert late <= early + LINKS_UNDER_WAY
    if MINUTES >= 60:  # before that, chance is larger than the slope
        assert soak.growth_an_hour() < MEBIBYTE


class Load:
    """What is sent to two agents of one space: one that stays, and one that goes and comes."""

    def __init__(self, space: Space, path: Path, staying: str) -> None:
        self.space, self.path, self.staying = space, path, staying
        self.ledger = Ledger(path)
        space.dead_letters.listen(self.ledger.dead)
        self.ann = space.join("ann")
        self.numbers: Counter[str] = Counter()
        space.add(Recorder, "fleeting", path)

    def send(self, to: str, count: int) -> None:
        numbers = range(self.numbers[to], self.numbers[to] + count)
        send_notes(self.ledger, self.ann, to, numbers)
        self.numbers[to] += count

    def replace(self) -> None:
        """In the middle of its mail, an agent goes, and another comes in its place."""
        self.ledger.fault("agent goes and comes")
        sending = begin(lambda: self.send("fleeting", 50))
        self.space.remove("fleeting")
        self.space.add(Recorder, "fleeting", self.path)
        ends(sending.result, limit=120.0)

    def is_settled(self) -> bool:
        """Whether all has come that must come, and of the rest it is known what became of it."""
        verdict = self.ledger.verdict()
        return not verdict.silent and self.staying not in {item.receiver for item in verdict.lost}


class Soak:
    """A load on each kind of space, and whoever disturbs them."""

    def __init__(
        self,
        broker: Broker,
        proxy: Proxy,
        spaces: tuple[NativeSpace, LocalSpace, AMQPSpace],
        *,
        folder: Path,
        chance: random.Random,
    ) -> None:
        self.broker, self.proxy, self.chance = broker, proxy, chance
        native, local, shared = spaces
        self.native = Load(native, folder / "native", "steady")
        self.local = Load(local, folder / "local", "steady")
        self.shared = Load(shared, folder / "shared", "bob")
        self.loads = [self.native, self.local, self.shared]
        for load in (self.native, self.local):
            load.space.add(Recorder, "steady", load.path)
        self.receiver = self.start_receiver()
        self.disturbances: list[Callable[[], None]] = [
            self.cut,
            self.half_close,
            self.stall,
            self.kill_receiver,
            self.kill_broker,
            self.freeze_broker,
            self.starve_broker,
            self.kill_worker,
            self.freeze_worker,
            *(load.replace for load in self.loads),
        ]
        self.nursery = self.nursery_of(self.local)
        self.samples: list[Sample] = []
        self.rounds = 0

    def run(self, seconds: float) -> None:
        start = reported = time.monotonic()
        sampled = float("-inf")
        while time.monotonic() - start < seconds:
            sending = [begin(partial(load.send, load.staying, 100)) for load in self.loads]
            self.chance.choice(self.disturbances)()
            for one in sending:
                ends(one.result, limit=120.0)
            self.rounds += 1
            if time.monotonic() - sampled > SAMPLE_INTERVAL:
                sampled = time.monotonic()
                gc.collect()
                self.samples.append(self.sample(sampled - start))
            if time.monotonic() - reported > REPORT_INTERVAL:
                reported = time.monotonic()
                self.report()

    def judge(self, figures: Figures) -> None:
        """Wait for what is under way; then nothing may have failed."""
        for load in self.loads:
            eventually(load.is_settled, lambda load=load: str(load.ledger.verdict()), limit=120.0)  # type: ignore[misc]
            verdict = load.ledger.verdict()
            figures.add(verdict, type(load.space))
            load.ledger.close()
            assert verdict.is_clean(duplicates_allowed=load is self.shared, losses_told=True), (
                verdict
            )
        self.report()

    def report(self) -> None:
        """How it goes, for whoever looks on. Ledgers are read by other processes: their size is not to
        count as growth of this one.
        """
        now, (early, late) = self.samples[-1], self.open_files()
        held = (
            f"memory {now.memory / MEBIBYTE:.1f} MiB, {self.growth_an_hour() / MEBIBYTE:+.2f} an hour,"
            f" {early:g} open files at first and {late:g} at last"
        )
        print(f"\nafter {now.when / 60:.0f} minutes, {self.rounds} rounds: {held}")  # noqa: T201
        for load in self.loads:
            command = [sys.executable, "-m", "tests.faults.ledger", str(load.path)]
            verdict = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"  {type(load.space).__name__}: {verdict}", end="", flush=True)  # noqa: T201

    def growth_an_hour(self) -> float:
        """Bytes, after the first sixth of the time: the slope of the straight line through the points."""
        points = self.samples[len(self.samples) // 6 :]
        if len(points) < 3:
            return 0.0
        mean_time = sum(one.when for one in points) / len(points)
        mean_size = sum(one.memory for one in points) / len(points)
        spread = sum((one.when - mean_time) ** 2 for one in points)
        slope = sum((one.when - mean_time) * (one.memory - mean_size) for one in points) / spread
        return slope * 3600

    def open_files(self) -> tuple[float, float]:
        """How many, as a rule, in the second sixth of the time and in the last."""
        sixth = max(1, len(self.samples) // 6)
        early, late = self.samples[sixth : 2 * sixth] or self.samples, self.samples[-sixth:]
        return median(one.files for one in early), median(one.files for one in late)

    def sample(self, when: float) -> Sample:
        memory = files = 0
        for process in (psutil.Process(), *family(self.nursery)):
            with contextlib.suppress(psutil.NoSuchProcess):  # a worker that was killed just now
                memory += process.memory_info().rss
                files += process.num_fds()
        return Sample(when, memory, files)

    def nursery_of(self, load: Load) -> int:
        """The child of this process from which all others of the space come: its hub, and the workers."""
        process: psutil.Process | None = self.steady_worker(load)
        while process is not None and process.ppid() != os.getpid():
            process = process.parent()
        assert process is not None
        return process.pid

    def steady_worker(self, load: Load) -> psutil.Process:
        return psutil.Process(load.ann.proxy("steady", timeout=PATIENCE).process())

    def start_receiver(self) -> Program:
        url = f"{self.broker.url()}?heartbeat=1"
        program = Program(
            *(PROGRAMS / "receives.py", "soak", self.shared.path),
            env=ENVIRONMENT | {"AMQP_URL": url},
        )
        program.wait_for("serves")
        return program

    # Disturbances

    def cut(self) -> None:
        self.shared.ledger.fault("links cut")
        self.proxy.cut()

    def half_close(self) -> None:
        self.shared.ledger.fault("half closed")
        self.proxy.half_close(self.chance.choice(["to_server", "to_client"]))

    def stall(self) -> None:
        self.shared.ledger.fault("links silent")
        before = self.proxy.accepted
        self.proxy.stall()
        eventually(lambda: self.proxy.accepted > before)
        self.proxy.resume()

    def kill_receiver(self) -> None:
        self.shared.ledger.fault("receiver killed")
        self.receiver.kill()
        self.receiver.end()
        self.receiver.__exit__(None, None, None)
        self.receiver = self.start_receiver()

    def kill_broker(self) -> None:
        self.shared.ledger.fault("broker killed")
        self.broker.kill()
        self.broker.start()

    def freeze_broker(self) -> None:
        self.shared.ledger.fault("broker frozen")
        self.broker.freeze()
        eventually(lambda: self.chance.random() > 0.97)  # a second or so
        self.broker.thaw()

    def starve_broker(self) -> None:
        self.shared.ledger.fault("broker in need")
        self.broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1000000")
        self.broker.rabbitmqctl("set_vm_memory_high_watermark", "0.4")

    def freeze_worker(self) -> None:
        self.local.ledger.fault("worker frozen")
        worker = self.steady_worker(self.local)
        suspend(worker)
        eventually(lambda: self.chance.random() > 0.97)  # a second or so
        worker.resume()

    def kill_worker(self) -> None:
        load = self.local
        load.ledger.fault("worker killed")
        load.space.add(Recorder, "mortal", load.path)
        process = load.ann.proxy("mortal", timeout=PATIENCE).process()
        sending = begin(lambda: load.send("mortal", self.chance.randrange(1, 50)))
        psutil.Process(process).kill()
        ends(sending.result)
        eventually(self.mortal_is_gone)

    def mortal_is_gone(self) -> bool:
        try:
            self.local.ann.proxy("mortal", timeout=PATIENCE).process()
        except AgencyError:
            return True
        return False

"""All faults of networks, brokers and processes at random, for as long as one likes: `make soak MINUTES=120 SEED=1`."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agency import AgencyError, AMQPSpace, LocalSpace
from tests.broker import Broker
from tests.faults.conftest import options_for
from tests.faults.ledger import Ledger
from tests.faults.members import Recorder
from tests.faults.proxy import Proxy
from tests.faults.test_workers import ENVIRONMENT, PROGRAMS
from tests.faults.tools import begin, ends, eventually, leaves_nothing_behind
from tests.programs import PATIENCE, Program

MINUTES = float(os.environ.get("MINUTES") or 120)
GROWTH_AN_HOUR = 1 << 20
"""Bytes of memory, after the first sixth of the time."""


@pytest.mark.soak
@pytest.mark.broker
@pytest.mark.timeout(0)
def test_all_faults_at_random_for_hours(tmp_path: Path, seed: random.Random) -> None:
    with (
        leaves_nothing_behind(),
        Broker() as broker,
        Proxy(broker.port) as proxy,
        LocalSpace(grace=1.0) as local,
        AMQPSpace(options_for(broker.address, port=proxy.port), exchange="soak") as shared,
    ):
        soak = Soak(broker, proxy, local, shared, folder=tmp_path, chance=seed)
        try:
            soak.run(MINUTES * 60)
        finally:
            soak.receiver.__exit__(None, None, None)


class Soak:
    """A load on a broker and a load on processes, and whoever disturbs them."""

    def __init__(
        self,
        broker: Broker,
        proxy: Proxy,
        local: LocalSpace,
        shared: AMQPSpace,
        *,
        folder: Path,
        chance: random.Random,
    ) -> None:
        self.broker, self.proxy, self.chance = broker, proxy, chance
        self.spaces = {"local": local, "shared": shared}
        self.paths = {name: folder / name for name in self.spaces}
        self.ledgers = {name: Ledger(path) for name, path in self.paths.items()}
        self.guests = {name: space.join("ann") for name, space in self.spaces.items()}
        for name, space in self.spaces.items():
            space.dead_letters.listen(self.ledgers[name].dead)
        self.numbers = dict.fromkeys(self.spaces, 0)
        self.receiver = self.start_receiver()
        local.add(Recorder, "steady", self.paths["local"])
        self.disturbances: list[Callable[[], None]] = [
            proxy.cut,
            lambda: proxy.half_close(self.chance.choice(["to_server", "to_client"])),
            self.stall,
            self.kill_receiver,
            self.kill_broker,
            self.freeze_broker,
            self.starve_broker,
            self.kill_worker,
        ]

    def run(self, seconds: float) -> None:
        memory: list[tuple[float, int]] = []
        rounds, start = 0, time.monotonic()
        while time.monotonic() - start < seconds:
            sending = [
                begin(lambda: self.send("shared", "bob", 100)),
                begin(lambda: self.send("local", "steady", 100)),
            ]
            self.chance.choice(self.disturbances)()
            for one in sending:
                ends(one.result, limit=120.0)
            rounds += 1
            gc.collect()
            memory.append((time.monotonic() - start, psutil.Process().memory_info().rss))
        eventually(lambda: not self.ledgers["shared"].verdict().lost, limit=120.0)
        eventually(lambda: not self.ledgers["local"].verdict().silent)
        for name, ledger in self.ledgers.items():
            verdict = ledger.verdict()
            print(name, verdict)  # noqa: T201
            assert verdict.is_clean(
                duplicates_allowed=name == "shared", losses_told=name == "local"
            ), verdict
            ledger.close()
        growth = growth_an_hour(memory[len(memory) // 6 :])
        print(f"{rounds} faults in {seconds / 60:g} minutes, memory {growth / 1e6:+.1f} MB an hour")  # noqa: T201
        if seconds >= 3600:  # before that, chance is larger than the slope
            assert growth < GROWTH_AN_HOUR

    def send(self, name: str, to: str, count: int) -> None:
        for number in range(self.numbers[name], self.numbers[name] + count):
            with self.ledgers[name].sending("ann", to, number):
                self.guests[name].send(
                    {"to": to, "action": {"name": "note", "args": {"number": number}}}
                )
        self.numbers[name] += count

    def start_receiver(self) -> Program:
        url = f"{self.broker.url()}?heartbeat=1"
        program = Program(
            *(PROGRAMS / "receives.py", "soak", self.paths["shared"]),
            env=ENVIRONMENT | {"AMQP_URL": url},
        )
        program.wait_for("serves")
        return program

    # Disturbances

    def stall(self) -> None:
        before = self.proxy.accepted
        self.proxy.stall()
        eventually(lambda: self.proxy.accepted > before)
        self.proxy.resume()

    def kill_receiver(self) -> None:
        self.receiver.kill()
        self.receiver.end()
        self.receiver.__exit__(None, None, None)
        self.receiver = self.start_receiver()

    def kill_broker(self) -> None:
        self.broker.kill()
        self.broker.start()

    def freeze_broker(self) -> None:
        self.broker.freeze()
        eventually(lambda: self.chance.random() > 0.97)  # a second or so
        self.broker.thaw()

    def starve_broker(self) -> None:
        self.broker.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1000000")
        self.broker.rabbitmqctl("set_vm_memory_high_watermark", "0.4")

    def kill_worker(self) -> None:
        local = self.spaces["local"]
        local.add(Recorder, "mortal", self.paths["local"])
        process = self.guests["local"].proxy("mortal", timeout=PATIENCE).process()
        sending = begin(lambda: self.tell_mortal(self.chance.randrange(1, 50)))
        psutil.Process(process).kill()
        ends(sending.result)
        eventually(self.mortal_is_gone)

    def tell_mortal(self, count: int) -> None:
        start = self.numbers.setdefault("mortal", 0)
        for number in range(start, start + count):
            with self.ledgers["local"].sending("ann", "mortal", number):
                self.guests["local"].send(
                    {"to": "mortal", "action": {"name": "note", "args": {"number": number}}}
                )
        self.numbers["mortal"] += count

    def mortal_is_gone(self) -> bool:
        try:
            self.guests["local"].proxy("mortal", timeout=PATIENCE).process()
        except AgencyError:
            return True
        return False


def growth_an_hour(memory: list[tuple[float, int]]) -> float:
    """The slope of the straight line through the points: bytes an hour."""
    if len(memory) < 3:
        return 0.0
    mean_time = sum(when for when, _ in memory) / len(memory)
    mean_size = sum(size for _, size in memory) / len(memory)
    spread = sum((when - mean_time) ** 2 for when, _ in memory)
    slope = sum((when - mean_time) * (size - mean_size) for when, size in memory) / spread
    return slope * 3600

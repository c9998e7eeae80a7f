"""Agents that produce values one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from agency.actions import action
from agency.schema import MAX_MESSAGE_BYTES
from agency.testing.agents.basics import Speaker

__all__ = ["AsyncStreamer", "Streamer"]


class Streamer(Speaker):
    """Produces values one after the other."""

    @action
    def count(self, to: int) -> Iterator[int]:
        """Count from one."""
        yield from range(1, to + 1)

    @action
    def count_and_fail(self, to: int) -> Iterator[int]:
        """Count from one, then raise."""
        yield from range(1, to + 1)
        raise ValueError("out of numbers")

    @action
    def count_and_burst(self, to: int) -> Iterator[Any]:
        """Count from one, then produce more than a message can hold."""
        yield from range(1, to + 1)
        yield "x" * MAX_MESSAGE_BYTES
        yield to + 2

    @action
    def by_doors(self, doors: list[str]) -> Iterator[str]:
        """Produce each name as soon as the door before it is open."""
        for door in doors:
            yield door
            self.wait_at(door)

    @action
    def endless(self) -> Iterator[int]:
        """Produce until nobody wants any more, then report."""
        number = 0
        try:
            while True:
                number += 1
                yield number
        finally:
            self.report("stopped")

    @action
    def single(self) -> str:
        """Return one value."""
        return "single"


class AsyncStreamer(Speaker):
    """Produces values in async code."""

    @action
    async def count(self, to: int) -> AsyncIterator[int]:
        """Count from one."""
        for number in range(1, to + 1):
            await asyncio.sleep(0)
            yield number

    @action
    async def endless(self) -> AsyncIterator[int]:
        """Produce until nobody wants any more, then report."""
        number = 0
        try:
            while True:
                number += 1
                yield number
                await asyncio.sleep(0)
        finally:
            self.report("stopped")

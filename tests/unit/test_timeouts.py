"""How long an agent or a space may take is checked when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agency import Agent, LocalSpace, NativeSpace

TAKES_SECONDS: dict[str, Callable[[Any], object]] = {
    "permission_timeout": lambda seconds: Agent("agent", permission_timeout=seconds),
    "grace": lambda seconds: NativeSpace(grace=seconds),
    "start_timeout": lambda seconds: LocalSpace(start_timeout=seconds),
}


@pytest.mark.parametrize("name", TAKES_SECONDS)
@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        ("5", TypeError),
        (None, TypeError),
        (True, TypeError),
        (-1, ValueError),
        (float("nan"), ValueError),
    ],
)
def test_what_is_no_number_of_seconds_is_refused(
    name: str, seconds: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        TAKES_SECONDS[name](seconds)


@pytest.mark.parametrize("name", TAKES_SECONDS)
@pytest.mark.parametrize("seconds", [0, 0.5, 10**12, float("inf")])
def test_any_number_of_seconds_will_do(name: str, seconds: float) -> None:
    TAKES_SECONDS[name](seconds)


@pytest.mark.parametrize("concurrency", [1.5, "2", None])
def test_concurrency_is_a_whole_number(concurrency: Any) -> None:
    with pytest.raises(TypeError, match="concurrency"):
        Agent("agent", concurrency=concurrency)


def test_a_space_whose_grace_is_endless_can_be_destroyed() -> None:
    with NativeSpace(grace=float("inf")) as space:
        space.add(Agent("agent"))
        space.remove("agent")

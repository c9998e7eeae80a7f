"""Supervision: what may be asked for, and when a death is followed by a restart."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from agency import Agent, LocalSpace, NativeSpace, Supervision
from agency.supervision import Deaths


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"restart": "sometimes"}, ValueError, "'never', 'on_failure', 'always', not 'sometimes'"),
        ({"intensity": 0}, ValueError, 'restart="never"'),
        ({"intensity": 2.5}, TypeError, "intensity is a whole number"),
        ({"intensity": True}, TypeError, "intensity is a whole number"),
        ({"period": -1}, ValueError, "period"),
        ({"backoff": float("nan")}, ValueError, "backoff"),
        ({"max_backoff": "long"}, TypeError, "max_backoff"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Supervision(**options)


@pytest.mark.parametrize(
    ("restart", "statuses"),
    [("never", []), ("on_failure", [None, 1, -9]), ("always", [None, 0, 1, -9])],
)
def test_the_way_a_process_ended_decides_whether_its_agent_comes_again(
    restart: Any, statuses: list[int | None]
) -> None:
    policy = Supervision(restart=restart)
    assert [status for status in (None, 0, 1, -9) if policy.covers(status)] == statuses


def test_pauses_grow_up_to_the_longest_and_too_many_deaths_are_final() -> None:
    deaths = Deaths(Supervision(intensity=5, backoff=1.0, max_backoff=6.0))
    for longest in (1.0, 2.0, 4.0, 6.0, 6.0):
        pause = deaths.pause_after(now=0.0)
        assert pause is not None
        assert longest / 2 <= pause <= longest
    assert deaths.pause_after(now=0.0) is None


def test_deaths_that_are_long_past_do_not_count() -> None:
    deaths = Deaths(Supervision(intensity=1, period=60.0, backoff=1.0))
    for now in (0.0, 61.0, 122.0):
        pause = deaths.pause_after(now)
        assert pause is not None
        assert pause <= 1.0
    assert deaths.pause_after(130.0) is None


@pytest.mark.parametrize("kind", [NativeSpace, LocalSpace])
def test_a_class_whose_supervision_is_none_is_refused_on_every_space(kind: type) -> None:
    class Wrong(Agent):
        supervision: ClassVar[Any] = "always"

    with kind() as space, pytest.raises(TypeError, match=r"Wrong\.supervision is a Supervision"):
        space.add(Wrong, "wrong")


def test_a_space_whose_supervision_is_none_is_refused() -> None:
    wrong: Any = "always"
    with pytest.raises(TypeError, match="supervision is a Supervision"):
        LocalSpace(supervision=wrong)

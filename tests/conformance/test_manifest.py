"""The conformance kit itself: every promise has a test, and every test proves a promise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agency.testing import PROMISES, SharedSpaceConformance, SpaceConformance, proves

SOURCE = re.compile(r"(S\d+|K\d+|G\d+|D\d+|F\d+|spec [1-7]|decision)( |$)")

PROVED_ELSEWHERE = {
    # What is particular to one kind of space, and to the programs that use it.
    **dict.fromkeys([f"S{number}" for number in (*range(4, 13), *range(19, 41), 44)], "a space"),
    # The agents of the demo application, and the people who talk to them.
    **dict.fromkeys([f"S{number}" for number in (50, 51, 52, *range(74, 95))], "the demo"),
    "S65": "that every action may declare a policy is said by the tests of each policy",
    "S64": "tests/unit/test_public_api.py",
    "S106": "a wish, not a promise",
    "S118": "the same as S69",
    "S122": "named by its promise",
    "S130": "tests/unit/test_schema.py",
}


def conformance_tests() -> Iterator[Callable[..., Any]]:
    for suite in (SpaceConformance, SharedSpaceConformance):
        for name in dir(suite):
            if name.startswith("test_"):
                yield getattr(suite, name)


def promises_of(test: Callable[..., Any]) -> tuple[str, ...]:
    found: tuple[str, ...] = getattr(test, "__agency_proves__", ())
    return found


def test_every_promise_has_a_test() -> None:
    proved = {promise for test in conformance_tests() for promise in promises_of(test)}
    assert [promise.id for promise in PROMISES if promise.id not in proved] == []


def test_every_test_proves_a_promise() -> None:
    idle = [test.__name__ for test in conformance_tests() if not promises_of(test)]
    assert idle == []


def test_every_promise_is_one_sentence_with_an_id_of_its_own_and_a_source() -> None:
    assert [
        i for i, times in Counter(promise.id for promise in PROMISES).items() if times > 1
    ] == []
    for promise in PROMISES:
        assert re.fullmatch(r"[a-z]+-[1-9]\d*", promise.id)
        assert promise.sentence.endswith(".")
        assert SOURCE.match(promise.source), promise
        assert SOURCE.sub("", promise.source) == "", promise


def test_every_requirement_of_the_library_is_promised() -> None:
    in_scope = [f"S{number}" for number in (*range(1, 80), *range(95, 139))]
    promised = {word for promise in PROMISES for word in promise.source.split()}
    assert [it for it in in_scope if it not in promised and it not in PROVED_ELSEWHERE] == []


def test_a_test_cannot_claim_a_promise_that_nobody_gave() -> None:
    with pytest.raises(ValueError, match="no such promise: join-0"):
        proves("join-0")
    with pytest.raises(ValueError, match="none is named"):
        proves()

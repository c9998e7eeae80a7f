"""The conformance kit itself: every promise has a test, and every test proves a promise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
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
    # The contradictions that were resolved, …
    "K1": "tests/unit/test_public_api.py",
    "K7": "tests/amqp/test_space.py",
    "K8": "a page, docs/guides/spaces.md",
    "K9": "tests/local/test_main_modules.py",
    "K14": "the demo",
    "K15": "tests/amqp/test_options.py",
    "K16": "the demo",
    "K17": "which of two documents holds",
    "K18": "tests/docs/test_seed_snippets.py",
    # … the gaps that were filled, …
    "G5": "tests/unit/test_help.py",
    "G17": "tests/amqp/test_link.py",
    "G18": "tests/native/test_leaving.py",
    # … and the defects of an earlier implementation.
    "D5": "tests/lifetime/test_end_of_program.py",
    "D6": "tests/amqp/test_link.py",
    "D8": "tests/unit/test_turn.py",
    "D10": "the demo",
    "D13": "the demo",
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
    numbers = {"S": (*range(1, 80), *range(95, 139)), "K": range(1, 21), "G": range(1, 19)}
    numbers["D"] = range(1, 14)
    in_scope = [f"{kind}{number}" for kind, these in numbers.items() for number in these]
    promised = {word for promise in PROMISES for word in promise.source.split()}
    assert [it for it in in_scope if it not in promised and it not in PROVED_ELSEWHERE] == []


def test_what_is_proved_elsewhere_is_proved_where_it_is_said() -> None:
    root = Path(__file__).parents[2]
    files = [place for place in PROVED_ELSEWHERE.values() if place.startswith("tests/")]
    assert [file for file in files if not (root / file).is_file()] == []


def test_a_test_cannot_claim_a_promise_that_nobody_gave() -> None:
    with pytest.raises(ValueError, match="no such promise: join-0"):
        proves("join-0")
    with pytest.raises(ValueError, match="none is named"):
        proves()

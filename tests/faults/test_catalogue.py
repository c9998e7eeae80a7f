"""The catalogue and the page of promises say what is true of the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from agency.testing import SharedSpaceConformance, SpaceConformance
from tests.faults.catalogue import ANY_ORDER, CATALOGUE, table

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "promises.md"
OF_THE_TOOLS = {"test_tools.py", "test_catalogue.py"}


def names_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    if path == "conformance":
        return hasattr(SpaceConformance, name) or hasattr(SharedSpaceConformance, name)
    return (TESTS / path).exists() and name in names_in(TESTS / path)


def named() -> set[str]:
    return {test for fault in CATALOGUE for test in fault.tests} | set(ANY_ORDER)


def test_every_fault_has_its_number_once_and_a_sentence() -> None:
    assert [fault.number for fault in CATALOGUE] == list(range(1, 62))
    assert [fault.number for fault in CATALOGUE if not fault.sentence.endswith(".")] == []


def test_every_fault_has_tests_or_says_what_is_lacking() -> None:
    assert [fault.number for fault in CATALOGUE if not fault.tests and not fault.lacking] == []


def test_every_test_that_is_named_exists() -> None:
    assert sorted(test for test in named() if not exists(test)) == []


def test_every_test_of_a_fault_is_named() -> None:
    here = {
        f"faults/{path.name}::{test}"
        for path in Path(__file__).parent.glob("test_*.py")
        if path.name not in OF_THE_TOOLS
        for test in names_in(path)
    }
    assert sorted(here - named()) == []


def test_the_page_has_the_catalogue_as_it_is() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "python -m tests.faults.catalogue"


def test_every_promise_names_faults_that_have_tests() -> None:
    proved = {f"F{fault.number}" for fault in CATALOGUE if fault.tests}
    promises, _, _ = PAGE.read_text(encoding="utf-8").partition("## What is not promised")
    rows = [row for row in promises.splitlines() if re.match(r"\| \*\*", row)]
    assert len(rows) >= 21  # seven subjects on three spaces
    for row in rows:
        numbers = set(re.findall(r"F\d+", row.rsplit("|", 2)[1]))
        assert numbers, row
        assert numbers <= proved, row

"""Who may import whom: values, the turn, places, faces, in one direction, and the process under all.

`docs/design.md` says why.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import agency

ROOT = Path(agency.__file__).parent

PROCESS = {"lifetime"}
VALUES = {
    "access",
    "actions",
    "deadletters",
    "envelope",
    "errors",
    "help",
    "schema",
    "slash",
    "supervision",
    "timeouts",
}
TURN = {"agent", "proxy", "turn"}
PLACES = {
    "audit",
    "calls",
    "guest",
    "mailbox",
    "resident",
    "runners",
    "space",
    "threads",
    "watching",
}
# Everything else is a face.

KINDS_OF_SPACE = ("native", "local", "amqp")


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(name: str, *, at_import: bool = False) -> set[str]:
    """The names of all that a module imports; with `at_import`, only what importing it imports."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if not at_import else list(run_at_import(tree.body))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            source = node.module or ""
            below = {f"{source}.{alias.name}" for alias in node.names}
            found |= (below & MODULES.keys()) or {source}
    return found


def run_at_import(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements at a module's top level, those for type checkers left out."""
    found: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            found += run_at_import(statement.orelse)
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            for block in ("body", "orelse", "finalbody"):
                found += run_at_import(getattr(statement, block, []))
        else:
            found.append(statement)
    return found


def layer(module: str) -> int:
    """How far up a module stands."""
    parts = module.split(".")
    layers = (PROCESS, VALUES, TURN, PLACES)
    if len(parts) == 1 or parts[1] == "testing":
        return len(layers)
    if parts[1] == "spaces":
        return layers.index(PLACES)
    for number, names in enumerate(layers):
        if parts[1] in names:
            return number
    return len(layers)


def own(imports: set[str]) -> set[str]:
    return {name for name in imports if name == "agency" or name.startswith("agency.")}


def test_every_module_named_here_exists() -> None:
    assert {f"agency.{name}" for name in PROCESS | VALUES | TURN | PLACES} <= MODULES.keys()


def test_imports_go_down_or_sideways_but_never_up() -> None:
    upward = [
        f"{module} imports {imported}"
        for module in MODULES
        for imported in own(imports_of(module))
        if layer(imported) > layer(module)
    ]
    assert upward == []


def test_no_imports_go_in_a_circle() -> None:
    graph = {module: own(imports_of(module, at_import=True)) - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None


def test_the_kinds_of_space_do_not_know_each_other() -> None:
    def kind(module: str) -> str | None:
        last = module.removeprefix("agency.spaces.")
        return next((k for k in KINDS_OF_SPACE if last != module and last.startswith(k)), None)

    strangers = [
        f"{module} imports {imported}"
        for module in MODULES
        for imported in own(imports_of(module))
        if kind(module) and kind(imported) and kind(module) != kind(imported)
    ]
    assert strangers == []
    assert all(kind(module) for module in MODULES if module.startswith("agency.spaces."))


def test_nothing_but_a_transport_knows_the_broker_client_or_processes() -> None:
    for module in MODULES:
        foreign = {name.partition(".")[0] for name in imports_of(module)}
        if "pika" in foreign:
            assert module.startswith("agency.spaces.amqp_")
        if foreign & {"multiprocessing", "subprocess", "socket"}:
            assert layer(module) >= layer("agency.space")


def test_the_turn_knows_neither_threads_nor_clocks_nor_sockets() -> None:
    forbidden = {"asyncio", "multiprocessing", "queue", "socket", "subprocess", "threading", "time"}
    for module in (
        "agency.turn",
        "agency.schema",
        "agency.actions",
        "agency.help",
        "agency.access",
    ):
        assert imports_of(module).isdisjoint(forbidden), module


def test_nothing_depends_on_the_conformance_kit_or_on_what_only_it_needs() -> None:
    for module in MODULES:
        if not module.startswith("agency.testing"):
            imported = imports_of(module)
            assert "pytest" not in imported, module
            assert not {name for name in imported if name.startswith("agency.testing")}, module


def test_every_module_says_where_it_stands() -> None:
    for name, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name

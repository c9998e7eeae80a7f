"""The public names: a list that was chosen, documented, and importing which does nothing else."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import textwrap
from types import ModuleType
from typing import Any

import pytest

import agency
import agency.testing

LIMIT = 30.0

MODULES = [
    "agency.access",
    "agency.agent",
    "agency.envelope",
    "agency.errors",
    "agency.schema",
    "agency.space",
    "agency.spaces.amqp_space",
    "agency.spaces.local_space",
    "agency.spaces.native_space",
    "agency.testing",
]


def in_pythons_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize(
    "module", [agency, agency.testing], ids=lambda module: str(module.__name__)
)
def test_all_is_sorted_and_has_no_doubles(module: ModuleType) -> None:
    names = list(module.__all__)
    assert names == sorted(set(names), key=in_pythons_order)


def test_all_is_exactly_what_the_package_has() -> None:
    public = {
        name
        for name, value in vars(agency).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "") != "typing"
        and name != "TYPE_CHECKING"
    }
    later = {"AMQPOptions", "AMQPSpace", "LocalSpace"}
    assert public | later == set(agency.__all__)


@pytest.mark.parametrize("name", agency.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(agency, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__
        assert value.__module__.startswith("agency.")


def public_members() -> list[tuple[str, Any]]:
    return [
        (f"{name}.{member}", value)
        for name in agency.__all__
        if inspect.isclass(owner := getattr(agency, name))
        for member, value in vars(owner).items()
        if not member.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod))
    ]


def test_every_public_method_is_documented() -> None:
    assert [name for name, member in public_members() if not inspect.getdoc(member)] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(agency, "no_such_name")  # noqa: B009  # a name that type checkers would refuse


@pytest.mark.parametrize("module", MODULES)
def test_modules_that_users_may_import_say_what_they_are_and_offer(module: str) -> None:
    imported = importlib.import_module(module)
    assert imported.__doc__
    assert imported.__all__
    for name in imported.__all__:
        assert hasattr(imported, name)


def test_importing_starts_nothing_configures_nothing_and_brings_nothing_heavy() -> None:
    program = """
        import signal, sys

        FORBIDDEN = ("socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system",
                     "_thread.start_new_thread", "os.putenv", "signal.")
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

        def forbid(event, args):
            if event.startswith(FORBIDDEN) and event != "socket.gethostname":
                raise AssertionError(f"importing agency did {event} {args}")

        sys.addaudithook(forbid)

        import agency
        import agency.agent, agency.schema, agency.space, agency.spaces.native_space
        from agency import AMQPOptions, AMQPSpace, LocalSpace

        heavy = {"pika", "gradio", "openai", "transformers", "torch", "pytest", "agency.testing"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)

        import logging, threading
        assert logging.getLogger().handlers == []
        assert logging.getLogger("agency").handlers == []
        assert logging.getLogger("agency").level == logging.NOTSET
        assert threading.active_count() == 1
        assert handlers == {number: signal.getsignal(number) for number in signal.valid_signals()}

        if "multiprocessing" in sys.modules:
            import multiprocessing
            assert multiprocessing.get_start_method(allow_none=True) is None
        print("done")
    """
    ran = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("done\n", "")

"""Which models join the demo is a matter of settings, and without any none does."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from agency import NativeSpace
from agents.models import SETTINGS, add_models, read_settings
from tests.demo.openai_server import PATIENCE, OpenAIServer, Words

EXAMPLE = SETTINGS.with_name(".env.example")
NAMES = re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ})
    for name in NAMES:
        os.environ.pop(name, None)


def test_the_example_as_it_is_adds_nobody_and_changes_nothing() -> None:
    before = dict(os.environ)
    read_settings(EXAMPLE)
    assert dict(os.environ) == before
    with NativeSpace() as space:
        assert add_models(space) == []


def test_a_file_that_is_not_there_is_no_mistake(tmp_path: Path) -> None:
    read_settings(tmp_path / ".env")


def test_a_model_at_an_endpoint_in_the_settings_joins(tmp_path: Path) -> None:
    with OpenAIServer(Words("Hello."), Words(" Hi.")) as server:
        settings = tmp_path / ".env"
        settings.write_text(
            f"# mine\n\nexport OPENAI_BASE_URL='{server.url}'\nOPENAI_API_KEY = \n"
            'OPENAI_MODEL="a-model"\nOPENAI_COMPLETION_MODEL=another-model\n',
            encoding="utf-8",
        )
        read_settings(settings)
        with NativeSpace() as space:
            assert add_models(space) == ["FunctionAI", "CompletionAI"]
            user = space.join("User")
            for name in ("FunctionAI", "CompletionAI"):
                user.proxy(name).say.send(content="Hi")
                user.receive(PATIENCE)
        assert [server.asked().body["model"] for _ in range(2)] == ["a-model", "another-model"]


def test_a_key_alone_is_enough_for_openai() -> None:
    os.environ["OPENAI_API_KEY"] = "key"
    with NativeSpace() as space:
        assert add_models(space) == ["FunctionAI"]


def test_a_model_whose_libraries_are_not_installed_is_not_begun_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    os.environ["CHATTY_MODEL"] = "any"
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with NativeSpace() as space, pytest.raises(SystemExit, match=r"agency-space\[hf\]"):
        add_models(space)


def test_the_environment_counts_for_more_than_the_file(tmp_path: Path) -> None:
    settings = tmp_path / ".env"
    settings.write_text("OPENAI_MODEL=from-the-file\n", encoding="utf-8")
    os.environ["OPENAI_MODEL"] = "from-the-environment"
    read_settings(settings)
    assert os.environ["OPENAI_MODEL"] == "from-the-environment"


def test_a_line_that_is_no_setting_is_shown(tmp_path: Path) -> None:
    settings = tmp_path / ".env"
    settings.write_text("OPENAI_MODEL=a\nwhat is this\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"line 2: a setting has the form NAME=value"):
        read_settings(settings)

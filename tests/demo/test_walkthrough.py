"""docs/walkthrough.md: its program runs as it stands there, and what it says to type does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.demo import torch_on_cpu
from tests.demo.conftest import Programs
from tests.demo.openai_server import Calls, OpenAIServer, Words
from tests.demo.tab import Tab, address_of
from tests.docs.test_documentation import ROOT, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

WALKTHROUGH = Page(ROOT / "docs" / "walkthrough.md")
MODEL = "EleutherAI/gpt-neo-125m"
MODEL_AT_ENDPOINT = "gpt-3.5-turbo-16k"

# In the folder in which the models are found by their names, as they would be in the hub's cache.
START = "import os, runpy; os.chdir(r'{}'); runpy.run_path('program.py', run_name='__main__')"


def the_program() -> str:
    (program,) = [block.code for block in WALKTHROUGH.blocks if "import demo, gradio" in block.code
                  and "NativeSpace()" in block.code]  # fmt: skip
    return program


def typed() -> list[str]:
    """What the page says to type."""
    return [block.code.strip() for block in WALKTHROUGH.blocks if not block.language]


def test_the_walkthrough_runs_as_written(
    programs: Programs, browser: Browser, tmp_path: Path
) -> None:
    torch_on_cpu.needed()
    from tests.demo.tiny_models import make_base_model

    make_base_model(tmp_path / MODEL)
    (tmp_path / "program.py").write_text(the_program(), encoding="utf-8")
    with OpenAIServer(
        Words("Hello, ", "User!"),
        Calls([("Host-list_files", {"directory_path": "."})]),
        Words("There is a program."),
    ) as server:
        program = programs.start(
            "-c",
            START.format(tmp_path),
            WEB_APP_PORT="0",
            HF_HUB_OFFLINE="1",
            OPENAI_API_KEY="a key",
            OPENAI_BASE_URL=server.url,
        )
        with browser.new_context() as context:
            tab = Tab(context.new_page(), address_of(program))
            hello, form, everyone, one, shell, model = typed()

            for agent in ["Chatty", "FunctionAI", "Host"]:
                expect(tab.present.get_by_role("heading", name=agent)).to_be_visible()

            tab.type(hello)
            expect(tab.answers("FunctionAI").last).to_contain_text("Hello, User!")
            expect(tab.answers("Chatty").last).to_be_visible()
            assert server.asked().body["model"] == MODEL_AT_ENDPOINT

            tab.type(form)  # well-formed; there is no such agent, so nobody answers
            expect(tab.answers("Not sent")).to_have_count(0)

            tab.type(everyone)
            expect(tab.answers("Host").last).to_contain_text("/Host.shell_command command:string")
            expect(tab.answers("Chatty").last).to_contain_text("say something to Chatty")

            tab.type(one)
            expect(tab.answers("Host").last).to_contain_text("/Host.read_file file_path:string")

            tab.type(shell)
            assert "User" in program.expect("Allow this? [y/N] ")
            program.type("y\n")
            expect(tab.answers("Host").last).to_contain_text("Hello from the host")

            tab.type(model)
            question = program.expect("Allow this? [y/N] ")
            assert '  | from       "FunctionAI"\r\n  | led to by  "User"\r\n' in question
            program.type("y\n")
            expect(tab.answers("FunctionAI").last).to_contain_text("There is a program.")
            asked = [server.asked() for _ in range(2)][-1]
            assert "program.py" in str(asked.messages[-1])
        program.press_ctrl_c()
        assert program.wait() == 130


def test_the_agent_of_the_page_declares_its_actions_as_shown() -> None:
    demo = ROOT / "examples" / "demo"
    chatty = (demo / "agents" / "chatty_ai.py").read_text(encoding="utf-8")
    host = (demo / "agents" / "host.py").read_text(encoding="utf-8")
    shown = [block.code for block in WALKTHROUGH.blocks if block.code.startswith("@action")]
    say, shell = (code.splitlines() for code in shown)
    assert all(line in chatty for line in say)
    assert all(line.removesuffix(" ...") in host for line in shell)

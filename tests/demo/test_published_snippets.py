"""The published snippets, to the letter, with the demo's own agents in place of stand-ins.

What spaces make of the snippets is seen in `tests/docs/test_seed_snippets.py`, where they come from; the walkthrough's
whole program is in `test_walkthrough.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agency import AMQPSpace
from tests.demo import torch_on_cpu
from tests.demo.conftest import Programs
from tests.demo.terminal_program import PATIENCE, TerminalProgram
from tests.docs.test_seed_snippets import (
    AMQP_CHATTY,
    AMQP_CHATTY_KEPT_ALIVE,
    AMQP_HOST,
    AMQP_HOST_KEPT_ALIVE,
    LOCAL,
    LOCAL_WITH,
)

IMPORTS = """
import time
from agency import AMQPSpace, LocalSpace
from agents.chatty_ai import ChattyAI
from agents.host import Host
"""

TELLING = """
class Telling:
    def after_add(self):
        super().after_add()
        print(self.id, "is in the space", flush=True)

class Host(Telling, Host): pass
class ChattyAI(Telling, ChattyAI): pass
"""

USE = """
print(space.join("me").proxy("Host").shell_command(command="echo At your service"))
"""

MODEL = "EleutherAI/gpt-neo-125m"

# In the folder in which the model is found by its name, as it would be in the hub's cache.
START = "import os, runpy; os.chdir({!r}); runpy.run_path({!r}, run_name='__main__')"

pytestmark = pytest.mark.timeout(180)


def start(programs: Programs, folder: Path, name: str, text: str) -> TerminalProgram:
    (folder / name).write_text(IMPORTS + text, encoding="utf-8")
    return programs.start("-c", START.format(str(folder), name), HF_HUB_OFFLINE="1")


def test_a_host_in_a_local_space_can_be_used(programs: Programs, tmp_path: Path) -> None:
    program = start(programs, tmp_path, "local.py", LOCAL + USE)
    assert '  | from    "me"\r\n' in program.expect("Allow this? [y/N] ")
    program.type("y\n")
    program.expect("At your service")
    program.press_ctrl_c()
    assert program.wait() == 130


def test_a_with_block_around_a_host_ends(programs: Programs, tmp_path: Path) -> None:
    program = start(programs, tmp_path, "local_with.py", LOCAL_WITH)
    assert program.wait() == 0
    assert program.output == ""


@pytest.mark.broker
@pytest.mark.usefixtures("amqp")
@pytest.mark.parametrize(
    ("host_app", "chatty_app"),
    [(AMQP_HOST, AMQP_CHATTY), (AMQP_HOST_KEPT_ALIVE, AMQP_CHATTY_KEPT_ALIVE)],
    ids=["ending after add", "kept alive"],
)
def test_host_and_chatty_in_two_applications_can_be_used_from_a_third(
    host_app: str, chatty_app: str, programs: Programs, tmp_path: Path
) -> None:
    torch_on_cpu.needed()
    from tests.demo.tiny_models import make_base_model

    make_base_model(tmp_path / MODEL)
    host = start(programs, tmp_path, "host.py", TELLING + host_app)
    chatty = start(programs, tmp_path, "chatty.py", TELLING + chatty_app)
    host.expect("Host is in the space")
    chatty.expect("Chatty is in the space")
    with AMQPSpace() as space:
        person = space.join("User")
        command = {"name": "shell_command", "args": {"command": "echo At your service"}}
        person.send({"to": "Host", "action": command})
        host.expect("Allow this? [y/N] ")
        host.type("y\n")
        assert person.receive(PATIENCE)["action"]["args"]["data"] == "At your service\n"
        person.send({"to": "Chatty", "action": {"name": "say", "args": {"content": "Hello"}}})
        said = [person.receive(PATIENCE)]
        while "I am still loading" in said[-1]["action"]["args"]["content"]:
            said.append(person.receive(PATIENCE))
        assert said[-1]["from"] == "Chatty"
        assert "I cannot" not in said[-1]["action"]["args"]["content"]
    for program in [host, chatty]:
        program.press_ctrl_c()
        assert program.wait() == 130

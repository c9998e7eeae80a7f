"""The snippets of the founding documents run as they were written.

They come from two generations of one API: agents are added built (`space.add(Host("Host"))`) or to be built
(`space.add(Host, "Host")`), and programs keep themselves alive or simply end. All of it works, on every space.
`Host` and `ChattyAI` are stand-ins of a few lines; everything else is copied to the letter.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from agency import AMQPOptions, NativeSpace
from tests.broker import BrokerAddress
from tests.programs import Program

IMPORTS = """
import time
from agency import *
"""

AGENTS = """
import sys

from agency import ACCESS_REQUESTED, Agent, action

def tell(*words):
    sys.stdout.write(" ".join(words) + "\\n")  # in one piece: agents speak at the same time
    sys.stdout.flush()

class Talker(Agent):
    def after_add(self):
        tell(self.id, "is there")
        self.send({"to": "*", "action": {"name": "say", "args": {"content": "Hello"}}})

    @action
    def say(self, content: str):
        '''Use this action to say something to Chatty'''
        tell(self.id, "hears", self._current_message["from"], "say", content)
        response_content = "Hello back"
        if content != response_content and self._current_message["from"] != self.id:
            self.send({
                "to": self._current_message['from'],
                "action": {
                    "name": "say",
                    "args": {
                        "content": response_content,
                    }
                }
            })

    def before_remove(self):
        tell(self.id, "leaves")

class Host(Talker):
    pass

class ChattyAI(Talker):
    def __init__(self, id, model):
        super().__init__(id)
        assert model == "EleutherAI/gpt-neo-125m"
"""

LOCAL = """
space = LocalSpace()
space.add(Host, "Host")
...
"""

LOCAL_WITH = """
with LocalSpace() as space:
    space.add(Host, "Host")
    ...
"""

NATIVE = """
space = NativeSpace()
space.add(ChattyAI("Chatty", model="EleutherAI/gpt-neo-125m"))
"""

NATIVE_WALKTHROUGH = """

# Create a space
space = NativeSpace()

# Add a simple HF based chat agent to the space
space.add(
    ChattyAI("Chatty",
             model="EleutherAI/gpt-neo-125m"))

# Add a host agent to the space, exposing access to the host system
space.add(Host("Host"))
"""

AMQP_HOST = """
if __name__ == '__main__':

    # Create a space
    space = AMQPSpace()

    # Add a host agent to the space
    space.add(Host, "Host")

"""

AMQP_CHATTY = """
if __name__ == '__main__':

    # Create a space
    space = AMQPSpace()

    # Add a simple HF based chat agent to the space
    space.add(ChattyAI, "Chatty",
              model="EleutherAI/gpt-neo-125m")

"""

AMQP_HOST_KEPT_ALIVE = """
if __name__ == '__main__':

    # Create a space
    space = AMQPSpace()

    # Add a host agent to the space
    space.add(Host("Host"))

    # keep alive
    while True:
        time.sleep(1)
"""

AMQP_CHATTY_KEPT_ALIVE = """
if __name__ == '__main__':

    # Create a space
    space = AMQPSpace()

    # Add a simple HF based chat agent to the space
    space.add(
        ChattyAI("Chatty",
                 model="EleutherAI/gpt-neo-125m"))

    # keep alive
    while True:
        time.sleep(1)
"""


@pytest.fixture(params=["in a module", "in the program"])
def definitions(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the stand-ins are defined, as the beginning of a program."""
    if request.param == "in the program":
        return AGENTS + IMPORTS
    (tmp_path / "agents.py").write_text(AGENTS)
    return "from agents import ChattyAI, Host" + IMPORTS


@pytest.fixture
def amqp(broker: BrokerAddress) -> dict[str, str]:
    """The environment of applications that have a virtual host for themselves, as the seeds name it."""
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"seeds-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    return {
        "AMQP_HOST": broker.host,
        "AMQP_PORT": str(broker.port),
        "AMQP_USERNAME": broker.username,
        "AMQP_PASSWORD": broker.password,
        "AMQP_VHOST": vhost,
    }


def written(folder: Path, name: str, text: str) -> Path:
    program = folder / name
    program.write_text(text)
    return program


def ends_like_a_program_that_got_ctrl_c(program: Program, agent_id: str) -> None:
    program.interrupt()
    assert program.end() == 130
    assert f"{agent_id} leaves\n" in program.output
    assert "Traceback" not in program.output


@pytest.mark.parametrize("snippet", [LOCAL, NATIVE, NATIVE_WALKTHROUGH])
def test_a_program_that_only_adds_agents_keeps_serving(
    snippet: str, definitions: str, tmp_path: Path
) -> None:
    with Program(written(tmp_path, "app.py", definitions + snippet)) as program:
        agent_id = "Chatty" if "Chatty" in snippet else "Host"
        program.wait_for(f"{agent_id} hears {agent_id} say Hello")
        ends_like_a_program_that_got_ctrl_c(program, agent_id)


def test_the_agents_of_the_walkthrough_talk_to_each_other(tmp_path: Path) -> None:
    with Program(written(tmp_path, "app.py", AGENTS + IMPORTS + NATIVE_WALKTHROUGH)) as program:
        program.wait_for("Host hears Chatty say Hello back")
        ends_like_a_program_that_got_ctrl_c(program, "Chatty")


def test_a_with_block_cleans_up_at_its_end(definitions: str, tmp_path: Path) -> None:
    with Program(written(tmp_path, "app.py", definitions + LOCAL_WITH)) as program:
        assert program.end() == 0
    assert program.output.startswith("Host is there\n")
    assert program.output.endswith("Host leaves\n")


@pytest.mark.broker
@pytest.mark.parametrize("order", ["host first", "chatty first"])
@pytest.mark.parametrize(
    ("host_app", "chatty_app"),
    [(AMQP_HOST, AMQP_CHATTY), (AMQP_HOST_KEPT_ALIVE, AMQP_CHATTY_KEPT_ALIVE)],
    ids=["ending after add", "kept alive"],
)
def test_two_applications_on_one_amqp_server_talk_to_each_other(
    host_app: str, chatty_app: str, order: str, amqp: dict[str, str], tmp_path: Path
) -> None:
    programs = {
        "Host": written(tmp_path, "host.py", AGENTS + IMPORTS + host_app),
        "Chatty": written(tmp_path, "chatty.py", AGENTS + IMPORTS + chatty_app),
    }
    first, second = ("Host", "Chatty") if order == "host first" else ("Chatty", "Host")
    with Program(programs[first], env=amqp) as one:
        one.wait_for(f"{first} hears {first} say Hello")
        with Program(programs[second], env=amqp) as other:
            one.wait_for(f"{first} hears {second} say Hello")
            other.wait_for(f"{second} hears {first} say Hello back")
            ends_like_a_program_that_got_ctrl_c(other, second)
        ends_like_a_program_that_got_ctrl_c(one, first)


@pytest.mark.broker
def test_two_applications_cannot_have_agents_of_the_same_id(
    amqp: dict[str, str], tmp_path: Path
) -> None:
    app = written(tmp_path, "host.py", AGENTS + IMPORTS + AMQP_HOST)
    with Program(app, env=amqp) as first:
        first.wait_for("Host hears Host say Hello")
        with Program(app, env=amqp) as second:
            assert second.end() == 1
        assert "AgentIdInUse" in second.output
        ends_like_a_program_that_got_ctrl_c(first, "Host")


def test_the_amqp_options_are_taken_as_documented() -> None:
    options = AMQPOptions(
        hostname="localhost",
        port=5672,
        username="guest",
        password="guest",
        virtual_host="/",
        use_ssl=True,
        heartbeat=60)  # fmt: skip
    assert options.addresses() == (("localhost", 5672),)
    assert (options.username, options.virtual_host, options.heartbeat) == ("guest", "/", 60)


@pytest.mark.broker
def test_given_amqp_options_replace_the_environment(broker: BrokerAddress, tmp_path: Path) -> None:
    snippet = f"""
space = AMQPSpace(
    amqp_options=AMQPOptions(
        hostname={broker.host!r},
        port={broker.port},
        username={broker.username!r},
        password={broker.password!r},
        virtual_host={broker.vhost!r},
        use_ssl=False,
        heartbeat=60), exchange="seeds-{uuid.uuid4().hex}")
space.add(Host, "Host")
"""
    with Program(
        written(tmp_path, "host.py", AGENTS + IMPORTS + snippet),
        env={"AMQP_HOST": "nowhere.invalid", "AMQP_PORT": "1"},
    ) as program:
        program.wait_for("Host hears Host say Hello")
        ends_like_a_program_that_got_ctrl_c(program, "Host")


AGENT = '''
from agency import *

class MyAgent(Agent):
    @action
    def shell_command(self, command: str) -> str:
        """
        Execute a shell command

        Args:
            command (str): The command to execute

        Returns:
            str: The output of the command
        """

    @action(
        help={
          "You": "can define",
          "any": {
            "structure": ["you", "want", "here."]
          }
        }
    )
    def say(self, content: str) -> None:
        """Replaced by the object above"""

    @action(access_policy=ACCESS_PERMITTED)
    def my_action(self):
        ...

    @action
    def add(self, a: int, b: int) -> int:
        return a + b

    @action(access_policy=ACCESS_REQUESTED)
    def dangerous(self, what: str) -> str:
        return what

    def request_permission(self, proposed_message: dict) -> bool:
        return proposed_message["action"]["args"]["what"] == "harmless"
'''


@pytest.fixture
def my_agent_class() -> Any:
    names: dict[str, Any] = {"__name__": "seeds"}
    exec(compile(AGENT, "seeds", "exec"), names)  # noqa: S102  # the documents' text is what is tested
    return names["MyAgent"]


def test_help_is_exactly_the_documented_object(my_agent_class: Any) -> None:
    with NativeSpace() as space:
        space.add(my_agent_class("MyAgent", receive_own_broadcasts=False))
        agent = space.join().proxy("MyAgent")
        assert agent.help(action_name="shell_command") == {
            "shell_command": {
                "description": "Execute a shell command",
                "args": {"command": {"type": "string", "description": "The command to execute"}},
                "returns": {"type": "string", "description": "The output of the command"},
            }
        }
        assert agent.help(action_name="say") == {
            "say": {"You": "can define", "any": {"structure": ["you", "want", "here."]}}
        }
        assert list(agent.help()) == ["shell_command", "say", "my_action", "add", "dangerous"]


def test_a_message_with_an_id_is_answered_by_exactly_the_documented_response(
    my_agent_class: Any,
) -> None:
    with NativeSpace() as space:
        space.add(my_agent_class, "calculator_agent")
        my_agent = space.join("my_agent")
        my_agent.send({
            "id": "a custom message id",
            "to": "calculator_agent",
            "action": {
                "name": "add",
                "args": {
                    "a": 1,
                    "b": 2
                }
            }
        })  # fmt: skip
        assert my_agent.receive() == {
            "from": "calculator_agent",
            "to": "my_agent",
            "action": {
                "name": "response",
                "args": {"data": 3, "original_message_id": "a custom message id"},
            },
        }


def test_thoughts_and_timestamps_travel_in_meta() -> None:
    with NativeSpace() as space:
        my_agent, sender = space.join("my_agent"), space.join("sender")
        message = {
            "meta": {
                "thoughts": "I should say hello to everyone",
                "timestamp": 12345,
            },
            "to": "my_agent",
            "action": {
                "name": "say",
                "args": {
                    "content": "Hello, world!"
                }
            }
        }  # fmt: skip
        sender.send(message)
        assert my_agent.receive() == {**message, "from": "sender"}


def test_permission_is_asked_for_and_a_refusal_is_a_permission_error(my_agent_class: Any) -> None:
    with NativeSpace() as space:
        space.add(my_agent_class("MyAgent"))
        agent = space.join().proxy("MyAgent")
        assert agent.dangerous(what="harmless") == "harmless"
        with pytest.raises(PermissionError, match=r'"MyAgent.dangerous" not permitted'):
            agent.dangerous(what="rm -rf /")


def test_what_does_not_exist_is_silence_or_an_error_as_documented(my_agent_class: Any) -> None:
    with NativeSpace() as space:
        space.add(my_agent_class("MyAgent"))
        me = space.join("me")
        me.send({"to": "nobody", "action": {"name": "say", "args": {}}})
        me.send({"to": "*", "action": {"name": "no_such_action", "args": {}}})
        me.send({"to": "MyAgent", "action": {"name": "no_such_action", "args": {}}})
        assert me.receive()["action"] == {
            "name": "error",
            "args": {
                "error": '"no_such_action" not found on "MyAgent"',
                "original_message_id": None,
            },
        }
        assert list(me.received()) == []

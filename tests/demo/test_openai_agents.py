"""The agents on an OpenAI-compatible endpoint: against a real server on this machine that follows a script."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency import (
    ACCESS_REQUESTED,
    Agent,
    AMQPOptions,
    AMQPSpace,
    LocalSpace,
    NativeSpace,
    Space,
    action,
)
from agency.guest import Guest
from agents.openai_agent import OpenAIAgent
from agents.openai_completion_agent import OpenAICompletionAgent
from agents.openai_function_agent import OpenAIFunctionAgent
from agents.tools import tool_name, tools_from
from tests.broker import BrokerAddress
from tests.demo.openai_server import (
    PATIENCE,
    Asked,
    BreakOff,
    Calls,
    OpenAIServer,
    Pause,
    Refusal,
    Words,
)


class Calculator(Agent):
    @action
    def add(self, a: int, b: int = 1) -> int:
        """Add two numbers.

        Args:
            a: The first number
            b: The second number

        Returns:
            The sum
        """
        return a + b

    @action
    def divide(self, a: float, b: float) -> float:
        """Divide a number by another."""
        return a / b

    @action
    def count(self, to: int) -> Iterator[int]:
        """Count."""
        yield from range(1, to + 1)


class Guarded(Agent):
    @action(access_policy=ACCESS_REQUESTED)
    def shell_command(self, command: str) -> str:
        raise AssertionError("it was not permitted")

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        return False


class Gate(Agent):
    """An agent that is busy for as long as the test wants."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.entered = threading.Event()
        self.opened = threading.Event()

    @action
    def wait(self) -> str:
        self.entered.set()
        self.opened.wait(PATIENCE)
        return "open"


class Answers(Agent):
    """Answers with `say`, as ChattyAI does."""

    @action
    def say(self, content: str) -> None:
        message = self._current_message
        assert message is not None
        self.send(
            {
                "to": message["from"],
                "action": {"name": "say", "args": {"content": f"You said: {content}"}},
            }
        )


class OldFashioned(Agent):
    """Its `help` knows no formats, like that of a member from elsewhere."""

    def help(self, action_name: str | None = None) -> dict[str, Any]:  # type: ignore[override]
        return {
            "greet": {
                "description": "Greet somebody",
                "args": {"name": {"type": "string", "description": "Whom"}, "mood": {}},
            }
        }

    @action
    def greet(self, name: str) -> str:
        return f"Good morning, {name}!"


def say(content: str, **meta: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"to": "AI", "action": {"name": "say", "args": {"content": content}}}
    return {**message, "meta": meta} if meta else message


def told(user: Guest) -> str:
    """What the user is told next."""
    message = user.receive(PATIENCE)
    assert message["action"]["name"] == "say", message
    content: str = message["action"]["args"]["content"]
    return content


def results(asked: Asked) -> list[Any]:
    """What came of the calls of the round before, as the model is told."""
    return [
        json.loads(message["content"]) for message in asked.messages if message["role"] == "tool"
    ]


Start = Callable[..., tuple[Space, Guest]]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def start(server: OpenAIServer) -> Iterator[Start]:
    """Starts a space with these agents, the agent "AI" at the server, and the person "User"."""
    with contextlib.ExitStack() as running:

        def start(
            *others: Agent, kind: type[OpenAIAgent] = OpenAIFunctionAgent, **options: Any
        ) -> tuple[Space, Guest]:
            space = running.enter_context(NativeSpace())
            for other in others:
                space.add(other)
            settings = {
                "model": "scripted",
                "openai_api_key": "secret-key",
                "user_id": "User",
                "base_url": server.url,
                "endpoint_retries": 0,
            }
            user = space.join("User")
            space.add(kind, "AI", **{**settings, **options})
            return space, user

        yield start


# Talking


def test_the_user_has_the_users_role_and_is_answered_with_say(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Words("Hello, ", "person."))
    _, user = start()
    user.send(say("Hi"))
    assert told(user) == "Hello, person."
    asked = server.asked()
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer secret-key"
    assert asked.body["model"] == "scripted"
    assert asked.messages == [{"role": "user", "content": "Hi"}]
    assert '"User", your user' in asked.body["messages"][0]["content"]


def test_what_is_said_to_everyone_is_answered_too(server: OpenAIServer, start: Start) -> None:
    server.will(Words("Hello!"))
    _, user = start()
    user.send({**say("Hello, everyone"), "to": "*"})
    assert told(user) == "Hello!"


def test_the_model_is_reminded_of_what_was_said_before(server: OpenAIServer, start: Start) -> None:
    server.will(Words("One."), Words("Two."), Words("Three."))
    _, user = start(remembered=1)
    for content in ("1", "2", "3"):
        user.send(say(content))
        told(user)
    assert [message["content"] for message in server.asked().messages] == ["1"]
    assert [message["content"] for message in server.asked().messages] == ["1", "One.", "2"]
    assert [message["content"] for message in server.asked().messages] == ["2", "Two.", "3"]


def test_another_agent_is_not_the_user_and_gets_the_answer_as_a_value(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Words("I am well."), Words("Hello, person."))
    space, user = start()
    other = space.join("Other")
    assert other.request(say("How are you?"), timeout=PATIENCE) == "I am well."
    user.send(say("Hi"))
    told(user)
    assert '"Other", another agent, not your user' in server.asked().body["messages"][0]["content"]
    assert server.asked().messages == [{"role": "user", "content": "Hi"}]
    assert list(other.received()) == []


def test_an_answer_grows_for_those_who_ask_to_see_it_grow(
    server: OpenAIServer, start: Start
) -> None:
    slow = Pause("Once upon ", "a time.")
    server.will(slow)
    _, user = start()
    user.send(say("A story, please", stream=True))
    first = user.receive(PATIENCE)
    assert first["action"]["args"] == {"content": "Once upon"}
    assert first["meta"]["stream"]["end"] is False
    slow.go_on.set()
    later = user.receive(PATIENCE)
    while not later["meta"]["stream"]["end"]:
        later = user.receive(PATIENCE)
    assert later["action"]["args"] == {"content": "Once upon a time."}
    assert later["meta"]["stream"]["id"] == first["meta"]["stream"]["id"]


def test_those_who_do_not_ask_are_told_the_whole_answer_once(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Words("One ", "two ", "three."), Words("Four."))
    _, user = start()
    user.send(say("Count"))
    message = user.receive(PATIENCE)
    assert message["action"]["args"] == {"content": "One two three."}
    assert "meta" not in message
    user.send(say("Go on"))
    assert told(user) == "Four."


def test_while_the_endpoint_is_slow_the_agent_answers_help_and_talks_with_others(
    server: OpenAIServer, start: Start
) -> None:
    slow = Pause("Well", ".")
    server.will(slow, Words("Quickly."))
    space, user = start()
    user.send(say("Think hard"))
    server.asked()
    other = space.join("Other")
    question = {"to": "AI", "action": {"name": "help"}}
    assert "say" in other.request(question, timeout=PATIENCE)
    assert other.request(say("Now"), timeout=PATIENCE) == "Quickly."
    assert list(user.received()) == []
    slow.go_on.set()
    assert told(user) == "Well."


def test_it_leaves_at_once_while_the_endpoint_is_slow(
    server: OpenAIServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Pause("Well", ".")
    server.will(slow)
    space, user = start()
    user.send(say("Think hard"))
    server.asked()
    space.remove("AI")
    words = [message["action"]["args"]["content"] for message in user.received()]
    assert words[-1] == "I have to leave before I can answer that."
    assert not [record for record in caplog.records if record.name.startswith("agency")]
    slow.go_on.set()


# Actions


def test_actions_of_others_are_offered_with_their_full_schema(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Words("Fine."))
    _, user = start(Calculator("Calculator"))
    user.send(say("Hi"))
    told(user)
    tools = server.asked().tools
    assert set(tools) == {"Calculator-add", "Calculator-divide", "Calculator-count"}
    assert tools["Calculator-add"]["parameters"] == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "The first number"},
            "b": {"type": "integer", "description": "The second number", "default": 1},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    description = tools["Calculator-add"]["description"]
    assert description == (
        'Action "add" of the agent "Calculator". Add two numbers. Returns: The sum'
    )


def test_several_calls_in_a_turn_are_made_and_their_values_used(
    server: OpenAIServer, start: Start
) -> None:
    calls: list[tuple[str, Any]] = [
        ("Calculator-add", {"a": 20, "b": 22}),
        ("Calculator-count", {"to": 3}),
    ]
    server.will(Calls(calls, words="Let me see."), Words("It is 42."))
    _, user = start(Calculator("Calculator"))
    user.send(say("What is 20 + 22?"))
    assert told(user) == "Let me see."
    assert told(user) == "It is 42."
    server.asked()
    asked = server.asked()
    assert results(asked) == [{"result": 42}, {"result": [1, 2, 3]}]
    spoken = asked.messages[1]
    assert spoken["content"] == "Let me see."
    assert [call["id"] for call in spoken["tool_calls"]] == ["id-0", "id-1"]
    assert [message["tool_call_id"] for message in asked.messages[2:]] == ["id-0", "id-1"]


def test_what_fails_is_refused_or_does_not_exist_is_told_to_the_model(
    server: OpenAIServer, start: Start
) -> None:
    calls: list[tuple[str, Any]] = [
        ("Calculator-divide", {"a": 1, "b": 0}),
        ("Calculator-add", {"a": "many"}),
        ("Calculator-add", "{oops"),
        ("Calculator-add", "[1, 2]"),
        ("Guarded-shell_command", {"command": "ls"}),
        ("Nobody-nothing", {}),
    ]
    server.will(Calls(calls), Words("I am sorry."))
    _, user = start(Calculator("Calculator"), Guarded("Guarded"))
    user.send(say("Do your worst"))
    assert told(user) == "I am sorry."
    server.asked()
    errors = [result["error"] for result in results(server.asked())]
    assert errors[0].startswith("ZeroDivisionError")
    assert 'argument "a"' in errors[1]
    assert errors[2].startswith("the arguments are not JSON")
    assert errors[3].startswith("action.args")
    assert errors[4] == '"Guarded.shell_command" not permitted'
    assert errors[5] == "there is no tool 'Nobody-nothing'"


def test_the_rounds_of_a_turn_are_bounded(server: OpenAIServer, start: Start) -> None:
    again = Calls([("Calculator-add", {"a": 1})])
    server.will(again, again, again)
    _, user = start(Calculator("Calculator"), max_rounds=2)
    user.send(say("For ever, please"))
    assert told(user) == "I have used actions 2 times, and stop here."
    choices = [server.asked().body["tool_choice"] for _ in range(3)]
    assert choices == ["auto", "auto", "none"]
    assert server.asked_nothing_more()


def test_what_an_agent_says_back_is_the_result_of_speaking_to_it(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Calls([("Parrot-say", {"content": "Hello"})]), Words("It repeats."))
    _, user = start(Answers("Parrot"))
    user.send(say("Talk to the parrot"))
    assert told(user) == "It repeats."
    server.asked()
    assert results(server.asked()) == [{"said": ["You said: Hello"]}]
    assert server.asked_nothing_more()


def test_newcomers_are_offered_and_those_who_left_are_not(
    server: OpenAIServer, start: Start
) -> None:
    server.will(*[Words("Fine.")] * 3)
    space, user = start()
    user.send(say("1"))
    told(user)
    space.add(Calculator("Calculator"))
    user.send(say("2"))
    told(user)
    space.remove("Calculator")
    user.send(say("3"))
    told(user)
    counts = [len(server.asked().tools) for _ in range(3)]
    assert counts == [0, 3, 0]


def test_an_agent_that_is_busy_is_not_forgotten(server: OpenAIServer, start: Start) -> None:
    server.will(Words("Fine."), Words("Fine."))
    gate = Gate("Gate")
    _, user = start(gate)
    user.send(say("1"))
    told(user)
    try:
        user.proxy("Gate").wait.send()
        assert gate.entered.wait(PATIENCE)
        user.send(say("2"))
        assert told(user) == "Fine."
    finally:
        gate.opened.set()
    server.asked()
    assert set(server.asked().tools) == {"Gate-wait"}


def test_an_agent_whose_help_knows_no_formats_is_offered_all_the_same(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Calls([("Old-greet", {"name": "you"})]), Words("Greeted."))
    _, user = start(OldFashioned("Old"))
    user.send(say("Greet me"))
    assert told(user) == "Greeted."
    tool = server.asked().tools["Old-greet"]
    assert tool["parameters"] == {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "Whom"}, "mood": {}},
    }
    assert results(server.asked()) == [{"result": "Good morning, you!"}]


def test_it_works_from_a_process_of_its_own(server: OpenAIServer) -> None:
    server.will(Calls([("Calculator-add", {"a": 1, "b": 2})]), Words("3"))
    with LocalSpace() as space:
        space.add(Calculator, "Calculator")
        user = space.join("User")
        space.add(OpenAIFunctionAgent, "AI", "scripted", "key", "User", base_url=server.url)
        user.send(say("1 + 2?"))
        assert told(user) == "3"
    server.asked()
    assert results(server.asked()) == [{"result": 3}]


@pytest.mark.broker
@pytest.mark.timeout(120)
def test_person_model_and_calculator_find_each_other_through_a_broker(
    server: OpenAIServer, broker: BrokerAddress
) -> None:
    server.will(Calls([("Calculator-add", {"a": 1, "b": 2})]), Words("3"), Words("Alone."))
    options = AMQPOptions(
        hostname=broker.host,
        port=broker.port,
        username=broker.username,
        password=broker.password,
        virtual_host=broker.vhost,
    )
    exchange = uuid.uuid4().hex
    with (
        AMQPSpace(amqp_options=options, exchange=exchange) as here,
        AMQPSpace(amqp_options=options, exchange=exchange) as there,
    ):
        there.add(Calculator("Calculator"))
        there.add(OpenAIFunctionAgent("AI", "scripted", "key", "User", base_url=server.url))
        user = here.join("User")
        user.send(say("1 + 2?"))
        assert told(user) == "3"
        there.remove("Calculator")
        user.send(say("Who is left?"))
        assert told(user) == "Alone."
    server.asked()
    assert results(server.asked()) == [{"result": 3}]
    assert server.asked().tools == {}


# Names of tools


@given(st.text(min_size=1, max_size=255), st.text(min_size=1, max_size=255))
def test_every_action_has_a_name_that_endpoints_accept(agent_id: str, action_name: str) -> None:
    name = tool_name(agent_id, action_name)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)
    assert name == tool_name(agent_id, action_name)


_parts = st.text("ab-_.ä", min_size=1, max_size=4) | st.text("a-", min_size=60, max_size=64)


@given(st.tuples(_parts, _parts), st.tuples(_parts, _parts))
def test_different_actions_have_different_names(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert (tool_name(*one) == tool_name(*two)) == (one == two)


def test_a_plain_action_has_a_plain_name() -> None:
    assert tool_name("Host", "shell_command") == "Host-shell_command"
    assert tool_name("my-host", "shell_command") == "my-host-shell_command"


def test_odd_help_does_not_spoil_the_rest() -> None:
    odd: dict[str, Any] = {
        "one": "just text",
        "two": {"parameters": {"type": "string", "properties": []}},
        "three": {"args": {"a b": {"type": "string"}}},
        "four": {"args": {"a": {"type": "strange", "description": "A"}, "b": "text"}},
        "five": {"description": "x" * 5000},
    }
    tools = tools_from({"Odd": odd})
    assert set(tools) == {"Odd-one", "Odd-four", "Odd-five"}
    assert tools["Odd-four"].parameters["properties"] == {"a": {"description": "A"}, "b": {}}
    assert len(tools["Odd-five"].description) <= 1024


def test_no_more_tools_are_offered_than_an_endpoint_takes() -> None:
    many: dict[str, Any] = {f"action{number}": {"args": {}} for number in range(200)}
    assert len(tools_from({"Many": many})) == 128


# When the endpoint does not answer as it should


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Refusal(401, "Incorrect key: secret-key"), "My key is not accepted"),
        (Refusal(404, "no such model"), "My model `scripted` is not known"),
        (Refusal(429, "slow down"), "too often"),
        (Refusal(500, "oh"), "An error (500) came"),
        (BreakOff("I was going to"), "hung up"),
    ],
    ids=["key", "model", "quota", "fault", "break"],
)
def test_what_goes_wrong_at_the_endpoint_is_said_in_the_chat(
    server: OpenAIServer, start: Start, answer: Any, words: str
) -> None:
    server.will(answer, Words("I am back."))
    _, user = start()
    user.send(say("Hi"))
    text = told(user)
    if isinstance(answer, BreakOff):
        assert text == answer.before
        text = told(user)
    assert words in text
    assert "secret-key" not in text
    user.send(say("Again"))
    assert told(user) == "I am back."
    server.asked()
    assert [message["content"] for message in server.asked().messages] == ["Again"]


def test_a_conversation_that_is_too_long_is_begun_anew(server: OpenAIServer, start: Start) -> None:
    server.will(Words("One."), Refusal(400, "too many tokens"), Words("Three."))
    _, user = start()
    user.send(say("1"))
    told(user)
    user.send(say("2"))
    assert "I have forgotten what we said before" in told(user)
    user.send(say("3"))
    assert told(user) == "Three."
    for _ in range(2):
        server.asked()
    assert [message["content"] for message in server.asked().messages] == ["3"]


def test_another_agent_gets_what_goes_wrong_as_an_error(server: OpenAIServer, start: Start) -> None:
    server.will(Refusal(500, "oh"))
    space, _ = start()
    other = space.join("Other")
    with pytest.raises(Exception, match=r"An error \(500\) came"):
        other.request(say("Hi"), timeout=PATIENCE)


def test_an_overloaded_endpoint_is_asked_again(server: OpenAIServer, start: Start) -> None:
    server.will(Refusal(503, "busy", {"retry-after-ms": "1"}), Words("At last."))
    _, user = start(endpoint_retries=1)
    user.send(say("Hi"))
    assert told(user) == "At last."


def test_an_endpoint_that_keeps_silent_is_given_up(server: OpenAIServer, start: Start) -> None:
    silent = Pause("", "")
    server.will(silent)
    _, user = start(endpoint_timeout=0.3)
    try:
        user.send(say("Hi"))
        assert "No answer came in time" in told(user)
    finally:
        silent.go_on.set()


def test_an_endpoint_that_is_not_there_is_named_without_its_password(
    start: Start,
) -> None:
    with OpenAIServer() as other:
        gone = other.url
    _, user = start(base_url=gone.replace("http://", "http://me:password@"))
    user.send(say("Hi"))
    text = told(user)
    assert "I have no connection to the endpoint at 127.0.0.1:" in text
    assert "password" not in text


def test_without_a_key_it_joins_and_says_what_it_needs(start: Start) -> None:
    _, user = start(openai_api_key=None, base_url=None)
    user.send(say("Hi"))
    assert "OPENAI_API_KEY" in told(user)


def test_key_and_endpoint_come_from_the_environment(
    server: OpenAIServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.will(Words("Hello."))
    _, user = start(openai_api_key=None, base_url=None)
    user.send(say("Hi"))
    assert told(user) == "Hello."
    assert server.asked().headers["authorization"] == "Bearer from-the-environment"


def test_an_endpoint_that_is_set_to_nothing_is_openai(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(PATIENCE)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("OPENAI_BASE_URL", "")
        _, user = start(base_url=None)
        user.send(say("Hi"))
        connection, _ = proxy.accept()
        with connection:
            assert connection.recv(100).startswith(b"CONNECT api.openai.com:443 ")
        assert told(user).startswith("I have no connection to OpenAI")


def test_an_endpoint_of_ones_own_needs_no_key(server: OpenAIServer, start: Start) -> None:
    server.will(Words("Hello."))
    _, user = start(openai_api_key=None)
    user.send(say("Hi"))
    assert told(user) == "Hello."


def test_a_model_that_has_no_words_is_not_silent(server: OpenAIServer, start: Start) -> None:
    server.will(Words(), Words("It was the", finish_reason="length"))
    _, user = start()
    user.send(say("Hi"))
    assert told(user) == "(The model has nothing to say to that.)"
    user.send(say("Go on"))
    assert told(user) == "It was the … (cut: it became too long)"


# A model that only continues texts


def test_a_completion_model_continues_the_conversation(server: OpenAIServer, start: Start) -> None:
    server.will(Words(" Hello,", " person.", "\n"), Words(" Fine."))
    _, user = start(Calculator("Calculator"), kind=OpenAICompletionAgent)
    user.send(say("Hi"))
    assert told(user) == "Hello, person."
    user.send(say("How are you?"))
    assert told(user) == "Fine."
    asked = server.asked()
    assert asked.path == "/v1/completions"
    assert "\n/Calculator.add a:... b:... (Add two numbers.)\n" in asked.body["prompt"]
    assert asked.body["prompt"].endswith("\n\nUser: Hi\nAI:")
    assert "\nUser:" in asked.body["stop"]
    assert (
        server.asked()
        .body["prompt"]
        .endswith("\n\nUser: Hi\nAI: Hello, person.\nUser: How are you?\nAI:")
    )


def test_a_completion_model_uses_actions_by_writing_commands(
    server: OpenAIServer, start: Start
) -> None:
    server.will(
        Words(" Let me see.\n", "/Calc", "ulator.add a:1", " b:2\nResult: 17"),
        Words(" /Calculator.divide a:1 b:0"),
        Words(" /Calculator.add a:"),
        Words(" /*.help"),
        Words(" It is 3."),
    )
    _, user = start(Calculator("Calculator"), kind=OpenAICompletionAgent)
    user.send(say("1 + 2?", stream=True))
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    finished: list[str] = []
    while len(finished) < 2:
        message = user.receive(PATIENCE)
        content = message["action"]["args"]["content"]
        said.put(content)
        if message["meta"]["stream"]["end"]:
            finished.append(content)
        assert "/" not in content
    assert finished == ["Let me see.", "It is 3."]
    for _ in range(4):
        server.asked()
    lines = server.asked().body["prompt"].split("\n\n")[-1].splitlines()
    assert lines[:4] == [
        "User: 1 + 2?",
        "AI: Let me see.",
        "AI: /Calculator.add a:1 b:2",
        'Result: {"result": 3}',
    ]
    assert lines[5].startswith('Result: {"error": "ZeroDivisionError')
    assert lines[7].startswith('Result: {"error": "not a command')
    assert lines[9].startswith('Result: {"error": "to: a request is to one agent')


def test_the_rounds_of_a_completion_model_are_bounded(server: OpenAIServer, start: Start) -> None:
    server.will(*[Words("/Calculator.add a:1 b:2")] * 2)
    _, user = start(Calculator("Calculator"), kind=OpenAICompletionAgent, max_rounds=1)
    user.send(say("For ever, please"))
    assert told(user) == "I have used actions 1 times, and stop here."
    server.asked()
    server.asked()
    assert server.asked_nothing_more()


def test_what_goes_wrong_with_a_completion_model_is_said_in_the_chat(
    server: OpenAIServer, start: Start
) -> None:
    server.will(Refusal(404, "no such model"))
    _, user = start(kind=OpenAICompletionAgent)
    user.send(say("Hi"))
    assert "is not known" in told(user)

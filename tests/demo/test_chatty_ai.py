"""ChattyAI, with real models: tiny ones that are made here, saved, and loaded as any other is."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from agency import Agent, LocalSpace, MissingExtra, NativeSpace, action
from agency.guest import Guest
from agents import chatty_ai, language_model
from agents.chatty_ai import ChattyAI
from agents.language_model import LanguageModel, Said
from agents.openai_completion_agent import OpenAICompletionAgent
from agents.openai_function_agent import OpenAIFunctionAgent
from tests.broker import free_port
from tests.demo import torch_on_cpu
from tests.demo.openai_server import PATIENCE, Calls, OpenAIServer, Words

pytestmark = pytest.mark.timeout(180)  # importing PyTorch takes a while on a busy machine

GREEDY = {"do_sample": False}


@pytest.fixture(scope="module", autouse=True)
def _transformers_is_imported() -> None:
    """Before any agent does so on a thread of its own: it cannot be imported by two at once."""
    if importlib.util.find_spec("torch") is not None:
        importlib.import_module("tests.demo.tiny_models")


@pytest.fixture(scope="session", autouse=True)
def _no_hub() -> Iterator[None]:
    """No test asks the hub, in this process or another."""
    torch_on_cpu.needed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


# What needs PyTorch is imported by the process that runs such a test, and not before.


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.demo.tiny_models import make_chat_model

    return str(make_chat_model(tmp_path_factory.mktemp("models") / "chat"))


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.demo.tiny_models import make_base_model

    return str(make_base_model(tmp_path_factory.mktemp("models") / "base"))


def say(content: str, to: str = "Chatty", **meta: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"to": to, "action": {"name": "say", "args": {"content": content}}}
    return {**message, "meta": meta} if meta else message


def told(user: Guest) -> str:
    """What the user is told next, except that the model is still being loaded."""
    while True:
        message = user.receive(PATIENCE)
        assert message["action"]["name"] == "say", message
        content: str = message["action"]["args"]["content"]
        if not content.startswith("I am still loading"):
            return content


class SlowModel:
    """A model that takes its time to load, and then repeats what it is told, with all that it remembers."""

    may_load = threading.Event()
    attempts = 0

    def __init__(self, name: str) -> None:
        type(self).attempts += 1
        assert self.may_load.wait(PATIENCE)
        if name == "broken":
            raise language_model.ModelUnavailable("I am broken.")

    def answer(
        self,
        content: str,
        *,
        before: tuple[Said, ...],
        say: Callable[[str], None],
        **options: Any,
    ) -> None:
        say(" | ".join([*(said.question for said in before), content]))


@pytest.fixture
def slow_model(monkeypatch: pytest.MonkeyPatch) -> type[SlowModel]:
    class Fresh(SlowModel):
        may_load = threading.Event()

    monkeypatch.setattr(chatty_ai, "LanguageModel", Fresh)
    return Fresh


@pytest.fixture(scope="module")
def foreign_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve`: another project's implementation of OpenAI's protocol, for models of ours."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    (folder / "hub").mkdir()
    program = Path(sys.executable).with_name("transformers")
    command = f"serve --device cpu --host 127.0.0.1 --port {port}".split()
    environment = {**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen([program, *command], stdout=log, stderr=log, env=environment) as server,
    ):
        try:
            end = time.monotonic() + 3 * PATIENCE
            while not is_up(port):
                assert time.monotonic() < end, (folder / "log").read_text()
                # Nothing says when it is up. What is waited for here is its end, or a while.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(0.2)
                    pytest.fail((folder / "log").read_text())
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


# The documented agent


def test_it_has_one_action_described_as_documented() -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model="no/model"))
        user = space.join("User")
        described = user.proxy("Chatty").help()
    assert list(described) == ["say"]
    assert described["say"]["description"] == "Use this action to say something to Chatty"
    assert list(described["say"]["args"]) == ["content"]
    assert described["say"]["args"]["content"]["type"] == "string"


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_a_conversation_with_a_real_model(kind: str, chat_model: str, base_model: str) -> None:
    with NativeSpace() as space:
        model = chat_model if kind == "chat" else base_model
        space.add(ChattyAI("Chatty", model=model, options=GREEDY))
        user = space.join("User")
        user.send(say("Hello"))
        assert told(user) == "Hello, how are you today?"
        user.send(say("I am fine"))
        assert told(user) == "That is good to hear."


def test_it_runs_in_a_process_of_its_own(chat_model: str) -> None:
    with LocalSpace() as space:
        space.add(ChattyAI, "Chatty", model=chat_model, options=GREEDY)
        user = space.join("User")
        user.send(say("Hello"))
        assert told(user) == "Hello, how are you today?"


def test_what_is_said_to_everyone_is_answered_to_the_one_who_said_it(chat_model: str) -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model=chat_model, options=GREEDY))
        other, user = space.join("Other"), space.join("User")
        user.send(say("Hello", to="*"))
        assert told(user) == "Hello, how are you today?"
        heard = [message["from"] for message in other.received()]
    assert heard == ["User"]


def test_an_answer_grows_word_by_word_for_those_who_ask_to_see_it_grow(
    chat_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.speech._BREATH", 0.0)
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model=chat_model, options=GREEDY))
        user = space.join("User")
        user.send(say("Hello"))
        told(user)
        user.send(say("What is the capital of France?", stream=True))
        views = [user.receive(PATIENCE)]
        while not views[-1]["meta"]["stream"]["end"]:
            views.append(user.receive(PATIENCE))
    contents = [view["action"]["args"]["content"] for view in views]
    assert contents[-1] == "The capital of France is Paris."
    assert len(contents) > 5
    assert all(after.startswith(before) for before, after in itertools.pairwise(contents))
    assert len({view["meta"]["stream"]["id"] for view in views}) == 1


def test_what_it_says_is_the_result_when_another_model_talks_to_it(
    chat_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with OpenAIServer() as server, NativeSpace() as space:
        space.add(ChattyAI("Chatty", model=chat_model, options=GREEDY))
        space.add(OpenAIFunctionAgent("AI", "scripted", base_url=server.url))
        user = space.join("User")
        user.send(say("Hello"))
        told(user)
        server.will(Calls([("Chatty-say", {"content": "Hello"})]), Words("It greets you."))
        user.send(say("What does Chatty say to Hello?", to="AI"))
        assert told(user) == "It greets you."
        server.asked()
        result = server.asked().messages[-1]["content"]
    assert result == '{"said": ["Hello, how are you today?"]}'


def test_the_function_agent_talks_with_a_foreign_server(
    chat_model: str, foreign_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with NativeSpace() as space:
        space.add(OpenAIFunctionAgent("AI", chat_model, base_url=foreign_server))
        user = space.join("User")
        user.send(say("Hello", to="AI", stream=True))
        views = [user.receive(PATIENCE)]
        while not views[-1]["meta"]["stream"]["end"]:
            views.append(user.receive(PATIENCE))
        assert views[-1]["action"]["args"]["content"] == "Hello, how are you today?"
        user.send(say("I am fine", to="AI"))
        assert told(user) == "That is good to hear."


def test_the_completion_agent_talks_with_a_foreign_server(
    foreign_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.demo.tiny_models import make_model_of_one_play

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with OpenAIServer(Words(" Pardon?")) as server, NativeSpace() as space:
        space.add(OpenAICompletionAgent("AI", "any", base_url=server.url))
        user = space.join("User")
        user.send(say("Hello", to="AI"))
        assert told(user) == "Pardon?"
        play = server.asked().body["prompt"]
    model = str(make_model_of_one_play(tmp_path, play, " Hello, how are you today?"))
    with NativeSpace() as space:
        space.add(OpenAICompletionAgent("AI", model, base_url=foreign_server))
        user = space.join("User")
        user.send(say("Hello", to="AI"))
        assert told(user) == "Hello, how are you today?"


# What was said before


def test_each_partner_has_a_bounded_conversation_of_its_own(slow_model: type[SlowModel]) -> None:
    slow_model.may_load.set()
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model="slow", remembered=2))
        user, other = space.join("User"), space.join("Other")
        answers = []
        for content in "abcd":
            user.send(say(content))
            answers.append(told(user))
        other.send(say("x"))
        assert told(other) == "x"
    assert answers == ["a", "a | b", "a | b | c", "b | c | d"]


def test_the_oldest_exchanges_are_left_out_if_they_are_too_much_for_the_model(
    chat_model: str,
) -> None:
    model = LanguageModel(chat_model)
    said: list[str] = []
    model.answer(
        "Hello",
        before=[Said("I am fine", "That is good to hear.")] * 50,
        speakers=("User", "Chatty"),
        max_new_tokens=50,
        options=GREEDY,
        say=said.append,
        stopped=lambda: False,
    )
    assert "".join(said)  # with all that was said before, there would be no room for an answer


def test_a_message_that_is_too_long_for_the_model_is_said_to_be(chat_model: str) -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model=chat_model, options=GREEDY))
        user = space.join("User")
        user.send(say("Hello " * 500))
        assert told(user).startswith("That is too long for me: ")


# Loading


def test_while_the_model_is_loaded_the_space_goes_on_and_messages_are_answered_later(
    slow_model: type[SlowModel],
) -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model="slow"))
        user = space.join("User")
        for content in ("one", "two"):
            user.send(say(content))
            text = user.receive(PATIENCE)["action"]["args"]["content"]
            assert text == "I am still loading my model `slow`. I will answer you then."
        assert "say" in user.proxy("Chatty").help()
        slow_model.may_load.set()
        assert told(user) == "one"
        assert told(user) == "one | two"
    assert slow_model.attempts == 1


TWO_AT_ONCE = """
import sys
from agency import NativeSpace
from agents.chatty_ai import ChattyAI

told = dict.fromkeys(["Chatty", "Another"])
with NativeSpace() as space:
    user = space.join("User")
    for agent_id, model in zip(told, sys.argv[1:], strict=True):
        space.add(ChattyAI(agent_id, model=model, options={"do_sample": False}))
    for agent_id in told:
        user.proxy(agent_id).say.send(content="Hello")
    while None in told.values():
        message = user.receive(timeout=None)
        content = message["action"]["args"]["content"]
        if not content.startswith("I am still loading"):
            told[message["from"]] = content
print(told)
"""


def test_two_models_may_be_loaded_at_the_same_moment(chat_model: str, base_model: str) -> None:
    """In a new process, because it is the first import of transformers that two would begin at once."""
    answer = "Hello, how are you today?"
    told = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE, base_model, chat_model],
        env={**os.environ, "PYTHONPATH": str(Path(language_model.__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=3 * PATIENCE,
    )
    assert told.stdout == f"{ {'Chatty': answer, 'Another': answer} }\n"


def test_a_model_that_cannot_be_loaded_is_said_to_be_and_tried_again(
    slow_model: type[SlowModel],
) -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model="broken"))
        user = space.join("User")
        user.send(say("one"))
        user.receive(PATIENCE)
        slow_model.may_load.set()
        assert told(user) == "I am broken."
        user.send(say("two"))
        assert told(user) == "I am broken."
    assert slow_model.attempts == 2


def test_it_can_leave_while_the_model_is_loaded_and_somebody_waits(
    slow_model: type[SlowModel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(chatty_ai, "_LAST_WORDS", 0.1)
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model="slow"))
        user = space.join("User")
        user.send(say("one"))
        user.receive(PATIENCE)
    slow_model.may_load.set()
    assert not caplog.records


@pytest.mark.parametrize("asked", ["when it was loaded", "while it was loaded"])
def test_it_has_broken_off_when_it_has_left(
    asked: str,
    slow_model: type[SlowModel],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    speaking, finished = threading.Event(), threading.Event()

    def talk(
        _model: SlowModel,
        _content: str,
        *,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
        **_options: Any,
    ) -> None:
        while not stopped():
            say("And ")
            speaking.set()
        speaking.clear()
        speaking.wait(0.3)  # the word that is being computed; nobody ends this
        finished.set()

    monkeypatch.setattr(slow_model, "answer", talk)
    with NativeSpace() as space:
        if asked == "when it was loaded":
            slow_model.may_load.set()
        space.add(ChattyAI("Chatty", model="slow"))
        user = space.join("User")
        user.send(say("Go on"))
        if asked == "while it was loaded":
            user.receive(PATIENCE)
            slow_model.may_load.set()
        assert speaking.wait(PATIENCE)
        space.remove("Chatty")
        assert finished.is_set()
    assert not caplog.records


@pytest.mark.parametrize("model", ["nobody/has-this", "/no/such/folder"])
def test_a_model_that_cannot_be_had_is_said_so_in_words_that_help(model: str) -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model=model))
        user = space.join("User")
        user.send(say("Hello"))
        text = told(user)
    assert text.startswith(f"I cannot get my model `{model}`. There is no such folder here")
    assert "`model=`" in text


def test_a_folder_without_a_model_is_said_to_be_one(tmp_path: Path) -> None:
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model=str(tmp_path)))
        user = space.join("User")
        user.send(say("Hello"))
        assert told(user).startswith(f"I cannot load my model from the folder `{tmp_path}`.")


def test_a_model_that_fails_while_it_answers_says_so(chat_model: str) -> None:
    with NativeSpace() as space:
        space.add(
            ChattyAI("Chatty", model=chat_model, options={"temperature": "hot", "do_sample": True})
        )
        user = space.join("User")
        user.send(say("Hello"))
        assert told(user).startswith("My model failed. (")


def test_those_who_do_not_want_to_be_spoken_to_cause_no_noise(
    slow_model: type[SlowModel], caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(Agent):
        @action
        def nothing(self) -> None:
            raise NotImplementedError

    slow_model.may_load.set()
    with NativeSpace() as space:
        space.add(ChattyAI("Chatty", model="slow"))
        silent = space.add(Silent("Silent"))
        silent.request(say("Hello"), timeout=PATIENCE)
        assert "say" in silent.proxy("Chatty").help()
    assert not caplog.records


def test_without_the_libraries_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    with pytest.raises(MissingExtra, match=r"pip install 'agency-space\[hf\]'"):
        ChattyAI("Chatty", model="any")


def test_importing_it_imports_no_heavy_library() -> None:
    program = (
        "import sys, agents.chatty_ai, agents.openai_function_agent\n"
        "assert not {'torch', 'transformers', 'openai'} & set(sys.modules)"
    )
    folder = Path(language_model.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=PATIENCE)

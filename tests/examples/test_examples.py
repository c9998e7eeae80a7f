"""Every example runs as its first line says, and shows what it promises."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.broker import BrokerAddress
from tests.programs import Program

EXAMPLES = Path(__file__).parents[2] / "examples"
SPACES = ["NativeSpace", "LocalSpace", pytest.param("AMQPSpace", marks=pytest.mark.broker)]
ENDING_BY_THEMSELVES = ["hello.py", "calculator.py", "streaming.py"]


def output_of(program: Program) -> str:
    assert program.end() == 0, program.output
    assert "Traceback" not in program.output
    return program.output


def run(name: str) -> str:
    with Program("-W", "error", EXAMPLES / name) as program:
        return output_of(program)


def test_hello_greets_everybody_in_the_space() -> None:
    lines = run("hello.py").splitlines()
    assert sorted(lines) == [
        "Ann says: Hello Charlie, I am Ann.",
        "Bob says: Hello Charlie, I am Bob.",
    ]


def test_calculator_describes_itself_computes_and_says_what_is_wrong() -> None:
    output = run("calculator.py")
    assert '"description": "The first number"' in output
    assert "1 + 2 = 3.0\n" in output
    assert "1 / 0: ZeroDivisionError: float division by zero\n" in output
    assert '1 + two: "add" cannot be called like this: argument "b"' in output


def test_permissions_asks_the_person_at_the_terminal(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    answers.write_text("n\ny\n")
    with (
        answers.open() as typed,
        Program("-W", "error", EXAMPLES / "permissions.py", stdin=typed.fileno()) as program,
    ):
        output = output_of(program)
    assert 'refused: "notes.sell" not permitted\n' in output
    assert "visitor wants /notes.erase number:0\n" in output
    assert 'refused: "notes.erase" not permitted\n' in output
    assert "done: call Ann\n" in output
    assert output.endswith("notes now: ['buy milk']\n")


def test_streaming_shows_each_word_and_stops_the_storyteller() -> None:
    assert run("streaming.py") == (
        "Once upon a time there was a story that had no end and and and \n(the storyteller stops)\n"
    )


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", ENDING_BY_THEMSELVES)
def test_an_example_shows_the_same_when_one_word_is_swapped(
    name: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    env = {}
    source = (EXAMPLES / name).read_text()
    assert "NativeSpace" in source
    if kind == "AMQPSpace":
        broker: BrokerAddress = request.getfixturevalue("broker")
        env["AMQP_URL"] = broker.url()
        # Other tests use the same server at the same time.
        kind = f'AMQPSpace(exchange="test-{uuid.uuid4().hex}")'
        source = source.replace("NativeSpace()", kind).replace("NativeSpace", "AMQPSpace")
    swapped = tmp_path / name
    swapped.write_text(source.replace("NativeSpace", kind))
    with Program("-W", "error", swapped, env=env) as program:
        output = output_of(program)
    assert sorted(output.split()) == sorted(run(name).split())


HOST = EXAMPLES / "two_applications" / "host_app.py"
ASKER = EXAMPLES / "two_applications" / "asker_app.py"


@pytest.fixture
def amqp(broker: BrokerAddress) -> dict[str, str]:
    """The environment of applications that have a virtual host for themselves."""
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"examples-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    return {"AMQP_URL": broker.url(vhost)}


@pytest.mark.broker
def test_the_asker_finds_a_host_that_is_there_already(amqp: dict[str, str]) -> None:
    with Program(HOST, env=amqp) as host:
        host.wait_for("Host serves")
        with Program(ASKER, env=amqp) as asker:
            assert "The host runs " in output_of(asker)
        host.interrupt()
        assert host.end() == 130
        assert "Traceback" not in host.output


@pytest.mark.broker
def test_the_asker_waits_for_a_host_that_comes_later(amqp: dict[str, str]) -> None:
    with Program(ASKER, env=amqp) as asker:
        asker.wait_for("Asker waits for the host")
        with Program(HOST, env=amqp) as host:
            assert "The host runs " in output_of(asker)
            host.wait_for("Host serves")
            host.interrupt()
            assert host.end() == 130
            assert "Traceback" not in host.output

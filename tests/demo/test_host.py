"""Host does what it was permitted to do, within limits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from agency import ActionNotPermitted, NativeSpace
from agents.command import Command
from agents.host import Host
from tests.demo.terminal_program import DEMO
from tests.faults.tools import begin

PATIENCE = 30.0  # seconds


class PermittedHost(Host):
    """Permits everything, and remembers what it was asked."""

    def __init__(self, id: str, **options: Any) -> None:
        super().__init__(id, **options)
        self.asked: list[dict[str, Any]] = []

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        self.asked.append(proposed_message)
        return True


class RefusingHost(Host):
    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        return False


@pytest.fixture
def host() -> Host:
    return Host("Host")


def assert_ends(process_id: int) -> None:
    """Wait until the process is no more, or nothing but an entry that its parent has not read."""
    deadline = time.monotonic() + PATIENCE
    try:
        process = psutil.Process(process_id)
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"{process} has not ended"
            psutil.wait_procs([process], timeout=0.05)
    except psutil.NoSuchProcess:
        pass


def number_from(fifo: Path) -> int:
    """Wait for somebody to write a number."""
    return int(fifo.read_text())


def owner_of(command: str) -> subprocess.Popen[bytes]:
    """A process that wants the result of the command."""
    program = "import sys; from agents.host import Host; Host('Host').shell_command(sys.argv[1])"
    return subprocess.Popen(
        [sys.executable, "-c", program, command], env={**os.environ, "PYTHONPATH": str(DEMO)}
    )


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


# Permission


def test_every_action_needs_permission() -> None:
    with NativeSpace() as space:
        space.add(RefusingHost("Host"))
        person = space.join("User")
        offered = person.proxy("Host").help(format="json_schema")
        assert {"shell_command", "read_file", "write_to_file", "delete_file", "list_files"} <= set(
            offered
        )
        for name, about in offered.items():
            args = dict.fromkeys(about["parameters"]["required"], "x")
            with pytest.raises(ActionNotPermitted):
                person.proxy("Host")[name](**args)


def test_what_was_asked_is_what_runs() -> None:
    with NativeSpace() as space:
        host = space.add(PermittedHost("Host"))
        assert space.join("User").proxy("Host").shell_command(command="echo hello") == "hello\n"
    (asked,) = host.asked
    assert asked["from"] == "User"
    assert asked["action"] == {"name": "shell_command", "args": {"command": "echo hello"}}


def test_a_shell_command_describes_itself_as_published(host: Host) -> None:
    assert host.help("shell_command") == {
        "shell_command": {
            "description": "Execute a shell command",
            "args": {"command": {"type": "string", "description": "The command to execute"}},
            "returns": {"type": "string", "description": "The output of the command"},
        }
    }


# Commands


def test_a_command_returns_all_that_it_wrote_and_its_status(host: Host) -> None:
    assert host.shell_command("echo out; echo err >&2") == "out\nerr\n"
    assert host.shell_command("echo no; exit 3") == "no\n\n[exit status 3]"


def test_a_command_has_neither_input_nor_terminal(host: Host) -> None:
    assert host.shell_command("cat") == ""
    assert "exit status" in host.shell_command("exec 2>/dev/null; : </dev/tty")


def test_a_command_does_not_see_secrets(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "do not tell")
    seen = host.shell_command("env")
    assert "do not tell" not in seen
    assert "PATH=" in seen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows environments as files")
def test_the_parent_of_a_command_has_no_secrets_in_its_environment_either(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "do not tell")
    seen = host.shell_command("cat /proc/$PPID/environ")
    assert "do not tell" not in seen
    assert "PATH=" in seen


@pytest.mark.timeout(120)
def test_a_command_that_takes_too_long_is_ended() -> None:
    begun, seconds = "", 0.25
    while not begun:  # on a busy machine a shell may take its time to begin
        seconds *= 2
        host = Host("Host", command_timeout=seconds)
        with pytest.raises(TimeoutError, match=rf"longer than {seconds:g} seconds") as raised:
            host.shell_command("trap '' TERM INT HUP; echo begun $$; while :; do sleep 60; done")
        begun = str(raised.value).partition("begun ")[2]
    assert_ends(int(begun))


def test_a_command_that_writes_without_end_is_ended() -> None:
    host = Host("Host", max_output=1000)
    written = host.shell_command("yes")
    assert written.startswith("y\ny\n")
    assert written.endswith("\n[ended: it wrote more than 1000 bytes]")
    assert len(written) < 1100


def test_what_a_command_leaves_in_the_background_ends_with_it(host: Host) -> None:
    assert_ends(int(host.shell_command("sleep 600 & echo $!")))


def test_a_command_may_end_its_own_group(host: Host) -> None:
    ended = host.shell_command("trap 'kill 0' EXIT; sleep 600 & echo $!")
    process_id, _, status = ended.partition("\n")
    assert_ends(int(process_id))
    assert status == "\n[exit status 143]"


hides = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux gives orphans to the process that keeps a command"
)

LEFT = "sh -c 'echo $$ >{0}; exec sleep 600' >/dev/null 2>&1 </dev/null &"


@hides
@pytest.mark.parametrize("hidden", ["setsid", "env -i setsid", "env -i setsid setsid -f"])
def test_a_daemon_that_a_command_started_ends_with_it(host: Host, fifo: Path, hidden: str) -> None:
    assert_ends(int(host.shell_command(f"{hidden} {LEFT.format(fifo)} cat {fifo}")))


@hides
def test_a_daemon_ends_with_the_process_that_wants_the_result(fifo: Path) -> None:
    command = f"env -i setsid {LEFT.format(fifo)} sleep 600"
    with owner_of(command) as owner:
        process_id = number_from(fifo)
        owner.kill()
    assert_ends(process_id)


@hides
def test_a_daemon_of_a_command_that_is_ended_ends_as_well(fifo: Path) -> None:
    unwanted = threading.Event()
    command = f"env -i setsid {LEFT.format(fifo)} sleep 600"
    run = begin(Command(command, timeout=2 * PATIENCE, max_output=100, unwanted=unwanted).run)
    process_id = number_from(fifo)
    unwanted.set()
    with pytest.raises(InterruptedError):
        run.result(PATIENCE)
    assert_ends(process_id)


def test_a_command_that_stops_its_parent_can_be_ended(fifo: Path) -> None:
    unwanted = threading.Event()
    command = f"kill -STOP $PPID; echo $$ >{fifo}; sleep 600"
    run = begin(Command(command, timeout=2 * PATIENCE, max_output=100, unwanted=unwanted).run)
    process_id = number_from(fifo)
    unwanted.set()
    with pytest.raises(InterruptedError):
        run.result(PATIENCE)
    assert_ends(process_id)


def test_a_command_that_kills_its_parent_ends_with_it(host: Host) -> None:
    written, _, status = host.shell_command("echo $$; kill -KILL $PPID; sleep 600").partition("\n")
    assert_ends(int(written))
    assert status == "\n[exit status -9]"


def test_binary_output_is_text_all_the_same(host: Host) -> None:
    assert host.shell_command(r"printf '\377ok'") == "�ok"


def test_a_command_ends_when_its_host_leaves_the_space(
    fifo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    space = NativeSpace(grace=PATIENCE)
    space.add(PermittedHost("Host", command_timeout=600))
    person = space.join("User")
    command = f"echo $$ >{fifo}; sleep 600"
    person.send({"to": "Host", "action": {"name": "shell_command", "args": {"command": command}}})
    process_id = number_from(fifo)
    space.destroy()
    assert_ends(process_id)
    assert not caplog.records, "the space had to give up waiting for the command"


def test_a_command_that_nobody_wants_any_more_is_ended_at_once() -> None:
    unwanted = threading.Event()
    unwanted.set()
    with pytest.raises(InterruptedError):
        Command("sleep 600", timeout=PATIENCE, max_output=100, unwanted=unwanted).run()


def test_a_command_ends_with_the_process_that_wants_its_result(fifo: Path) -> None:
    with owner_of(f"echo $$ >{fifo}; sleep 600") as owner:
        process_id = number_from(fifo)
        owner.kill()
    assert_ends(process_id)


# Files


def test_a_file_is_written_read_and_deleted(host: Host, tmp_path: Path) -> None:
    path = str(tmp_path / "note")
    assert host.write_to_file(path, "long text, ä\n") == f"Wrote 14 bytes to {path}"
    assert host.write_to_file(path, "short\n") == f"Wrote 6 bytes to {path}"
    host.write_to_file(path, "more\n", append=True)
    assert host.read_file(path) == "short\nmore\n"
    assert host.delete_file(path) == f"Deleted {path}"
    with pytest.raises(FileNotFoundError):
        host.read_file(path)


def test_a_directory_is_listed_in_order(host: Host, tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / ".c").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    assert host.list_files(str(tmp_path)) == [".c", "\\xff", "a/", "b"]


def test_what_is_no_ordinary_file_is_refused(host: Host, fifo: Path, tmp_path: Path) -> None:
    for path in ["/dev/zero", "/proc/self/environ", str(fifo)]:
        if Path(path).exists():
            with pytest.raises(ValueError, match="not an ordinary file"):
                host.read_file(path)
    with pytest.raises(OSError, match=str(fifo)):
        host.write_to_file(str(fifo), "text")
    with pytest.raises(ValueError, match="not an ordinary file"):
        host.write_to_file("/dev/null", "text")
    with pytest.raises(ValueError, match="not an ordinary file"):
        host.read_file(str(tmp_path))


def test_a_symbolic_link_is_not_followed(host: Host, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("kept")
    link.symlink_to(target)
    with pytest.raises(ValueError, match="is a symbolic link"):
        host.read_file(str(link))
    with pytest.raises(ValueError, match="is a symbolic link"):
        host.write_to_file(str(link), "changed")
    host.delete_file(str(link))
    assert target.read_text() == "kept"


def test_what_is_too_large_or_not_text_is_refused(host: Host, tmp_path: Path) -> None:
    large, binary = tmp_path / "large", tmp_path / "binary"
    with large.open("wb") as file:
        file.truncate(10**12)
    binary.write_bytes(b"\xff\x00")
    with pytest.raises(ValueError, match="has 1000000000000 bytes; at most 1000000 are read"):
        host.read_file(str(large))
    with pytest.raises(ValueError, match="not text in UTF-8"):
        host.read_file(str(binary))

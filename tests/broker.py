"""A private RabbitMQ for the tests: free loopback ports, data of its own, gone when the run is.

    BrokerAddress   where a broker is and how to ask it things; can be sent to another process
    Broker          one node of our own: start, stop, kill, restart
    Epmd            Erlang's name service, which the nodes of one cluster share
    BrokerOnDemand  one broker for a whole test run, booted when the first process asks for it

Nothing here touches a RabbitMQ that belongs to someone else, and nothing reads its configuration or
its cookie. Above this stands `conftest.py`; below it only the operating system.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Client, Listener
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlsplit

import psutil

LOOPBACK = "127.0.0.1"
START_LIMIT = 60.0
"""Seconds a node may take to accept connections, on a machine that is busy with other tests."""
STOP_LIMIT = 20.0
"""Seconds a node may take to end in order, before it is killed."""

_SCRIPTS = (
    # The scripts that Debian and Ubuntu put on PATH insist on another user; those they wrap do not.
    "/usr/lib/rabbitmq/bin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)

# Waits for its standard input to end, which happens when the process that started it ends, however
# it ends; then kills the process groups that the last line named, and removes the folder.
_GUARD = """
trap '' HUP INT TERM
groups=
while read -r line; do groups=$line; done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
for attempt in 1 2 3 4 5; do rm -rf -- "$1" && break; sleep 1; done  # while the last one writes
"""


class BrokerError(Exception):
    """A private broker could not be run; the message says why and shows the end of its log."""


@dataclass(frozen=True, kw_only=True)
class BrokerAddress:
    """A broker that accepts connections, and how to reach it.

    `ctl` and `env` say how to call its `rabbitmqctl`; `ctl` is None for a broker that belongs to
    someone else.
    """

    port: int
    host: str = LOOPBACK
    username: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    scheme: str = "amqp"
    ctl: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def url(self, vhost: str | None = None) -> str:
        """The address as an AMQP URL, with the password in it."""
        user, password = quote(self.username, safe=""), quote(self.password, safe="")
        path = quote(self.vhost if vhost is None else vhost, safe="")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}:{password}@{host}:{self.port}/{path}"

    def rabbitmqctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run `rabbitmqctl` against the private node and return what it printed.

        Raises `BrokerError` with its complaint if it fails, or if the broker is not ours to
        control.
        """
        if self.ctl is None:
            raise BrokerError("the broker belongs to someone else: it is used, not controlled")
        done = subprocess.run(
            [self.ctl, "--quiet", *args],
            env=dict(self.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> BrokerAddress | None:
        """The broker that `AMQP_URL`, or else `AMQP_HOST` and its kin, name; None without them."""
        if env.get("AMQP_URL"):
            parts = urlsplit(env["AMQP_URL"])
            return cls(
                scheme=parts.scheme,
                host=parts.hostname or LOOPBACK,
                port=parts.port or (5671 if parts.scheme == "amqps" else 5672),
                username=unquote(parts.username or "guest"),
                password=unquote(parts.password or "guest"),
                vhost=unquote(parts.path[1:]) or "/",
            )
        if env.get("AMQP_HOST"):
            return cls(
                host=env["AMQP_HOST"],
                port=int(env.get("AMQP_PORT") or 5672),
                username=env.get("AMQP_USERNAME") or "guest",
                password=env.get("AMQP_PASSWORD") or "guest",
                vhost=env.get("AMQP_VHOST") or "/",
            )
        return None


class Epmd:
    """Erlang's name service, on a loopback port of its own: by it nodes and `rabbitmqctl` meet."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it; returns when it answers. Raises `BrokerError` if it does not."""
        for _ in range(5):
            process = subprocess.Popen(
                [_epmd(), "-port", str(self.port), "-address", LOOPBACK],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            if _wait_until(lambda: _listens(self.port), process, START_LIMIT):
                self._process = process
                return
            _end(process)
            self.port = free_port()  # someone took it in between
        raise BrokerError("epmd does not start")

    def stop(self) -> None:
        """End it; returns when it has ended. Does nothing if it is not running."""
        if self._process:
            _end(self._process)
        self._process = None


class Broker:
    """One RabbitMQ node of our own, everything of it on the loopback interface.

    Its ports, its data and its node name stay the same from the first `start` until `close`, so
    that clients meet the same broker again after `stop`, `kill` or `restart`. `close`, which the
    end of the `with` block calls, leaves neither a process nor a folder behind; if this process is
    killed first, a guard does the same.

    Nodes that shall become a cluster are given one `epmd` and one `cookie`, and names of their own.
    `settings` are further lines of the node's configuration file.
    """

    def __init__(
        self,
        *,
        name: str = "agency",
        epmd: Epmd | None = None,
        cookie: str | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self._scripts = _find_scripts()
        self._own_epmd = epmd is None
        self.epmd = epmd or Epmd()
        self.node = f"{name}@localhost"
        self.port = free_port()
        self._settings = settings
        self._distribution_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # Erlang's shell scripts do not quote: a folder's name must be free of spaces.
        self.folder = Path(tempfile.mkdtemp(prefix="agency-broker-")).resolve()
        self._log = self.folder / "node.log"
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        cookie_file = self.folder / ".erlang.cookie"
        cookie_file.write_text(cookie or secrets.token_hex(16))
        cookie_file.chmod(0o400)
        for empty in ("rabbitmq-env.conf", "advanced.config"):
            (self.folder / empty).touch()
        (self.folder / "advanced.config").write_text("[].\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        self._closed = False

    # -- where it is -------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The id of the node's process while it runs; None otherwise."""
        return self._process.pid if self._process else None

    @property
    def address(self) -> BrokerAddress:
        """Where the node is, for this and other processes."""
        return BrokerAddress(
            port=self.port, ctl=str(self._scripts / "rabbitmqctl"), env=self._environment()
        )

    def url(self, vhost: str = "/") -> str:
        """The node's AMQP URL."""
        return self.address.url(vhost)

    def rabbitmqctl(self, *args: str, timeout: float = 60.0) -> str:
        """See `BrokerAddress.rabbitmqctl`."""
        return self.address.rabbitmqctl(*args, timeout=timeout)

    # -- its life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the node; returns when it greets an AMQP client and `rabbitmqctl` can use it.

        Raises `BrokerError` with the end of its log if it ends first or takes longer than
        `START_LIMIT`, and `RuntimeError` if it is running already.
        """
        if self._process or self._closed:
            raise RuntimeError("the broker is closed" if self._closed else "the broker is running")
        if self._own_epmd and not self.epmd.pid:
            self.epmd.start()
        first = not (self.folder / "data").exists()
        for _ in range(3):
            self._write_configuration()
            if _wait_until(partial(self._is_up, self._boots()), self._launch(), START_LIMIT):
                return
            self._end(signal.SIGKILL)
            if not first or "eaddrinuse" not in self._log_text():
                break
            # Someone took one of the ports between our asking and our using it.
            self.port, self._distribution_port = free_port(), free_port()
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        raise BrokerError(f"RabbitMQ does not start:\n{self._log_text()[-4000:]}")

    def stop(self) -> None:
        """End the node in order, as an operator would; returns when it has ended. Its data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the node as a power cut would; returns when it has ended. What is on disk stays."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Have the node do nothing any more, and its connections stay as they are, until `thaw`."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """`stop`, then `start`: same ports, same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End everything and remove every trace of it. May be called again."""
        if self._closed:
            return
        self._closed = True
        self.kill()  # nobody will read its data again
        if self._own_epmd:
            self.epmd.stop()
        self._tell_guard()
        self._guard.communicate()  # it removes the folder
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """What the node and its tools are told; nothing of another RabbitMQ's settings gets in."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        # One scheduler that does not spin while it is idle: the tests want the cores.
        calm = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
        folder = str(self.folder)
        return env | {
            "HOME": folder,
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.epmd.port),
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            "RABBITMQ_CTL_ERL_ARGS": f"{loopback} {calm}",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            # As if a shell were attached, the start script becomes the node instead of watching it
            # as a child; with -noinput there is none. So one process id is the node: it can be
            # signalled, frozen and waited for.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {loopback} {calm}",
        }

    def _write_configuration(self) -> None:
        settings = [
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
            "log.file = false",
            "log.console = true",
            "log.console.level = info",
            "disk_free_limit.absolute = 1MB",  # a disk that others fill is no fault of the test
            *self._settings,
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(settings) + "\n")

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [str(self._scripts / "rabbitmq-server")],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C at the terminal is not meant for it
            )
        self._process = process
        self._tell_guard()
        return process

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process:
            _end(process, how)

    def _tell_guard(self) -> None:
        pids = [self.pid, self.epmd.pid if self._own_epmd else None]
        assert self._guard.stdin
        # A guard that someone killed guards nothing any more; the broker works all the same.
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(" ".join(str(pid) for pid in pids if pid).encode() + b"\n")
            self._guard.stdin.flush()

    def _is_up(self, boots: int) -> bool:
        """Whether the node has come up once more than so often, and greets clients: it does a moment
        before its tools can use it.
        """
        return self._boots() > boots and _greets(self.port)

    def _boots(self) -> int:
        """Read line by line: after hours the log has megabytes, and tests measure this process's memory."""
        if not self._log.exists():
            return 0
        with self._log.open("rb") as lines:
            return sum(b"Server startup complete" in line for line in lines)

    def _log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


class BrokerOnDemand:
    """One broker for all processes of a test run, booted by its owner when the first one asks.

    The owner makes one of these and hands `ticket` to the others, who call `ask(ticket)`. `close`,
    at the end of the run, ends the broker if there was any need of it. If the environment names a
    broker, that one is used instead.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._given = BrokerAddress.from_environment(env)
        self._lock = threading.Lock()
        self._broker: Broker | None = None
        self._failure: BrokerError | None = None
        self._key = secrets.token_hex(16)
        self._listener: Listener | None = None

    def address(self) -> BrokerAddress:
        """The run's broker, booted now if nobody asked before; `BrokerError` if it does not start."""
        if self._given:
            return self._given
        with self._lock:
            if self._failure:
                raise self._failure  # every test says why, none waits for a second attempt
            if not self._broker:
                try:
                    broker = Broker()
                    broker.__enter__()
                except BrokerError as failure:
                    self._failure = failure
                    raise
                self._broker = broker
            return self._broker.address

    def ticket(self) -> str:
        """What another process of this run needs to ask for the broker."""
        if not self._listener:
            self._listener = Listener((LOOPBACK, 0), backlog=64, authkey=self._key.encode())
            threading.Thread(target=self._serve, name="broker on demand", daemon=True).start()
        port = self._listener.address[1]
        return json.dumps({"port": port, "key": self._key})

    @staticmethod
    def ask(ticket: str) -> BrokerAddress:
        """The run's broker, from any process of it; waits while it boots, `BrokerError` if it fails."""
        where = json.loads(ticket)
        with Client((LOOPBACK, where["port"]), authkey=where["key"].encode()) as connection:
            answer = connection.recv()
        if isinstance(answer, BrokerAddress):
            return answer
        raise BrokerError(str(answer))

    def close(self) -> None:
        """End the broker, if one was booted."""
        if self._listener:
            self._listener.close()
        with self._lock:
            if self._broker:
                self._broker.close()

    def _serve(self) -> None:
        assert self._listener
        while True:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError):
                return
            with connection:
                try:
                    answer: BrokerAddress | str = self.address()
                except BrokerError as failure:
                    answer = str(failure)
                connection.send(answer)


def free_port() -> int:
    """A loopback TCP port that is free now, and that no client is given as its own by chance.

    The kernel hands the upper range to outgoing connections. A broker's port taken from there
    could, while the broker is down, become the local end of a client's attempt to reconnect to it,
    and the client would be connected to itself.
    """
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                candidate.bind((LOOPBACK, port))
                return port
    raise BrokerError("no free port")


def family(pid: int) -> Iterator[psutil.Process]:
    """The process and all its descendants, as far as they still exist."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _find_scripts() -> Path:
    for folder in _SCRIPTS:
        if (Path(folder) / "rabbitmq-server").exists():
            return Path(folder)
    if found := shutil.which("rabbitmq-server"):
        return Path(found).parent
    raise BrokerError(
        "RabbitMQ is not installed. `make test` installs it; set AMQP_URL to use one elsewhere."
    )


def _epmd() -> str:
    if found := shutil.which("epmd"):
        return found
    raise BrokerError("epmd, a part of Erlang and so of RabbitMQ, is not on PATH")


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], limit: float) -> bool:
    """Whether `ready` came true before the process ended and before `limit` seconds had passed."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if ready():
            return True
        # The pause between two attempts is a wait for the one thing that makes further ones
        # pointless.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            return False
    return False


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5):
        return True
    return False


def _greets(port: int) -> bool:
    """Whether an AMQP client gets connection.start, which a node sends once it has booted."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5) as s:
        s.sendall(b"AMQP\x00\x00\x09\x01")
        return s.recv(1) == b"\x01"
    return False


def _end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End the process and all its descendants; returns when all have ended."""
    members = list(family(process.pid))
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=STOP_LIMIT)
    # The helpers of an Erlang node notice by themselves that it is gone.
    _, alive = psutil.wait_procs(members, timeout=STOP_LIMIT)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if member.status() != psutil.STATUS_ZOMBIE:
                member.kill()

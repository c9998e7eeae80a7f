"""How to reach an AMQP server: the options of `AMQPSpace`, from code or from the environment.

Values only: nothing here connects, and the AMQP client library is not imported. Above:
`agency.spaces.amqp_space` takes these options and hands them to `agency.spaces.amqp_link`, which
connects. Below: nothing.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["AMQPOptions"]

_PLAIN_PORT: Final = 5672
_TLS_PORT: Final = 5671
_SHORT_STRING_BYTES: Final = 255  # AMQP 0-9-1 section 4.2.5.3


@dataclass(frozen=True, kw_only=True)
class AMQPOptions:
    """Where the AMQP server is and how to log in. The password is in no `repr` and in no error.

    Raises:
        ValueError: a value is out of range; the text names the option.
    """

    hostname: str | Sequence[str] = "localhost"
    """A host, or the hosts of one cluster; each may carry a port of its own, `"rabbit-2:5673"`,
    `"[::1]:5673"`.
    """
    port: int | None = None
    """For hosts without a port of their own. None is 5672, or 5671 with `use_ssl`."""
    username: str = "guest"
    password: str = field(default="guest", repr=False)
    virtual_host: str = "/"
    use_ssl: bool = False
    """Encrypt, and check the server's certificate and host name."""
    heartbeat: int = 10
    """Seconds, 1 to 3600. A link that was cut is noticed after about this time plus 5 s; the server
    frees the agent ids of a host that vanished after 2 to 3 times this time.
    """
    connect_timeout: float = 30.0
    """Seconds for which the first connection is tried again while no server answers."""
    ca_file: str | None = None
    """A file of certificates (PEM) to trust instead of the system's."""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    """Used as it is instead of one made from `ca_file`: client certificates, other rules."""

    def __post_init__(self) -> None:
        if not isinstance(self.hostname, str):
            object.__setattr__(self, "hostname", tuple(self.hostname))
        if not self.hostname:
            raise ValueError("hostname: no host is given")
        if self.port is not None:
            _check_range("port", self.port, 1, 65535)
        _check_range("heartbeat", self.heartbeat, 1, 3600)
        if not self.connect_timeout > 0:
            raise ValueError(
                f"connect_timeout: {self.connect_timeout!r} is not a positive number of seconds"
            )
        for name in ("username", "password", "virtual_host"):
            if len(getattr(self, name).encode()) > _SHORT_STRING_BYTES:
                raise ValueError(f"{name}: more than {_SHORT_STRING_BYTES} bytes")
        if not self.virtual_host:
            raise ValueError('virtual_host: is empty; the default one is "/"')
        if (self.ca_file or self.ssl_context) and not self.use_ssl:
            raise ValueError("ca_file, ssl_context: have no effect without use_ssl=True")
        self.addresses()

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Every host with its port, in the order given."""
        hosts = [self.hostname] if isinstance(self.hostname, str) else self.hostname
        port = self.port or (_TLS_PORT if self.use_ssl else _PLAIN_PORT)
        return tuple(_host_and_port(host, port) for host in hosts)

    def client_ssl_context(self) -> ssl.SSLContext | None:
        """What to encrypt with; None without `use_ssl`.

        Raises:
            OSError: `ca_file` cannot be read.
        """
        if not self.use_ssl:
            return None
        return self.ssl_context or ssl.create_default_context(cafile=self.ca_file)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> AMQPOptions:
        """Read `AMQP_URL`, then `AMQP_HOST`, `AMQP_PORT`, `AMQP_USERNAME`, `AMQP_PASSWORD`,
        `AMQP_VHOST`.

        What the URL says wins over the single variables, which fill in what it leaves out; the rest
        are the defaults. An empty variable counts as not set. The URL follows
        https://www.rabbitmq.com/docs/uri-spec: `amqp` or `amqps`, parts percent-encoded (`%2F` in a
        virtual host's name), `?heartbeat=` seconds, `?connection_timeout=` milliseconds,
        `?cacertfile=`; but a path of only `/` means the default virtual host, as other clients have
        it. `AMQP_HOST` may list the hosts of a cluster, separated by commas.

        Raises:
            ValueError: a variable cannot be read; the text names it and never holds the password.
        """
        given: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for option, variable in _VARIABLES.items():
            if text := environment.get(variable):
                given[option] = _read_variable(option, variable, text)
                sources[option] = variable
        if url := environment.get("AMQP_URL"):
            said = _read_url(url)
            if "hostname" in said:
                given.pop("port", None)  # it belongs to the host of AMQP_HOST, not to this one
            given |= said
            sources |= dict.fromkeys(said, "AMQP_URL")
        try:
            return cls(**given)
        except ValueError as error:
            option = str(error).partition(":")[0]
            raise ValueError(f"{sources.get(option, 'AMQP_URL')}: {error}") from None


_VARIABLES: Final = {
    "hostname": "AMQP_HOST",
    "port": "AMQP_PORT",
    "username": "AMQP_USERNAME",
    "password": "AMQP_PASSWORD",
    "virtual_host": "AMQP_VHOST",
}


def _read_variable(option: str, variable: str, text: str) -> Any:
    if option == "port":
        return _number(variable, text)
    if option == "hostname" and "," in text:
        return [host.strip() for host in text.split(",")]
    return text


def _read_url(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("AMQP_URL: the host or port cannot be read") from None
    if parts.scheme not in {"amqp", "amqps"}:
        raise ValueError("AMQP_URL: must begin with amqp:// or amqps://")
    if parts.fragment or "/" in parts.path[1:]:
        raise ValueError("AMQP_URL: '/' and '#' inside a part must be percent-encoded (%2F, %23)")
    said: dict[str, Any] = {"use_ssl": parts.scheme == "amqps"}
    found = {
        "hostname": f"[{host}]" if host and ":" in host else host,
        "port": port,
        "username": _decoded(parts.username),
        "password": _decoded(parts.password),
        "virtual_host": _decoded(parts.path[1:]),
    }
    said |= {option: value for option, value in found.items() if value}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        match name:
            case "heartbeat":
                said["heartbeat"] = _number("AMQP_URL: heartbeat", text)
            case "connection_timeout":
                said["connect_timeout"] = _number("AMQP_URL: connection_timeout", text) / 1000
            case "cacertfile":
                said["ca_file"] = text
            case _:
                raise ValueError(
                    f"AMQP_URL: unknown parameter {name!r}; known are heartbeat, connection_timeout, cacertfile"
                )
    return said


def _decoded(text: str | None) -> str | None:
    try:
        return None if text is None else unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("AMQP_URL: a percent-encoded part is not UTF-8") from None


def _number(what: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{what}: {text!r} is not a whole number") from None


def _check_range(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is not a whole number from {least} to {most}")


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    host, port = text.strip(), default_port
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        colon, digits = rest[:1], rest[1:]
    elif host.count(":") == 1:
        host, colon, digits = host.partition(":")
    else:
        colon, digits = "", ""
    if colon:
        try:
            port = int(digits)
        except ValueError:
            raise ValueError(f"hostname: the port of {text!r} is not a number") from None
        _check_range("hostname", port, 1, 65535)
    if not host or any(character.isspace() or character in "/@" for character in host):
        raise ValueError("hostname: a host is empty or has characters that no host name has")
    return host, port

"""Encrypted links to a real broker with a real chain of certificates: one is right, the others are refused by name."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agency import AMQPOptions, AMQPSpace, BrokerRefused
from tests.broker import Broker, free_port
from tests.faults.certificates import Authority
from tests.faults.members import Odd

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

HERE = "IP:127.0.0.1,DNS:localhost"

Show = Callable[[tuple[Path, Path]], int]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Show]:
    """Has a broker show a certificate from now on; returns its port for encrypted links."""
    folder, port = tmp_path_factory.mktemp("shown"), free_port()
    chain, key = folder / "chain.pem", folder / "key.pem"

    def show(certificate: tuple[Path, Path]) -> int:
        shutil.copy(certificate[0], chain)
        shutil.copy(certificate[1], key)
        broker.rabbitmqctl("eval", "ssl:clear_pem_cache().")
        return port

    first = authority.server("first", subjects=HERE)
    shutil.copy(first[0], chain)
    shutil.copy(first[1], key)
    settings = [
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.certfile = {chain}",
        f"ssl_options.keyfile = {key}",
        f"ssl_options.cacertfile = {authority.root}",
        "ssl_options.verify = verify_none",
    ]
    with Broker(settings=settings) as broker:
        yield show


def options(port: int, **others: Any) -> AMQPOptions:
    return AMQPOptions(
        hostname="127.0.0.1", port=port, use_ssl=True, **({"connect_timeout": 300.0} | others)
    )


def refusal(port: int, **others: Any) -> str:
    """How a space on an encrypted link is refused: at once, although it may try for minutes."""
    with pytest.raises(BrokerRefused) as caught:
        AMQPSpace(options(port, **others))
    return str(caught.value)


def test_with_the_right_certificate_agents_speak(show: Show, authority: Authority) -> None:
    port = show(authority.server("right", subjects=HERE))
    with AMQPSpace(options(port, ca_file=str(authority.root))) as space:
        space.add(Odd, "odd")
        assert space.join("me").proxy("odd").ping() == "pong"
    context = ssl.create_default_context(cafile=str(authority.root))
    with AMQPSpace(options(port, ssl_context=context)) as space:
        assert space.join("me").id == "me"


def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused(
    show: Show, authority: Authority, tmp_path: Path
) -> None:
    port = show(Authority(tmp_path / "stranger").server("strange", subjects=HERE))
    assert "not trusted" in refusal(port, ca_file=str(authority.root))
    assert "not trusted" in refusal(port)  # it is none of the system's authorities either


def test_a_certificate_of_another_host_is_refused(show: Show, authority: Authority) -> None:
    port = show(authority.server("other", subjects="DNS:rabbit.example"))
    text = refusal(port, ca_file=str(authority.root))
    assert "not trusted" in text
    assert "127.0.0.1" in text
    assert "match" in text


def test_a_certificate_that_has_expired_is_refused(show: Show, authority: Authority) -> None:
    port = show(authority.server("expired", subjects=HERE, expired=True))
    assert "expired" in refusal(port, ca_file=str(authority.root))

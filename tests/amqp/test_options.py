"""AMQPOptions: what the environment and the constructor may say, and what is never shown."""

from __future__ import annotations

import pytest

from agency import AMQPSpace
from agency.spaces.amqp_options import AMQPOptions
from tests.faults.tools import leaves_nothing_behind

read = AMQPOptions.from_environment


def test_without_any_variable_it_is_a_local_server_with_its_default_account() -> None:
    assert read({}) == AMQPOptions(
        hostname="localhost", port=None, username="guest", password="guest", virtual_host="/"
    )
    assert read({}).addresses() == (("localhost", 5672),)


def test_the_seeds_variables_are_read() -> None:
    options = read(
        {
            "AMQP_HOST": "rabbit",
            "AMQP_PORT": "1234",
            "AMQP_USERNAME": "ann",
            "AMQP_PASSWORD": "p/w",
            "AMQP_VHOST": "agents",
        }
    )
    assert options == AMQPOptions(
        hostname="rabbit", port=1234, username="ann", password="p/w", virtual_host="agents"
    )


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read({"AMQP_HOST": "", "AMQP_URL": "", "AMQP_PORT": ""}) == AMQPOptions()


def test_a_url_is_percent_decoded() -> None:
    options = read({"AMQP_URL": "amqp://us%65r:p%40ss%2F@rabbit:5673/a%2Fb?heartbeat=7"})
    assert options == AMQPOptions(
        hostname="rabbit",
        port=5673,
        username="user",
        password="p@ss/",
        virtual_host="a/b",
        heartbeat=7,
    )


@pytest.mark.parametrize("url", ["amqp://h", "amqp://h/", "amqp://h/%2F", "amqp://h/%2f"])
def test_the_default_virtual_host_may_be_written_in_several_ways(url: str) -> None:
    assert read({"AMQP_URL": url}).virtual_host == "/"


def test_amqps_means_encryption_on_its_own_port() -> None:
    options = read({"AMQP_URL": "amqps://h?connection_timeout=1500&cacertfile=/ca.pem"})
    assert options.addresses() == (("h", 5671),)
    assert (options.use_ssl, options.connect_timeout, options.ca_file) == (True, 1.5, "/ca.pem")


def test_the_url_wins_over_the_single_variables_which_fill_in_the_rest() -> None:
    options = read(
        {
            "AMQP_URL": "amqp://ann@one",
            "AMQP_HOST": "two",
            "AMQP_PORT": "99",
            "AMQP_PASSWORD": "secret",
        }
    )
    assert options.addresses() == (("one", 5672),)
    assert (options.username, options.password) == ("ann", "secret")


def test_several_hosts_of_a_cluster() -> None:
    assert read({"AMQP_HOST": "one, two:5673,[::1]:9,::1"}).addresses() == (
        ("one", 5672),
        ("two", 5673),
        ("::1", 9),
        ("::1", 5672),
    )
    assert AMQPOptions(hostname=["one", "two"], use_ssl=True).addresses() == (
        ("one", 5671),
        ("two", 5671),
    )


def test_an_ipv6_host_in_a_url() -> None:
    assert read({"AMQP_URL": "amqp://[::1]:9/"}).addresses() == (("::1", 9),)


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"AMQP_PORT": "many", "AMQP_PASSWORD": "s3cret"}, "AMQP_PORT"),
        ({"AMQP_PORT": "70000", "AMQP_PASSWORD": "s3cret"}, "AMQP_PORT"),
        ({"AMQP_HOST": "a b", "AMQP_PASSWORD": "s3cret"}, "AMQP_HOST"),
        ({"AMQP_HOST": "a,,b"}, "AMQP_HOST"),
        ({"AMQP_VHOST": "v" * 256, "AMQP_PASSWORD": "s3cret"}, "AMQP_VHOST"),
        ({"AMQP_PASSWORD": "s3cret" * 50}, "AMQP_PASSWORD"),
        ({"AMQP_URL": "http://u:s3cret@h"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret@h:many/"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret/x@h/v"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:pa#s3cret@h/v"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret@h/a/b"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret@h?heartbeat=often"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret@h?heartbeat=0"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret@h?verify=verify_none"}, "AMQP_URL"),
        ({"AMQP_URL": "amqp://u:s3cret%ff@h"}, "AMQP_URL"),
    ],
)
def test_what_cannot_be_read_is_named_without_the_password(
    variables: dict[str, str], names: str
) -> None:
    with pytest.raises(ValueError, match=names) as caught:
        read(variables)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_password_is_in_no_repr() -> None:
    assert "s3cret" not in repr(AMQPOptions(password="s3cret"))


@pytest.mark.parametrize(
    "options",
    [
        {"hostname": ""},
        {"hostname": []},
        {"port": 0},
        {"port": True},
        {"heartbeat": 0},
        {"connect_timeout": 0},
        {"virtual_host": ""},
        {"ca_file": "/ca.pem"},
    ],
)
def test_values_out_of_range_are_refused_by_name(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        AMQPOptions(**options)  # type: ignore[arg-type]


def test_certificates_that_cannot_be_read_are_an_error_before_anything_is_open() -> None:
    options = AMQPOptions(use_ssl=True, ca_file="/nowhere/ca.pem")
    with leaves_nothing_behind():
        for _ in range(10):
            with pytest.raises(FileNotFoundError):
                AMQPSpace(options)

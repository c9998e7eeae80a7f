"""The tools find what they are made to find: a tool that sees nothing would pass everything."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agency import DeadLetter, MailboxFull, NativeSpace, OutcomeUnknown, Reason
from tests.faults.figures import Figures, table
from tests.faults.ledger import Item, Ledger
from tests.faults.proxy import Proxy
from tests.faults.tools import ends, leaves_nothing_behind

# The ledger


def send(ledger: Ledger, *numbers: int, error: Exception | None = None) -> None:
    for number in numbers:
        with ledger.sending("a", "b", number):
            if error is not None:
                raise error


def begin(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.begun("a", "b", number)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """One of which no figures are shown."""
    ledger = Ledger(tmp_path / "ledger")
    yield ledger
    ledger.close()


def items(*numbers: int) -> list[Item]:
    return [Item("a", "b", number) for number in numbers]


def test_a_ledger_in_which_all_is_well_is_clean(ledger: Ledger) -> None:
    send(ledger, 1, 2, 3)
    send(ledger, 4, error=MailboxFull())
    send(ledger, 5, error=OutcomeUnknown())
    begin(ledger, 1, 2, 3, 5)
    verdict = ledger.verdict()
    assert verdict.is_clean()
    assert (verdict.attempted, verdict.accepted, verdict.refused, verdict.unknown) == (5, 3, 1, 1)


def test_what_was_accepted_and_never_begun_is_lost_and_silent(ledger: Ledger) -> None:
    send(ledger, 1, 2)
    begin(ledger, 1)
    verdict = ledger.verdict()
    assert (verdict.lost, verdict.silent) == (items(2), items(2))
    assert not verdict.is_clean()


def test_what_became_a_dead_letter_is_lost_but_not_silent(ledger: Ledger) -> None:
    send(ledger, 1)
    message = {"from": "a", "to": "b", "action": {"name": "note", "args": {"number": 1}}}
    ledger.dead(DeadLetter(Reason.AGENT_DIED, message))
    verdict = ledger.verdict()
    assert (verdict.lost, verdict.silent, verdict.dead) == (items(1), [], {"agent_died": 1})
    assert verdict.is_clean(losses_told=True)
    assert not verdict.is_clean()


def test_what_nobody_sent_or_what_was_refused_is_a_phantom(ledger: Ledger) -> None:
    send(ledger, 1, error=MailboxFull())
    begin(ledger, 1, 2)
    assert sorted(ledger.verdict().phantom) == items(1, 2)


def test_what_is_begun_twice_is_a_duplicate_and_not_out_of_order(ledger: Ledger) -> None:
    send(ledger, 1, 2)
    begin(ledger, 1, 2, 1)
    verdict = ledger.verdict()
    assert (verdict.duplicated, verdict.reordered) == (items(1), [])
    assert verdict.is_clean(duplicates_allowed=True)


def test_what_is_begun_after_a_later_one_is_out_of_order(ledger: Ledger) -> None:
    send(ledger, 1, 2, 3)
    begin(ledger, 2, 1, 3)
    assert ledger.verdict().reordered == items(1)


def test_what_comes_late_may_be_out_of_order_if_nobody_knew_what_became_of_it(
    ledger: Ledger,
) -> None:
    send(ledger, 1, error=OutcomeUnknown())
    send(ledger, 2)
    begin(ledger, 2, 1)
    verdict = ledger.verdict()
    assert verdict.late == verdict.reordered == items(1)
    assert verdict.is_clean(lateness_told=True)
    assert not verdict.is_clean()
    send(ledger, 3, 4)
    begin(ledger, 4, 3)
    verdict = ledger.verdict()
    assert (verdict.late, verdict.reordered) == (items(1), items(1, 3))
    assert not verdict.is_clean(lateness_told=True)


def test_the_times_of_a_ledger_are_those_for_which_somebody_waited(tmp_path: Path) -> None:
    history = [
        ("attempted", 1, 10.0),
        ("accepted", 1, 11.0),
        ("begun", 1, 12.0),
        ("fault", 0, 20.0),
        ("attempted", 2, 50.0),  # nobody waited before
        ("accepted", 2, 51.0),
        ("attempted", 3, 52.0),
        ("accepted", 3, 56.0),
        ("begun", 2, 58.0),
        ("dead", 3, 60.0),
        ("attempted", 4, 90.0),
        ("refused", 4, 93.0),
    ]
    lines = [json.dumps([kind, "a", "b", number, when, ""]) for kind, number, when in history]
    (tmp_path / "history").write_text("\n".join([*lines, ""]), encoding="utf-8")
    verdict = Ledger(tmp_path / "history").verdict()
    assert (verdict.longest_gap, verdict.longest_wait, verdict.duration) == (8.0, 4.0, 83.0)
    assert sum(verdict.faults.values()) == 1


def test_the_figures_of_a_run_are_a_row_for_each_load_with_the_longest_stop(
    ledger: Ledger,
) -> None:
    send(ledger, 1, 2)
    begin(ledger, 1, 2, 2)
    ledger.fault("b killed")
    figures = Figures("kills")
    for _ in range(2):
        with figures.stopping(NativeSpace()):
            pass
    figures.add(ledger.verdict())
    [row] = figures.rows()
    assert (row.run, row.space, row.faults, row.accepted) == ("kills", "NativeSpace", 1, 2)
    assert (row.begun_twice, row.lost) == (1, 0)
    assert row.longest_stop > 0
    head, rule, line = table([row]).splitlines()
    assert len({cells.count("|") for cells in (head, rule, line)}) == 1
    assert line.startswith("| kills | NativeSpace | 1 | 2 |")


def test_another_process_may_write_in_the_same_ledger(ledger: Ledger, tmp_path: Path) -> None:
    send(ledger, 1)
    other = Ledger(tmp_path / "ledger")
    begin(other, 1)
    other.close()
    assert ledger.verdict().is_clean()


# The proxy


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """Sends back what it gets; ends its own side when the client has ended."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def link() -> Iterator[tuple[Proxy, socket.socket]]:
    """A proxy before an echo, and a client of it."""
    with (
        echo_server() as port,
        Proxy(port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as client,
    ):
        yield proxy, client


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    received = b""
    while len(received) < len(data):
        received += client.recv(65536)
    return received


def test_bytes_pass_unchanged_whatever_pieces_they_are_cut_into(
    link: tuple[Proxy, socket.socket],
) -> None:
    proxy, client = link
    assert echoed(client, b"x" * 200_000) == b"x" * 200_000
    proxy.slice(1)
    assert echoed(client, b"in pieces") == b"in pieces"


def test_a_cut_is_a_reset(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    assert echoed(client, b"x") == b"x"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_what_is_stalled_comes_when_it_is_resumed(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    assert echoed(client, b"x") == b"x"
    proxy.stall("to_client")
    client.sendall(b"y")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    proxy.resume()
    client.settimeout(30)
    assert client.recv(1) == b"y"


def test_half_a_close_ends_one_way_only(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    assert echoed(client, b"x") == b"x"
    proxy.half_close("to_client")
    assert client.recv(1) == b""
    client.sendall(b"still goes out")


def test_a_proxy_that_refuses_is_like_a_server_that_is_down(
    link: tuple[Proxy, socket.socket],
) -> None:
    proxy, client = link
    assert echoed(client, b"x") == b"x"
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    proxy.accept()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as again:
        assert echoed(again, b"x") == b"x"


def test_a_connection_ends_when_its_limit_is_reached(link: tuple[Proxy, socket.socket]) -> None:
    proxy, client = link
    proxy.limit(100)
    assert echoed(client, b"x" * 50) == b"x" * 50
    client.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_delay_holds_every_byte_back_and_keeps_their_order(
    link: tuple[Proxy, socket.socket],
) -> None:
    proxy, client = link
    proxy.delay(0.05, jitter=0.02)
    began = time.monotonic()
    assert echoed(client, b"in order") == b"in order"
    assert time.monotonic() - began >= 0.1  # there and back; it cannot have been less


def frame(class_id: int, method: int) -> bytes:
    payload = struct.pack(">HHQB", class_id, method, 1, 0)
    return struct.pack(">BHL", 1, 1, len(payload)) + payload + b"\xce"


def test_confirms_are_swallowed_whole_and_nothing_else(link: tuple[Proxy, socket.socket]) -> None:
    """Also if it begins in the middle of a frame, and if frames come in pieces."""
    proxy, client = link
    ack, nack, deliver = frame(60, 80), frame(60, 120), frame(60, 60)
    assert echoed(client, deliver + ack[:9]) == deliver + ack[:9]
    proxy.swallow("confirm")
    client.sendall(ack[9:] + ack + nack[:3])
    client.sendall(nack[3:] + deliver)
    expected = ack[9:] + deliver
    received = b""
    while len(received) < len(expected):
        received += client.recv(65536)
    assert received == expected
    assert proxy.swallowed == 2
    proxy.swallow()
    assert echoed(client, ack) == ack


# Waits and leaks


def test_what_does_not_end_fails_and_shows_where_it_stands() -> None:
    gate = threading.Event()

    def stuck() -> None:
        gate.wait()

    with pytest.raises(AssertionError, match=r"(?s)has not ended.*gate\.wait"):
        ends(stuck, limit=0.1)
    gate.set()


def test_what_ends_with_an_error_raises_it() -> None:
    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        ends(fail)


def test_a_thread_that_is_left_is_found() -> None:
    gate = threading.Event()
    with pytest.raises(AssertionError, match="left by a test"), leaves_nothing_behind(0.1):
        threading.Thread(target=gate.wait, name="left by a test").start()
    gate.set()


def test_a_file_that_is_left_open_is_found() -> None:
    left: list[socket.socket] = []
    with pytest.raises(AssertionError), leaves_nothing_behind(0.1):
        left.append(socket.socket())
    left[0].close()

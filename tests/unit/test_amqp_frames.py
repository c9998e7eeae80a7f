"""The frames that are written and read by hand say what pika's say."""

from __future__ import annotations

import struct
from typing import Any

import pika
import pika.frame
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pika.spec import Basic

from agency.spaces import amqp_frames
from agency.spaces.amqp_frames import Confirms, Deliveries
from agency.spaces.amqp_outbox import Outbox, Publication
from agency.spaces.amqp_properties import Delivery, Properties

TEXTS = some.text(max_size=60).filter(lambda text: len(text.encode()) <= 255)
KEYS = TEXTS.filter(bool)
TABLES: some.SearchStrategy[Any] = some.dictionaries(
    TEXTS,
    some.recursive(
        some.none() | some.booleans() | some.integers(-(2**63), 2**63 - 1) | some.text(),
        lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
PROPERTIES = some.builds(
    Properties,
    message_id=some.none() | TEXTS,
    correlation_id=some.none() | TEXTS,
    reply_to=some.none() | TEXTS,
    type=some.none() | TEXTS,
    content_type=some.none() | TEXTS,
    timestamp=some.none() | some.integers(0, 2**63 - 1),
    expiration=some.none() | TEXTS,
    user_id=some.none() | TEXTS,
    headers=TABLES,
)


def frames_of(data: bytes) -> list[Any]:
    """The frames in the data, as pika reads them."""
    frames = []
    while data:
        size, frame = pika.frame.decode_frame(data)
        assert frame is not None
        frames.append(frame)
        data = data[size:]
    return frames


def publication(properties: Properties, key: str = "key", body: bytes = b"") -> Publication:
    return Publication(Outbox(), key, body, properties.encoded(), properties.message_id)


def as_pika_has_them(properties: Properties) -> dict[str, Any]:
    return properties._asdict() | {"headers": dict(properties.headers) or None}


@given(PROPERTIES, TEXTS, KEYS, some.binary(max_size=100), some.integers(9, 40))
def test_pika_reads_what_is_published(
    properties: Properties, exchange: str, key: str, body: bytes, frame_max: int
) -> None:
    data = amqp_frames.publish(
        publication(properties, key, body), channel=3, exchange=exchange, frame_max=frame_max
    )
    method, header, *bodies = frames_of(data)
    assert {frame.channel_number for frame in (method, header, *bodies)} == {3}
    assert isinstance(method.method, Basic.Publish)
    assert (method.method.exchange, method.method.routing_key) == (exchange, key)
    assert method.method.mandatory
    assert header.body_size == len(body)
    assert header.properties.delivery_mode == 2
    found = {name: getattr(header.properties, name) for name in Properties._fields}
    assert found == as_pika_has_them(properties)
    assert b"".join(frame.fragment for frame in bodies) == body
    assert all(len(frame.marshal()) <= frame_max for frame in bodies)


@given(PROPERTIES)
def test_properties_are_read_as_they_were_written(properties: Properties) -> None:
    assert Properties.decoded(properties.encoded()) == properties


def test_properties_that_have_no_place_here_are_passed_over() -> None:
    everything = pika.BasicProperties(
        content_type="a",
        content_encoding="b",
        headers={"c": 1},
        delivery_mode=1,
        priority=5,
        correlation_id="d",
        reply_to="e",
        expiration="6",
        message_id="f",
        timestamp=7,
        type="g",
        user_id="h",
        app_id="i",
        cluster_id="j",
    )
    assert Properties.decoded(b"".join(everything.encode())) == Properties(
        message_id="f",
        correlation_id="d",
        reply_to="e",
        type="g",
        content_type="a",
        timestamp=7,
        expiration="6",
        user_id="h",
        headers={"c": 1},
    )


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">H", 1),  # more flags, which AMQP has none of
        struct.pack(">HB", 0x8000, 5) + b"abc",  # shorter than it says
        struct.pack(">HLB", 0x2000, 3, 1) + b"a?",  # a header of no known type
    ],
)
def test_properties_that_cannot_be_read_count_as_absent(data: bytes) -> None:
    assert Properties.decoded(data) == Properties()


def test_a_text_that_is_not_utf_8_counts_as_absent() -> None:
    data = struct.pack(">H", 0x80 | 0x20) + b"\x02\xff\xff" + b"\x04tell"
    assert Properties.decoded(data) == Properties(type="tell")


@given(PROPERTIES, KEYS, some.binary(max_size=40), some.integers(1, 5), some.booleans())
def test_a_delivery_is_put_together_from_its_frames(
    properties: Properties, key: str, body: bytes, fragments: int, redelivered: bool
) -> None:
    arrived: list[Delivery] = []
    reader = Deliveries("a", 4, arrived.append)
    reader.consumers.add(b"ctag")
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties.encoded()
    pieces = [piece for i in range(fragments) if (piece := body[i::fragments])]
    frames = [(1, method_payload(Basic.Deliver("ctag", 7, redelivered, "x", key))), (2, header)]
    frames += [(3, piece) for piece in pieces]
    for _ in range(2):  # nothing is left of the first one
        assert all(reader.take(kind, payload) for kind, payload in frames)
    assert arrived == 2 * [Delivery("a", key, b"".join(pieces), properties, redelivered, 4, 7)]


def test_what_other_consumers_are_sent_is_left_to_pika() -> None:
    reader = Deliveries("a", 1, lambda delivery: pytest.fail(str(delivery)))
    reader.consumers.add(b"mine")
    assert not reader.take(1, method_payload(Basic.Deliver("other", 1, False, "", "a")))
    assert not reader.take(2, struct.pack(">HHQ", 60, 0, 1) + Properties().encoded())
    assert not reader.take(3, b"x")
    assert not reader.take(1, method_payload(Basic.CancelOk("mine")))


@given(some.integers(1, 2**63), some.booleans(), some.booleans())
def test_confirms_are_read(tag: int, multiple: bool, accepted: bool) -> None:
    confirms: list[tuple[int, bool, bool]] = []
    reader = Confirms(lambda *confirm: confirms.append(confirm))
    assert reader.take(1, method_payload((Basic.Ack if accepted else Basic.Nack)(tag, multiple)))
    assert not reader.take(1, method_payload(Basic.Return(312, "", "", "")))
    assert confirms == [(tag, multiple, accepted)]


@given(some.integers(1, 2**16 - 1), some.integers(1, 2**63), some.booleans())
def test_acknowledgements_are_written_as_pika_writes_them(
    channel: int, tag: int, multiple: bool
) -> None:
    frame = pika.frame.Method(channel, Basic.Ack(tag, multiple)).marshal()
    assert amqp_frames.acknowledge(channel, tag, multiple=multiple) == frame


def method_payload(method: Any) -> bytes:
    marshalled: bytes = pika.frame.Method(1, method).marshal()
    return marshalled[7:-1]

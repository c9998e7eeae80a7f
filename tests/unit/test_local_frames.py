"""What travels on the sockets of a LocalSpace, without any socket. More is in `tests/local`."""

from __future__ import annotations

from agency.envelope import Envelope
from agency.schema import Action
from agency.spaces.local_frames import message_frame, read_envelope, split


def test_what_people_write_is_not_kept_by_the_reader() -> None:
    action: Action = {"name": "take", "args": {"text": "a secret"}}
    data = message_frame(Envelope.of({"to": "a", "from": "b", "action": action}, "1"))
    read = [read_envelope(data, split(data)[3]).message for _ in range(2)]
    first, second = (message["action"]["args"]["text"] for message in read)
    assert first == second
    assert first is not second  # as it were if it came from a cache

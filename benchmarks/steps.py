"""What single steps of a message's way cost: microseconds of processor time, for `docs/costs.md`.

    python -m benchmarks.steps

Each step is called by itself, many times, on one thread: the least of several repetitions, without
the call of an empty function. What is between the steps (calls, waking, system calls) is not in it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from mmap import mmap
from typing import Final

from agency.envelope import Envelope, new_envelope_id
from agency.schema import decode, encode, signed
from agency.spaces import amqp_frames, amqp_outbox, amqp_wire
from agency.spaces.amqp_properties import Delivery, Properties
from agency.spaces.local_frames import frames_in, message_frame, read_envelope, split
from agency.spaces.local_memory import Inlet, Outbox, new_memory
from benchmarks.common import CONTENT

REPETITIONS: Final = 9
CALLS: Final = 20_000

MESSAGE: Final = {"to": "sink", "action": {"name": "take", "args": {"content": CONTENT}}}


def an_envelope() -> Envelope:
    """As one that an action sends: caused by a message that was caused by another."""
    first = Envelope("driver", "person", "flood", None, new_envelope_id()())
    envelope = Envelope("sink", "driver", "take", {"content": CONTENT}, new_envelope_id()())
    envelope.follow(first)
    return envelope


def every_space() -> dict[str, Callable[[], object]]:
    new_id = new_envelope_id()
    to, name, args, *_ = signed(MESSAGE, "driver")
    return {
        "check and copy": lambda: signed(MESSAGE, "driver"),
        "id": new_id,
        "envelope": lambda: Envelope(to, "driver", name, args, "1"),
        "the message as a whole": lambda: Envelope(to, "driver", name, args, "1").message,
    }


def local() -> dict[str, Callable[[], object]]:
    envelope = an_envelope()
    frame = message_frame(envelope)
    payload = split(frame)[3]
    handle = new_memory()
    outbox, inlet = Outbox(mmap(handle, 0)), Inlet(mmap(handle, 0))
    os.close(handle)

    def through_memory() -> None:
        outbox.put(frame)
        inlet.take(outbox.written)

    return {
        "write the frame": lambda: message_frame(envelope),
        "into shared memory, and out of it": through_memory,
        "cut a frame out": lambda: deque(frames_in(frame), maxlen=0),
        "whom it is for": lambda: split(frame),
        "read the envelope": lambda: read_envelope(frame, payload),
    }


def amqp() -> dict[str, Callable[[], object]]:
    envelope = an_envelope()
    body = encode(envelope.message)
    properties = amqp_wire.to_properties(envelope, None)
    written = properties.encoded()
    publication = amqp_outbox.Outbox().put("sink", body, written, envelope.id, timeout=0)
    delivery = Delivery("sink", "sink", body, Properties.decoded(written), False, 1, 1)

    def publish() -> bytes:
        return amqp_frames.publish(publication, channel=1, exchange="agency", frame_max=131_072)

    return {
        "write the body": lambda: encode(envelope.message),
        "what travels beside it": lambda: amqp_wire.to_properties(envelope, None),
        "write that": properties.encoded,
        "write the frames": publish,
        "read what travels beside the body": lambda: Properties.decoded(written),
        "read and check the body": lambda: decode(body),
        "read the envelope, body included": lambda: amqp_wire.read(delivery, str),
    }


def cost(step: Callable[[], object]) -> float:
    """Microseconds of this thread's processor time for one call."""
    return max(0.0, least(step) - least(lambda: None))


def least(step: Callable[[], object]) -> float:
    times = []
    for _ in range(REPETITIONS):
        begin = time.thread_time()
        for _ in range(CALLS):
            step()
        times.append(time.thread_time() - begin)
    return min(times) / CALLS * 1e6


def main() -> None:
    for name, steps in (("every space", every_space()), ("local", local()), ("amqp", amqp())):
        print(name)
        for what, step in steps.items():
            print(f"  {cost(step):6.2f}  {what}")


if __name__ == "__main__":
    main()

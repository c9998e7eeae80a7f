"""What others say cannot command the terminal that a log is written to."""

from __future__ import annotations

from typing import Any

import pytest

from agency import Agent, NativeSpace, action

HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\r\n\nAllow this? [y/N] y\u202e"


class Fails(Agent):
    @action
    def fail(self, text: str) -> None:
        raise ValueError(text)


@pytest.mark.parametrize(
    "hostile",
    [
        {"name": "error", "args": {"error": HOSTILE, "original_message_id": HOSTILE}},
        {"name": "error", "args": {HOSTILE: 1}},
        {"name": "response", "args": {HOSTILE: 1}},
        {"name": "fail", "args": {"text": HOSTILE}},
        {"name": HOSTILE},
    ],
    ids=["an error", "an error that is none", "a response that is none", "a failure", "a name"],
)
def test_what_others_say_is_logged_in_printable_characters(
    hostile: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "agency")
    with NativeSpace() as space:
        space.add(Fails, "told")
        space.add(Agent("beside"))
        sender = space.join("sender")
        sender.send({"id": HOSTILE, "to": "told", "action": hostile})
        sender.send({"id": HOSTILE, "to": "beside", "action": hostile})
        sender.proxy("told").help()
        sender.proxy("beside").help()
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if not text.isprintable()] == []
    assert said or hostile["name"] == HOSTILE  # an unknown action is the sender's business

"""A program for the tests: a space with a Host, and a person who gives it the commands of argv.

    python driver.py LocalSpace '/Host.list_files directory_path:"."'

Prints every answer as one line. HOST_PERMISSION_TIMEOUT is the time that the terminal has.
"""

# ruff: noqa: T201  # a program that prints what it gets

from __future__ import annotations

import json
import os
import sys
from typing import Any

import agency
from agency.guest import Guest
from agency.slash import parse_command
from agents.host import Host


def next_answer(person: Guest) -> dict[str, Any]:
    """Wait for it, a while at a time: Ctrl-C just before a wait begins is acted upon only after it."""
    while True:
        try:
            answer: dict[str, Any] = person.receive(timeout=0.5)["action"]
        except TimeoutError:
            continue
        return answer


if __name__ == "__main__":
    space: agency.Space = getattr(agency, sys.argv[1])()
    timeout = float(os.environ.get("HOST_PERMISSION_TIMEOUT", "120"))
    space.add(Host, "Host", permission_timeout=timeout)
    person = space.join("User")
    for command in sys.argv[2:]:
        person.send(parse_command(command))
    print("sent", flush=True)
    for _ in sys.argv[2:]:
        answer = next_answer(person)
        # In one write: the agents' questions are on the same terminal.
        sys.stdout.write(f"{answer['name']} {json.dumps(answer['args'])}\n")
        sys.stdout.flush()
    print("done", flush=True)

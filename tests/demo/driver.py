"""A program for the tests: a space with a Host, and a person who gives it the commands of argv.

    python driver.py LocalSpace '/Host.list_files directory_path:"."'

A command may also be a message in JSON. Prints every answer as one line. The environment may say
more: HOST_PERMISSION_TIMEOUT is the time that the terminal has, PERSON the person's id, ACTION the
name of an action that Host has besides its own.
"""

# ruff: noqa: T201  # a program that prints what it gets

from __future__ import annotations

import json
import os
import sys
from typing import Any

import agency
from agency import ACCESS_REQUESTED, Agent, action
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


class NamedHost(Host):
    @action(name=os.environ.get("ACTION", "named"), access_policy=ACCESS_REQUESTED)
    def named(self) -> None: ...


class Relay(Agent):
    """Has another agent do what it was asked to do, as a model would."""

    @action
    def pass_on(self, message: dict[str, Any]) -> Any:
        return self.request(message)


if __name__ == "__main__":
    space: agency.Space = getattr(agency, sys.argv[1])()
    timeout = float(os.environ.get("HOST_PERMISSION_TIMEOUT", "120"))
    space.add(NamedHost, "Host", permission_timeout=timeout)
    space.add(Relay("Relay"))
    person = space.join(os.environ.get("PERSON", "User"))
    for command in sys.argv[2:]:
        person.send(json.loads(command) if command.startswith("{") else parse_command(command))
    for _ in sys.argv[2:]:
        answer = next_answer(person)
        # In one write: the agents' questions are on the same terminal.
        sys.stdout.write(f"{answer['name']} {json.dumps(answer['args'])}\n")
        sys.stdout.flush()
    print("done", flush=True)

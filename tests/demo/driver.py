"""A program for the tests: a space with a Host, and a person who gives it the commands of argv.

    python driver.py LocalSpace '/Host.list_files directory_path:"."'

Prints every answer as one line. HOST_PERMISSION_TIMEOUT is the time that the terminal has.
"""

# ruff: noqa: T201  # a program that prints what it gets

from __future__ import annotations

import json
import os
import sys

import agency
from agency.slash import parse_command
from agents.host import Host

if __name__ == "__main__":
    space: agency.Space = getattr(agency, sys.argv[1])()
    timeout = float(os.environ.get("HOST_PERMISSION_TIMEOUT", "120"))
    space.add(Host, "Host", permission_timeout=timeout)
    person = space.join("User")
    for command in sys.argv[2:]:
        person.send(parse_command(command))
    print("sent", flush=True)
    for _ in sys.argv[2:]:
        answer = person.receive(timeout=None)["action"]
        print(answer["name"], json.dumps(answer["args"]), flush=True)
    print("done", flush=True)

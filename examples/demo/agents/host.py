"""Host: the operating system as an agent, each call approved by a person.

An example of an agent with dangerous actions. All of them are `ACCESS_REQUESTED`, so every call is
put to `request_permission` first, which asks on the terminal where the application runs. Those that
change something are `at_most_once`: if the application dies, nothing is done twice.

    space.add(Host, "Host")

or, by choice, another agent, such as the person at the page (`apps.gradio_app`):

    space.add(Host, "Host", approver="User")

To ask in another way, on a telephone say, override that one method. Below: `agents.terminal` asks,
`agents.command` and `agents.files` do the work within limits.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from pathlib import Path
from typing import Any, Final

from agency import (
    ACCESS_REQUESTED,
    ActionNotPermitted,
    AgencyError,
    Agent,
    action,
    current_senders,
)
from agency.slash import format_command
from agents import files, terminal
from agents.command import Command

__all__ = ["Host"]

logger = logging.getLogger(__name__)

_MARGIN: Final = 2.0  # seconds


class Host(Agent):
    """Gives other agents access to the operating system where it lives.

    Args:
        id: how others address it.
        command_timeout: seconds that a shell command may take.
        max_output: bytes that a shell command may write.
        permission_timeout: seconds that the person has to answer.
        approver: the agent that is asked for approval, in place of the person at the terminal. It
            needs an action `approve` like the page's, and is believed: the id in a space is its
            own, so whoever may add agents to the space decides who that is.
    """

    def __init__(
        self,
        id: str,
        *,
        command_timeout: float = 60.0,
        max_output: int = 100_000,
        permission_timeout: float = 120.0,
        approver: str | None = None,
    ) -> None:
        # Whoever asks the person knows first that there was no answer, and says so.
        super().__init__(
            id, receive_own_broadcasts=False, permission_timeout=permission_timeout + 3 * _MARGIN
        )
        self._command_timeout = command_timeout
        self._max_output = max_output
        self._answer_time = permission_timeout
        self._approver = approver

    @staticmethod
    def approver_in_settings() -> str | None:
        """The approver that the demo's settings name; by default none, which means the terminal."""
        return os.environ.get("HOST_APPROVER") or None

    @action(access_policy=ACCESS_REQUESTED, at_most_once=True)
    def shell_command(self, command: str) -> str:
        """
        Execute a shell command

        Args:
            command (str): The command to execute

        Returns:
            str: The output of the command
        """  # noqa: D212, D415  # as published, to the letter
        return Command(
            command,
            timeout=self._command_timeout,
            max_output=self._max_output,
            unwanted=self.leaving,
        ).run()

    @action(access_policy=ACCESS_REQUESTED)
    def read_file(self, file_path: str) -> str:
        """Read a text file.

        Args:
            file_path (str): The path of the file

        Returns:
            str: The text in the file
        """
        return files.read(file_path)

    @action(access_policy=ACCESS_REQUESTED, at_most_once=True)
    def write_to_file(self, file_path: str, text: str, append: bool = False) -> str:
        """Write text to a file, in place of what was there.

        Args:
            file_path (str): The path of the file
            text (str): The text to write
            append (bool): Add to the end of the file instead

        Returns:
            str: What was done
        """
        written = files.write(file_path, text, append=append)
        return f"Wrote {written} bytes to {file_path}"

    @action(access_policy=ACCESS_REQUESTED, at_most_once=True)
    def delete_file(self, file_path: str) -> str:
        """Delete a file.

        Args:
            file_path (str): The path of the file

        Returns:
            str: What was done
        """
        files.delete(file_path)
        return f"Deleted {file_path}"

    @action(access_policy=ACCESS_REQUESTED)
    def list_files(self, directory_path: str) -> list[str]:
        """List the files in a directory.

        Args:
            directory_path (str): The path of the directory

        Returns:
            list: Their names; the name of a directory ends with a slash
        """
        return files.listing(directory_path)

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        """Ask the person at the terminal, or the approver. If they cannot be asked, refuse."""
        try:
            if self._approver is not None:
                return self._ask_approver(self._approver, proposed_message)
            return terminal.Question(
                "This needs your approval:",
                _about(proposed_message),
                self._answer_time,
                self.leaving,
            ).ask()
        except ActionNotPermitted:
            return False
        except terminal.TooLong as error:
            logger.warning('"%s" refuses a call without asking: %s', self.id, error)
            return False
        except (terminal.NoTerminal, AgencyError) as error:
            # When a program ends, the approver may be gone a moment before this agent.
            if not self.leaving.wait(_MARGIN):
                logger.warning('"%s" cannot ask for permission, so it refuses: %s', self.id, error)
            return False

    def _ask_approver(self, approver: str, message: dict[str, Any]) -> bool:
        """Only this agent's own answer to this very request counts; that is what `request` is for."""
        others = _behind_the_sender()
        args = {
            "proposed_message": message,
            "place": f"{Path.cwd()} on {socket.gethostname()}"
            + (f", led to by {others}" if others else ""),
            "timeout": self._answer_time,
        }
        question = {"to": approver, "action": {"name": "approve", "args": args}}
        return self.request(question, timeout=self._answer_time + _MARGIN) is True


def _about(message: dict[str, Any]) -> list[tuple[str, str]]:
    """All that there is to know of a message: who asks for what, and what else is in it."""
    others = _behind_the_sender()
    about = [
        ("from", _quoted(message["from"])),
        *([("led to by", others)] if others else []),
        ("in", str(Path.cwd())),
        ("to run", format_command(message)),
    ]
    return about + [
        (f"with {key}", _quoted(message[key])) for key in ("id", "meta") if key in message
    ]


def _behind_the_sender() -> str:
    """Through whom the call came: who led to the sender's message, oldest first."""
    return " → ".join(map(_quoted, current_senders()[:-1]))


def _quoted(value: Any) -> str:
    """The value as JSON in which nothing is invisible."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)

"""Host: the operating system as an agent, each call approved by the person at the terminal.

An example of an agent with dangerous actions. All of them are `ACCESS_REQUESTED`, so every call is
put to `request_permission` first, which asks on the terminal where the application runs. To ask
elsewhere, on a telephone say, override that one method. Below: `agents.terminal` asks,
`agents.command` and `agents.files` do the work within limits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agency import ACCESS_REQUESTED, Agent, action
from agency.slash import format_command
from agents import files, terminal
from agents.command import Command

__all__ = ["Host"]

logger = logging.getLogger(__name__)


class Host(Agent):
    """Gives other agents access to the operating system where it lives.

    Args:
        id: how others address it.
        command_timeout: seconds that a shell command may take.
        max_output: bytes that a shell command may write.
        permission_timeout: seconds that the person at the terminal has to answer.
    """

    def __init__(
        self,
        id: str,
        *,
        command_timeout: float = 60.0,
        max_output: int = 100_000,
        permission_timeout: float = 120.0,
    ) -> None:
        super().__init__(id, receive_own_broadcasts=False, permission_timeout=permission_timeout)
        self._command_timeout = command_timeout
        self._max_output = max_output
        self._answer_time = permission_timeout
        self._lock = threading.Lock()
        self._endings: list[Callable[[], None]] = []  # of what is in progress; guarded by _lock
        self._is_leaving = False  # guarded by _lock

    @action(access_policy=ACCESS_REQUESTED)
    def shell_command(self, command: str) -> str:
        """
        Execute a shell command

        Args:
            command (str): The command to execute

        Returns:
            str: The output of the command
        """  # noqa: D212, D415  # as published, to the letter
        running = Command(command, timeout=self._command_timeout, max_output=self._max_output)
        with self._until_leaving(running.end):
            return running.run()

    @action(access_policy=ACCESS_REQUESTED)
    def read_file(self, file_path: str) -> str:
        """Read a text file.

        Args:
            file_path (str): The path of the file

        Returns:
            str: The text in the file
        """
        return files.read(file_path)

    @action(access_policy=ACCESS_REQUESTED)
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

    @action(access_policy=ACCESS_REQUESTED)
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
        """Ask the person at the terminal. Where there is no terminal, nothing is permitted."""
        question = terminal.Question(self._describe(proposed_message), self._answer_time)
        try:
            with self._until_leaving(question.withdraw):
                return question.ask()
        except terminal.NoTerminal as error:
            logger.warning('"%s" cannot ask for permission, so it refuses: %s', self.id, error)
            return False

    def after_add(self) -> None:
        """Begin, also a second time."""
        with self._lock:
            self._is_leaving = False

    def before_remove(self) -> None:
        """Withdraw the questions that nobody has answered, and end the commands that still run."""
        with self._lock:
            self._is_leaving = True
            endings = list(self._endings)
        for end in endings:
            end()

    @contextmanager
    def _until_leaving(self, end: Callable[[], None]) -> Iterator[None]:
        """Within: `end` is called when Host leaves its space, or at once if it has left."""
        with self._lock:
            self._endings.append(end)
            is_leaving = self._is_leaving
        try:
            if is_leaving:
                end()
            yield
        finally:
            with self._lock:
                self._endings.remove(end)

    def _describe(self, message: dict[str, Any]) -> str:
        """Who asks for what, in printable characters, as lines."""
        sender = terminal.visible(message["from"], limit=300)
        folder = terminal.visible(str(Path.cwd()), limit=1000)
        call = terminal.in_a_frame(terminal.visible(format_command(message)))
        return f'"{sender}" wants to use "{self.id}" in {folder}:\n{call}'

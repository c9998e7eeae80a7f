"""Is signalled while pydantic, which wraps whatever is raised within, builds what checks an action's arguments."""

import os
import signal
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from agency import action
from common import Greeter, make_space, populate, tell


class Signalled:
    def __hash__(self) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema([cls()])


class Described(Greeter):
    @action
    def take(self, it: Signalled) -> None:
        """Take it."""


populate(make_space())
Described("Described")
tell("never reached")

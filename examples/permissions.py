"""A person decides in the terminal what others may do to some notes.

Run it: `python examples/permissions.py`.
"""

from typing import Any

from agency import (
    ACCESS_DENIED,
    ACCESS_REQUESTED,
    ActionNotPermitted,
    Agent,
    NativeSpace,
    action,
)
from agency.slash import format_command


class Notes(Agent):
    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._notes = ["buy milk", "call Ann"]

    @action  # ACCESS_PERMITTED, the default
    def read(self) -> list[str]:
        return self._notes

    @action(access_policy=ACCESS_REQUESTED)
    def erase(self, number: int) -> str:
        return self._notes.pop(number)

    @action(access_policy=ACCESS_DENIED)
    def sell(self) -> None:
        raise AssertionError("never runs")

    def request_permission(self, proposed_message: dict[str, Any]) -> bool:
        print(f"{proposed_message['from']} wants {format_command(proposed_message)}")
        return input("Permit it? [y/n] ").strip() == "y"


if __name__ == "__main__":
    with NativeSpace() as space:
        space.add(Notes("notes"))
        notes = space.join("visitor").proxy("notes", timeout=None)
        for name, args in (("sell", {}), ("erase", {"number": 0}), ("erase", {"number": 1})):
            try:
                print("done:", notes[name](**args))
            except ActionNotPermitted as error:
                print("refused:", error)
        print("notes now:", notes.read())

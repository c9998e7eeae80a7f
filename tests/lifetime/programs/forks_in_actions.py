"""Agents have children, in both ways, while the program serves."""

import multiprocessing
import os
import sys
import threading

from agency import action
from common import Greeter, make_space, tell


class Parent(Greeter):
    @action
    def fork(self) -> int:
        child = os.fork()
        if child == 0:
            sys.exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @action
    def multiprocess(self) -> int | None:
        child = multiprocessing.get_context("fork").Process(target=tell, args=("child works",))
        child.start()
        child.join()
        return child.exitcode

    @action
    async def fork_in_loop(self) -> int:
        return self.fork()


def ask() -> None:
    main_has_ended.wait()
    for agent in ("Built", "Given"):
        for name in ("fork", "multiprocess", "fork_in_loop"):
            tell(f"{agent} {name} {me.request({'to': agent, 'action': {'name': name}})}")
    tell("all children ended")


if __name__ == "__main__":
    space = make_space()
    space.add(Parent, "Built")
    space.add(Parent("Given"))
    me = space.join("me")
    main_has_ended = threading.Event()
    threading.Thread(target=ask).start()
    at_the_end_of_main = threading._register_atexit  # type: ignore[attr-defined]  # noqa: SLF001
    at_the_end_of_main(main_has_ended.set)

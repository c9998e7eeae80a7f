import threading

from common import Greeter, make_space, populate, tell


class Stuck(Greeter):
    def before_remove(self) -> None:
        tell("Stuck is leaving")
        threading.Event().wait()


with make_space() as space:
    populate(space)
    space.add(Stuck("Stuck"))
    tell("all are there")
    space.wait()

import os
import signal
import threading

from common import Greeter, make_space, populate


class Stuck(Greeter):
    def before_remove(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()


with make_space() as space:
    populate(space)
    space.add(Stuck("Stuck"))

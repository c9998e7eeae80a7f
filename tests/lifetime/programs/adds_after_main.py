import threading

from common import make_space, populate, tell


def work() -> None:
    threading.main_thread().join()
    with make_space() as space:
        populate(space)
    tell("end of work")


threading.Thread(target=work).start()

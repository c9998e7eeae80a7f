import os
import signal
import threading

from common import make_space, populate

populate(make_space())
between_main_and_serving = threading._register_atexit  # type: ignore[attr-defined]  # noqa: SLF001
between_main_and_serving(lambda: os.kill(os.getpid(), signal.SIGTERM))

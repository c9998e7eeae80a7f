import threading

from common import make_space, populate

with make_space() as space:
    populate(space)
left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print(f"threads left: {left}", flush=True)
print("end of main", flush=True)

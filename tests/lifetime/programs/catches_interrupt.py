import time

from common import make_space, populate

populate(make_space())
try:
    print("end of main", flush=True)
    while True:
        time.sleep(1)
except KeyboardInterrupt:
    print("caught KeyboardInterrupt", flush=True)

import time

from common import make_space, populate

populate(make_space())
print("end of main", flush=True)
while True:
    time.sleep(1)

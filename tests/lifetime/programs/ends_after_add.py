from common import make_space, populate

populate(make_space())
print("end of main", flush=True)

from common import make_space, populate

space = make_space()
populate(space)
print("end of main", flush=True)
space.wait()

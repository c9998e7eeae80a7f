from common import make_space, populate

space = make_space()
populate(space)
space.destroy()
space.destroy()
print("end of main", flush=True)

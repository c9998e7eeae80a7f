from common import make_space, populate

populate(make_space())
raise RuntimeError("a mistake in the program")

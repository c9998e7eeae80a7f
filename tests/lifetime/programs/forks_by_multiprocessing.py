"""A child of the kind that Linux programs get by default up to Python 3.13."""

import multiprocessing

from common import make_space, populate, tell

space = make_space()
populate(space)
me = space.join("asker")
child = multiprocessing.get_context("fork").Process(target=tell, args=("child works",))
child.start()
child.join()
tell(f"child ended with {child.exitcode}")
tell(f"after it {me.proxy('Given').greet()}")
tell(f"after it {me.proxy('Built').greet()}")
space.destroy()

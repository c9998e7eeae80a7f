"""A child forked by hand is in the middle of a with block, and ends there."""

import os
import sys

from agency import SpaceClosed
from common import make_space, populate, tell

with make_space() as space:
    populate(space)
    me = space.join("asker")
    child = os.fork()
    if child == 0:
        for use in (me.proxy("Given").greet, me.proxy("Built").greet, space.join, space.wait):
            try:
                use()
            except SpaceClosed as error:
                tell(f"child: {error}")
        space.destroy()
        sys.exit(3)
    tell(f"child ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
    tell(f"after it {me.proxy('Given').greet()}")
    tell(f"after it {me.proxy('Built').greet()}")

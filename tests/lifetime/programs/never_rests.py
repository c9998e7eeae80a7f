"""Adds, asks and removes without end, to be signalled at whatever moment."""

import itertools

from common import Greeter, make_space, tell

space = make_space()
tell("start")
me = space.join("me")
for number in itertools.count(1):
    space.add(Greeter(f"Given{number}"))
    tell(f"added Given{number}")
    if number % 8 == 1:
        space.add(Greeter, f"Built{number}")
        tell(f"added Built{number}")
    for _ in range(10):
        me.proxy(f"Given{number}").greet()
    me.send({"to": f"Given{number}", "action": {"name": "greet"}})
    if number % 2 == 0:
        space.remove(f"Given{number}")

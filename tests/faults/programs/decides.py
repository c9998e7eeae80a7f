"""An application whose agent is asked and acts until it is killed: AUDIT EFFECTS FIRST_NUMBER.

With a fourth argument its files cannot grow beyond so many bytes, until that was noticed.
"""

import itertools
import resource
import sys

from agency import ActionNotPermitted, NativeSpace
from tests.faults.members import Guarded

audit, effects, first = sys.argv[1:4]
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
if len(sys.argv) > 4:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), most))
with NativeSpace(audit=audit) as space:
    space.add(Guarded, "guarded", audit, effects)
    guarded = space.join("me").proxy("guarded")
    for number in itertools.count(int(first)):
        try:
            guarded.act(wish="granted", number=number, load="x" * 50_000)
            print("acted", number)
        except ActionNotPermitted as error:
            print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

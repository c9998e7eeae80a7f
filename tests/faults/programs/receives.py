"""An application with one agent that writes into the ledger: SPACE LEDGER [CLASS [replicated]]."""

import sys

from agency import AMQPSpace
from tests.faults import members

exchange, ledger, name, kind = (*sys.argv[1:], *("Recorder", "")[len(sys.argv) - 3 :])
space = AMQPSpace(exchange=exchange, replicated=kind == "replicated")
space.add(getattr(members, name), "bob", ledger)
print("serves")

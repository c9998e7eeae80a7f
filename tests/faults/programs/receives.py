"""An application with one agent whose beginnings and losses are in the ledger: SPACE LEDGER [CLASS [replicated]]."""

import sys

from agency import AMQPSpace
from tests.faults import members
from tests.faults.ledger import Ledger

exchange, ledger, name, kind = (*sys.argv[1:], *("Recorder", "")[len(sys.argv) - 3 :])
space = AMQPSpace(exchange=exchange, replicated=kind == "replicated")
if issubclass(cls := getattr(members, name), members.Recorder):
    space.dead_letters.listen(Ledger(ledger).dead)
space.add(cls, "bob", ledger)
print("serves")

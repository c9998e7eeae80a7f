"""An application with one agent that writes into the ledger: SPACE LEDGER."""

import sys

from agency import AMQPSpace
from tests.faults.members import Recorder

space = AMQPSpace(exchange=sys.argv[1])
space.add(Recorder, "bob", sys.argv[2])
print("serves")

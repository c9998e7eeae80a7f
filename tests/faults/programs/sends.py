"""An application that sends to bob until it is killed: SPACE LEDGER."""

import itertools
import sys

from agency import AMQPSpace
from tests.faults.ledger import Ledger

ledger = Ledger(sys.argv[2])
ann = AMQPSpace(exchange=sys.argv[1]).join("ann")
for number in itertools.count():
    with ledger.sending("ann", "bob", number):
        ann.send({"to": "bob", "action": {"name": "note", "args": {"number": number}}})

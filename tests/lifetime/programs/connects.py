"""Connects to a server that says nothing."""

from agency import AMQPSpace

AMQPSpace()
print("never reached", flush=True)

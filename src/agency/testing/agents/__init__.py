"""The agents of the conformance suite.

They live in modules that can be imported, because a space may build agents in other processes. A
test therefore knows of them only what messages tell: an agent reports what happens to it to the
`Witness`, and blocks at the `Gate`; these two live in the process of the test. Above:
`agency.testing.suites`. Below: `agency.testing.bad_messages`.
"""

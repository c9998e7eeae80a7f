"""The same works on the peers. These modules see only the standard library, `benchmarks.common` and
their peer: they run in an environment of their own, where Agency is not installed.
"""

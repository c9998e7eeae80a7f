"""How fast Agency is, and its peers beside it. `python -m benchmarks --help`; see README.md."""

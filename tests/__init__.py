"""The tests: sentences about what Agency promises, read top to bottom."""

"""`python -m benchmarks`."""

from benchmarks.driver import main

if __name__ == "__main__":
    raise SystemExit(main())

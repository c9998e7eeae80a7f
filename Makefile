# Two commands: `make demo` and `make test`. Each sets up what it needs, once; afterwards it needs no network.
# Options: PYTHON=python3.13 picks an interpreter, ARGS="-k mailbox" goes to pytest (test, quick) or the benchmarks.

VENV := .venv
BIN := $(VENV)/bin
ARGS :=
export SEED MINUTES
# In a process of its own, as in a program: transformers imports itself piece by piece, and minds who did so before.
MODELS := tests/demo/test_chatty_ai.py
# Where tests take minutes, the stacks that faulthandler shows after one are noise.
LONG := -o faulthandler_timeout=0
# What glibc keeps for each thread, free to be used again, drifts as thousands of them come and go, and hides what leaks.
PLAIN_MALLOC := MALLOC_ARENA_MAX=1 GLIBC_TUNABLES=glibc.malloc.tcache_count=0
QUICK := tests/unit tests/native tests/conformance/test_native_space.py tests/conformance/test_manifest.py

.DEFAULT_GOAL := help
.PHONY: help test quick faults soak demo lint format bench lock clean

help: ## show this
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1#\2/p' $(MAKEFILE_LIST) | awk -F'#' '{ printf "%-14s %s\n", $$1, $$2 }'

test: $(VENV)/dev.ready ## set up all that the tests need, a RabbitMQ and Chromium included; check and test everything
	@scripts/system-packages rabbitmq chromium
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n logical --dist worksteal --ignore=$(MODELS) $(ARGS)
	$(BIN)/python -m pytest $(MODELS)

quick: $(VENV)/dev.ready ## the tests that stay in one process, in less than half a minute, for people at work
	$(BIN)/ruff check --quiet
	$(BIN)/python -m pytest -n logical --dist worksteal $(QUICK) $(ARGS)

faults: $(VENV)/dev.ready ## the tests of faults, the long ones too, for an hour (SEED=7 repeats one)
	@scripts/system-packages rabbitmq
	$(BIN)/python -m pytest -n logical --dist worksteal $(LONG) -m "not soak" tests/faults $(ARGS)

soak: $(VENV)/dev.ready ## all faults at random for two hours (MINUTES=10, SEED=7)
	@scripts/system-packages rabbitmq
	$(PLAIN_MALLOC) $(BIN)/python -m pytest $(LONG) -m soak -s tests/faults $(ARGS)

demo: $(VENV)/demo.ready ## set up what the demo needs and show it at http://localhost:8080
	$(BIN)/python examples/demo/demo_local.py

lint: $(VENV)/dev.ready ## linter, formatter, type check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy

format: $(VENV)/dev.ready ## repair what the linter and the formatter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/dev.ready ## measure
	@scripts/system-packages rabbitmq
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(VENV)/dev.ready ## resolve the dependencies anew (ARGS=--upgrade for newer versions); needs the network
	scripts/lock $(ARGS)

clean: ## remove the environment and everything that tools and builds left behind
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# An environment is ready when its lock and the project's own metadata are not newer than this file.
$(VENV)/%.ready: requirements/%.txt requirements/torch.txt pyproject.toml scripts/environment
	@scripts/environment $*

# Everything happens in .venv, the project's own environment; nothing else on the machine is changed.

PYTHON ?= python3
BIN := .venv/bin
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile
# Extra arguments for `vitruvius run` or pytest: make run ARGS="--evaluations 20"
ARGS ?=
# Test files that run side by side, each on one thread: make test JOBS=0 runs them in one process, as a debugger needs.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install run run-smollm2 test check lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## create .venv and install what is missing, with vLLM for this machine
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Vitruvius needs Python 3.11 or newer; '$(PYTHON)' is older or missing. Name one: make PYTHON=python3.12 run" >&2; \
	  exit 1; }
	@$(PYTHON) scripts/install.py

run: install ## search for a graph network: the main job on embedded data (about 6 minutes the first time)
	@$(BIN)/vitruvius run $(ARGS)

run-smollm2: install ## the same with a small language model, served by vLLM, proposing the principles
	@$(BIN)/vitruvius run --reasoner vllm:smollm2 $(ARGS)

test: install ## run the tests; VITRUVIUS_TABLES=FOLDER adds those that need benchmark tables
	@$(PYTEST) $(ARGS)

check: install ## all that must hold: format, lint, types, import layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(PYTEST) $(ARGS)

lint: install ## mend what the formatter and the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and everything built; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

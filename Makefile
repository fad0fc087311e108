# neurarium: `make help` lists what can be made.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-all check format bench reproduce clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(VENV)/.ready ## everything that neurarium needs, in .venv

setup-dev: $(VENV)/.ready-dev ## setup, and what its tests and checks need

run: setup ## train LeNet on handwritten digits
	$(BIN)/neurarium train lenet

test: setup-dev ## the quick suite
	$(PYTEST) -m "not slow"

test-all: setup-dev ## the suite with its slow tests
	$(PYTEST)

check: setup-dev ## lint, format, types, file lengths
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/file_lengths.py

format: setup-dev ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-dev ## ours and its peers side by side; ratios go to results/benchmarks.json
	$(BIN)/python -m benchmarks

reproduce: setup ## every promised result, three seeds each; measured values go to results/
	$(BIN)/neurarium reproduce --all

clean: ## remove caches and builds; .venv and runs/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and by its exact version, so that a wheel at hand is used and nothing newer is fetched after it.
$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "neurarium needs Python 3.11 or newer; there is no $(PYTHON) here. Try: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "neurarium needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make setup PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(TORCH)
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

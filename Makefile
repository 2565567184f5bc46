# Every target sets its environment up first (once, in .venv/) and has a twin without make: `python -m ra3_lab TARGET`.
#
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu    CPU build of torch on Linux, far smaller
#   make demo ARGS="--out my_run --seed 1"                        arguments are passed on
#   make test CONSTRAINTS=constraints.txt                         exactly the versions we tested
PYTHON      ?= python3
TORCH_INDEX ?=
CONSTRAINTS ?=
ARGS        ?=

VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := torch==2.13.0
PIP    := $(BIN)/python -m pip install --disable-pip-version-check
CONSTRAIN := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

# On few cores spinning OpenMP threads can slow everything down many times over (docs/decisions.md).
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
# The tests of the built wheel install torch once more and use the same index.
export TORCH_INDEX

.PHONY: help setup demo test test-all lab notebooks docs lint format clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.core $(VENV)/.notebook $(VENV)/.dev  ## everything below needs, in .venv/

demo: $(VENV)/.core  ## the main job: RA3 against next-token prediction, live, with a report
	$(BIN)/python -m ra3_lab demo $(ARGS)

test: $(VENV)/.dev $(VENV)/.notebook  ## the fast test suite
	$(BIN)/python -m ra3_lab test

test-all: $(VENV)/.dev $(VENV)/.notebook $(VENV)/.docs  ## every test, slow ones included
	$(BIN)/python -m ra3_lab test-all

lab: $(VENV)/.notebook  ## open JupyterLab on the notebooks
	$(BIN)/python -m ra3_lab lab $(ARGS)

notebooks: $(VENV)/.core  ## build notebooks/*.ipynb from notebooks/src
	$(BIN)/python -m ra3_lab notebooks $(ARGS)

docs: $(VENV)/.docs $(VENV)/.notebook  ## build the docs site, docs/_build/html; runs the notebooks the first time
	$(BIN)/python docs/site/build.py $(ARGS)

lint: $(VENV)/.dev  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev  ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and everything built; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis docs/_build
	find ra3_lab tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, so that TORCH_INDEX rules it and nothing else.
$(VENV)/.core: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "ra3_lab needs Python 3.10 or newer: make PYTHON=/path/to/python3 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(CONSTRAIN) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(PIP) $(CONSTRAIN) -e .
	@touch $@

$(VENV)/.notebook: EXTRAS := notebook
# bitsandbytes among the tools: without it every test of 4-bit weights is skipped.
$(VENV)/.dev: EXTRAS := dev,qlora
$(VENV)/.docs: EXTRAS := docs
$(VENV)/.notebook $(VENV)/.dev $(VENV)/.docs: $(VENV)/.core
	$(PIP) $(CONSTRAIN) -e ".[$(EXTRAS)]"
	@touch $@

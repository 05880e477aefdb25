# persam: install, show, test. `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Small models are slower, not faster, on more threads than there are cores.
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM := false

PIP_INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint types pytest test-slow bench docs clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.installed-demo  ## Install the main job and show all of it on ready photos (persam-demo/)
	$(BIN)/persam demo

test: lint types pytest  ## Install what the tests need and run them all: ruff, mypy, pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

pytest: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n auto --dist loadfile  # a process a core, a thread each

test-slow: $(VENV)/.installed-dev  ## Run the tests that take minutes
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow --timeout 3600

bench: $(VENV)/.installed-dev  ## Print the speed benchmarks (tuning, added time)
	$(BIN)/persam bench tuning
	$(BIN)/persam bench overhead

docs: $(VENV)/.installed-dev  ## Build the documentation (site/index.html), every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open site/index.html; its search needs a server: $(BIN)/mkdocs serve"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "persam needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed-demo

clean:  ## Remove what the commands made, .venv included
	rm -rf $(VENV) build dist site persam-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests training -name __pycache__ -type d -prune -exec rm -rf {} +

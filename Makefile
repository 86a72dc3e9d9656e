# Every target works by itself on a fresh checkout: it makes .venv and installs the pinned versions first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# A module runs in one process, which builds its fixtures once; the longest begin first (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
FAST := $(addprefix tests/,audit cli common config data evaluate losses report runs test_layers.py test_records.py test_tiers.py)

.PHONY: quickstart check test nightly lint format
.DELETE_ON_ERROR:

quickstart: $(VENV)/.installed-report
	@if [ -e runs/quickstart ]; then $(BIN)/bradley train preset:quickstart; \
	else $(BIN)/bradley train preset:quickstart --output runs/quickstart; fi

check: lint
	$(PYTEST) -m "not nightly and not slow" $(FAST)

test: lint
	$(PYTEST)

nightly: $(VENV)/.installed-dev
	BRADLEY_FAULTS_SEEN=tests/faults/seen.jsonl $(BIN)/python -m pytest -m nightly
	HYPOTHESIS_PROFILE=night $(PYTEST) -m "hypothesis and not nightly"
	$(BIN)/python -m tests.faults.table > docs/concepts/reliability.md

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed-report: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), about a minute and a half on a fast line"
	$(PIP) -e ".[report]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) with the tools of development"
	$(PIP) -e ".[report,data,audit,tensorboard,wandb,lora,dev]"
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bradley needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

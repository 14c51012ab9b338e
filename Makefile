# The only door to tools. `make table1` and `make test` set themselves up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/eegfm-bench
READY := $(VENV)/.ready
# PyTorch's public CPU index saves 5 GB of CUDA packages on Linux without a GPU:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
DATA ?=
SEEDS ?=
JOBS ?=
OPTIONS = $(if $(DATA),--data $(DATA)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(JOBS),--jobs $(JOBS))

.PHONY: help setup table1 table10 table11 tables test check fix gate gate-seeds golden docs test-slow test-faults speed

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*##/ —/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; this is {v[0]}.{v[1]}. Choose one with make PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $(READY)

setup: $(READY)  ## the environment alone, in .venv

table1: $(READY)  ## the first table; simulated unless DATA= is given (SEEDS=, JOBS=)
	$(RUN) sweep table1 $(OPTIONS)

table10: $(READY)  ## SHU-MI alone
	$(RUN) sweep table10 $(OPTIONS)

table11: $(READY)  ## TUEV alone
	$(RUN) sweep table11 $(OPTIONS)

tables: table1 table10 table11  ## all three, saved to .runs/tables/ as md, tex, csv, html, json

test: $(READY)  ## the tests, under five minutes
	$(BIN)/python -m pytest -n 2

test-slow: $(READY)  ## what the default tests leave out: whole runs, kills, every paper shape
	$(BIN)/python -m pytest -n 2 -m slow

check: $(READY)  ## what CI runs: format, lint, types, import contracts, all tests, gate
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/codespell
	$(MAKE) --no-print-directory test test-slow gate

fix: $(READY)  ## format and sort
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

gate: $(READY)  ## metric deltas of the smoke suite against its reference rows
	$(RUN) gate smoke --against results/smoke/reference.csv

gate-seeds: $(READY)  ## whether a few quick cells dropped, with seeds the reference has not
	$(RUN) gate gate --against results/gate/reference.csv --mode statistical

golden: $(READY)  ## remake golden files; BECAUSE="why" goes into the changelog
	$(BIN)/python tests/golden/remake.py "$$BECAUSE"

docs: $(READY)  ## remake the generated pages of docs/
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/generate_models.py

test-faults: $(READY)  ## kills, full disks and other violence
	$(BIN)/python -m pytest -m faults

speed: $(READY)  ## whole runs against a plain loop, side by side
	$(BIN)/python benchmarks/speed/run.py

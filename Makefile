# The study in one command: `make reproduce`. `make` alone prints what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# With `make -j8 test`, too: the smoke study deletes the images that the notebooks read.
.NOTPARALLEL:

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PROFILE ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
FORCE   ?=
READY   := $(VENV)/.installed
# Files of tests side by side, one thread each, the longest first (tests/conftest.py).
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile \
           --no-loadscope-reorder
# Two thirds of the environment's bytes: unpacked beside the rest.
LARGE   := ^(torch|triton|nvidia-)
FORCED  := $(if $(filter-out 0 no false,$(FORCE)),--force)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1
# The caller's settings of plotting, Jupyter and IPython (msff/environment.py).
unexport MPLBACKEND MATPLOTLIBRC JUPYTER_PATH JUPYTER_DATA_DIR JUPYTER_CONFIG_PATH JUPYTER_CONFIG_DIR IPYTHONDIR PYTHONSTARTUP

.PHONY: help install reproduce study book pdf test pytest smoke smoke-study smoke-book nbval nbval-update mutants faults lint clean

help:  ## this list
	@echo "MS-FF, an executable reproduction study. PROFILE=$(PROFILE) (smoke, cpu, cpu-scratch, cpu-long, gpu-short, gpu, paper)"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'
	@echo "  FORCE=1 retrains every run; PYTHON=python3.12 picks the interpreter; MSFF_THREADS=n sets torch's threads."

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "msff needs Python 3.11 or later, $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@echo "Installing the pinned environment into $(VENV) (about 6 GB, 1 to 4 minutes) ..."
	$(PYTHON) -m venv $(VENV)
	grep -E '$(LARGE)' requirements.txt > $(VENV)/large.txt
	grep -vE '$(LARGE)' requirements.txt > $(VENV)/small.txt
	@# Python compiles what it imports at the first use; pip would compile all 18,000 files.
	printf '%s\n' large small | xargs -P 2 -I NAME \
	  $(BIN)/pip install --quiet --no-deps --no-compile --requirement $(VENV)/NAME.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

install: $(READY)  ## the pinned environment in .venv

reproduce: $(READY)  ## render, train, execute the pages, build the book, compare with the reference
	$(BIN)/msff study run --profile $(PROFILE) --own $(FORCED)
	$(BIN)/msff study book --profile $(PROFILE)
	$(BIN)/msff study check --profile $(PROFILE)

study: $(READY)  ## the same without the book; runs that came with the project are not retrained
	$(BIN)/msff study run --profile $(PROFILE) $(FORCED)

book: $(READY)  ## execute the pages that are out of date and build the book, without training
	$(BIN)/msff study book --profile $(PROFILE)

pdf: $(READY)  ## the same, and the whole book as one file, book/_build/msff.pdf (needs Chromium)
	$(BIN)/msff study book --profile $(PROFILE) --pdf

test: pytest smoke-study  ## the test suite, the whole study at the smoke profile, the notebooks' checked outputs
	@# Sphinx uses one core: the notebooks are compared beside it.
	printf '%s\n' smoke-book nbval | xargs -P 2 -n 1 $(MAKE) --no-print-directory

pytest: $(READY)
	$(PYTEST) tests

smoke: smoke-study  ## the whole study from nothing at the smoke profile, with the book and the reference
	$(MAKE) --no-print-directory smoke-book

smoke-study: $(READY)
	rm -rf data/smoke data/checkpoints/smoke
	find results/smoke -mindepth 1 -not -name reference.json -delete 2>/dev/null || true
	$(BIN)/msff study run --profile smoke

smoke-book: $(READY)
	$(BIN)/msff study book --profile smoke
	$(BIN)/msff study check --profile smoke

nbval: $(READY)  ## execute notebooks/ at the smoke profile and compare the checked outputs
	JUPYTER_DEFAULT_PROVISIONER_NAME=msff-forked $(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks

nbval-update: $(READY)  ## store the checked outputs of notebooks/ again and print what changed, old beside new
	$(BIN)/msff study run --profile smoke
	$(BIN)/msff study refresh

mutants: $(READY)  ## plant a fault at a time in a copy of the package; every one must make a test fail
	$(BIN)/msff study run --profile smoke
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py

faults: $(READY)  ## try faults that users meet on a tiny study, and store their table
	$(BIN)/python tests/faults.py

lint: $(READY)  ## ruff and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

clean:  ## remove what can be made again: data, checkpoints, smoke results, pages, the built book (not runs, not .venv)
	rm -rf data book/_build book/_executed .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find results/smoke -mindepth 1 -not -name reference.json -delete 2>/dev/null || true
	find results \( -name '*.partial*' -o -name notebooks \) -prune -exec rm -rf {} +
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# What a newcomer needs: `make quickstart`, then `make test`.
#
#   make quickstart   .venv, small generated pairs, a supernet that learns them, its best subnet alone, a picture
#   make pipeline     the whole chain at small scale, from generated pairs to files for a chip (examples/pipeline)
#   make test         the default test suite (everything but the tests marked slow)
#   make test-unit    its unit tests alone
#   make test-numeric what compares float results, e.g. with ONEDNN_MAX_CPU_ISA=AVX2 for another processor's kernels
#   make test-gpu     the tests that need a CUDA device, and the training step timed on it
#   make test-slow    the slow ones: packaging, long kill runs
#   make faults       kill -9 of the trainer, KILLS times in all (300), and `make fuzz`: altered files for every reader,
#                     COUNT inputs in all (1000000); both go on where they ended (docs/reliability.md)
#   make install      .venv alone;  make dev: .venv with the development tools
#   make lint typecheck format docs clean
#
# Only the CPU build of torch is ever installed. Another build of the same version that is already in .venv is left
# alone; `make install TORCH=torch==2.13.0` takes what your pip index serves (on Linux several GB of CUDA).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: quickstart pipeline test test-unit test-numeric test-gpu test-slow faults fuzz install dev lint format typecheck docs clean

PYTHON ?= python3
VENV ?= .venv
# Extra words for every pip install, e.g. PIP_ARGS="--no-index --find-links wheels".
PIP_ARGS ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# The local version label makes pip refuse every other build; macOS wheels have none (they are CPU builds).
TORCH ?= torch==2.13.0$(if $(filter Darwin,$(shell uname -s)),,+cpu)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
RESULTS ?= pipeline

# A complete data set is left as it is, an interrupted one completed.
quickstart: install
	@$(BIN)/python examples/quickstart.py

# Stopped at any moment, it goes on where it was; what is finished is not run again.
pipeline: $(VENV)/.installed-export
	$(BIN)/python examples/pipeline/driver.py $(RESULTS)

# pytest -n 2 starts two processes; one thread each keeps them from fighting over two cores.  What python compiles is
# kept, whatever PYTHONDONTWRITEBYTECODE says: compiling the asserts of all tests takes each of the two 8 s otherwise.
TESTING := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Files in their own order: otherwise those with few tests, the longest ones among them, would all come last and leave
# one process idle.
test: dev
	$(TESTING) --no-loadscope-reorder -m "not slow" $(PYTEST_ARGS)

# Unit tests alone: no kills, no whole commands, no reference outputs, no properties (some marked by hypothesis itself).
test-unit: dev
	$(TESTING) $(addprefix --ignore tests/,e2e faults golden gpu) \
	  -m "not (slow or e2e or faults or golden or gpu or hypothesis or property)" $(PYTEST_ARGS)

# No limit on float results may hang on the order in which one processor adds: run it with other kernels too.
test-numeric: dev
	$(TESTING) --no-loadscope-reorder -m "not slow" \
	  tests/evaluate tests/export tests/golden tests/models tests/train $(PYTEST_ARGS)

test-gpu: dev
	$(BIN)/python -m pytest -m gpu -rs $(PYTEST_ARGS)
	$(BIN)/python benchmarks/train_step.py --gpu-device 0

test-slow: dev
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

KILLS ?= 300
COUNT ?= 1000000
faults: dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py faults --kills $(KILLS)

fuzz: dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz.py fuzz --count $(COUNT)

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $$($(PYTHON) --version) found, 3.11 or newer needed: make PYTHON=python3.11 ..." >&2; exit 64; }
	$(PYTHON) -m venv $(VENV)

# torch first, by itself (after numpy, which it looks for): where pip's own sources have no CPU build of it, PyTorch's
# index of CPU builds is asked.  Setuptools comes next so that nothing is built with an unpinned one.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): torch (CPU build) and what this package needs"
	@$(PIP) numpy
	@if ! $(BIN)/python -c 'import torch, sys; sys.exit(not torch.__version__.startswith("2.13.0"))' 2>/dev/null; then \
	  $(PIP) "$(TORCH)" 2>/dev/null || $(PIP) "$(TORCH)" --extra-index-url $(TORCH_INDEX); fi
	@$(BIN)/python -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda or "none (CPU build)")'
	@$(PIP) setuptools
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) --no-build-isolation -e '.[dev]'
	@touch $@ $(VENV)/.installed

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: dev
	$(BIN)/mypy

$(VENV)/.installed-export: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) --no-build-isolation -e '.[export]'
	@touch $@ $(VENV)/.installed

# docs/configuration.md is written from the configuration models, the rules of docs/diagnosis.md from their docstrings, the
# table of docs/data.md from the declared data sets; tests check that all are current.
WRITE := import sys; page = open(sys.argv[1], encoding="utf-8").read(); sys.stdout.write(documented(page))
docs: install
	$(BIN)/edgeflownas config docs > docs/configuration.md.new
	$(BIN)/python -c 'from edgeflownas.report.diagnosis import documented; $(WRITE)' docs/diagnosis.md > docs/diagnosis.md.new
	$(BIN)/python -c 'from edgeflownas.data.sets import documented; $(WRITE)' docs/data.md > docs/data.md.new
	for page in configuration diagnosis data; do mv docs/$$page.md.new docs/$$page.md; done

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

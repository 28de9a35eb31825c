# Every target first brings .venv up to date (Python 3.11+ and make are enough), then does one thing.
PYTHON      ?= python3
TORCH_INDEX ?=
WORKERS     ?= auto

BIN     := .venv/bin
PYTEST  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

unexport PYTHONDONTWRITEBYTECODE # cached, the tests' own modules are not compiled in every process

.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu test-all fuzz check bench clean

help: ## list the targets and settings
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "PYTHON=python3.12           interpreter that makes .venv (now $(PYTHON))"
	@echo "TORCH_INDEX=https://download.pytorch.org/whl/cpu"
	@echo "                            index asked for torch beside PyPI, here for the CPU build without CUDA packages"
	@echo "WORKERS=2                   test processes (now $(WORKERS))"

demo: .venv/.ready ## grow a small GAN on handwritten digits and say where its pictures are
	OMP_NUM_THREADS=1 $(BIN)/python examples/digits.py

test: .venv/.ready ## run the tests, without those marked slow
	$(PYTEST)

test-gpu: .venv/.ready ## run on the GPU those that can, and those that need one
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or torch.backends.mps.is_available() or sys.exit("error: torch sees no GPU here")'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'gpu and not slow'

test-all: .venv/.ready ## run all tests
	$(PYTEST) -m ''

fuzz: .venv/.ready ## read damaged inputs of every kind, COUNT of each (500), perhaps only of KINDS="png tar"
	PYTHONPATH=tests $(BIN)/python -m fuzz $(if $(COUNT),--count $(COUNT)) $(if $(KINDS),--kinds "$(KINDS)") $(FUZZ)

check: .venv/.ready ## lint, format, types and the layer rule
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/.ready ## time a training step
	$(BIN)/python benchmarks/train_step.py

clean: ## remove .venv, caches and builds; runs and pictures stay
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing the pinned packages into .venv"
	@$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11+ or say make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: progan needs Python 3.11+, $(PYTHON) is %d.%d; say make PYTHON=python3.11 or newer" % sys.version_info[:2])'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make a venv; install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear .venv

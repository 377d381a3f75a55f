# Two commands do everything on a machine with Python 3.11: `make demo` and `make test`. While you work: `make check`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO_JOB ?= jobs/digits_tnt_1p.yaml
PARITY := .venv-parity

# More workers than the two cores that this is measured on: most tests of `make test` wait for servers and other processes.
check test-all: WORKERS ?= 3
test: WORKERS ?= 4
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --durations=10
ifndef SEED
SEED := $(shell date +%s)
endif

.PHONY: demo check test test-all test-parity test-matrix lint format clean install install-test

demo: install
	@echo "images into demo/digits, then a training, evaluation and export: about 2 minutes on 2 cores, no NPU"
	@$(BIN)/python -m vitmodels.digits demo/digits
	@run=$$($(BIN)/launcher submit $(DEMO_JOB) --follow) && results=demo/results/$$run && \
	    $(BIN)/launcher fetch-results $$run --to $$results && $(BIN)/launcher status $$run && \
	    echo "files fetched to $$results:" && (cd $$results && find . -type f -not -name '.*' | sort) && \
	    echo "next: source $(BIN)/activate, then the lines of README.md, 'A first pair of runs'"

# The fast loop: lint, types and the unit tests.
check: lint
	$(PYTEST) -m "not system and not slow"

test: lint
	$(PYTEST) -m "not slow"

# The long rest: campaigns, long variants, and the random tests with a fresh seed. `make test-all SEED=N` repeats one.
test-all: install-test
	LAUNCHER_TEST_SEED=$(SEED) $(PYTEST) -m "slow or random" --hypothesis-seed=$(SEED)

# Our nets against timm's, at full size. PyTorch is large, so it gets a folder of its own on top of $(VENV).
test-parity: $(PARITY)/.installed
	$(PARITY)/bin/python -m pytest $$(find tests/vitmodels -name test_parity_timm.py) tests/vitmodels/images/test_peer_readers.py

# Python and MindSpore versions: README, "Versions". Environments are large; `make test-matrix CORNERS=python3.10-mindspore2.7`.
test-matrix:
	$(PYTHON) -m tests.corners $(CORNERS)

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed

install-test: $(VENV)/.installed-test

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here: set PYTHON to a Python that MindSpore has wheels for (3.10, 3.11 or 3.12)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# pip shows its progress to people, and is quiet in a log.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing MindSpore and what it needs into $(VENV): 0.9 GB to download, 3 GB on disk, a few minutes; only the first time"
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	    $(BIN)/python -m pip install $$quiet --disable-pip-version-check -c constraints.txt -e '.[train,digits]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,digits,test]'
	@touch $@

$(PARITY)/.installed: $(VENV)/.installed-test
	$(BIN)/python -m venv --clear $(PARITY)
	@$(BIN)/python -c 'import sys; print(*(p for p in sys.path if p.endswith("site-packages")), sep="\n")' \
	    > $$($(PARITY)/bin/python -c 'import site; print(site.getsitepackages()[0])')/below.pth
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[parity]'
	@touch $@

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(PARITY) .venv-matrix demo

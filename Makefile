# Two commands do everything on a machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO_JOB ?= jobs/digits_tnt_1p.yaml

.PHONY: demo test lint format clean install install-test

demo: install
	@$(BIN)/python -m vitmodels.digits demo/digits
	@$(BIN)/launcher submit $(DEMO_JOB) --follow
	@$(BIN)/launcher fetch-results last --to demo/results
	@$(BIN)/launcher status last
	@echo "files fetched to demo/results:" && cd demo/results && find . -type f -not -name '.*' | sort

test: install-test lint
	$(BIN)/python -m pytest

lint: install-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed

install-test: $(VENV)/.installed-test

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: MindSpore 2.10 has no wheels for newer ones (set PYTHON=...)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,digits]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,digits,test]'
	@touch $@

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo

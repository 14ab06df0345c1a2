# Each target sets up what it needs: `make tour` and `make test` run on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup tour test test-long test-lowest check fix docs bench clean

setup: $(READY)  ## Make .venv and install the project into it, with its extras

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[digits,test,check]"
	@touch $@

tour: setup  ## Train both backends on digits, compare them, write runs/tour/index.html
	$(BIN)/ddpm tour

test: setup  ## The whole suite
	$(BIN)/python -m pytest -q -m "not long"

test-long: setup  ## What takes minutes: many seeds, full sizes
	$(BIN)/python -m pytest -q -m long

test-lowest:  ## The suite on the lowest supported versions, in an environment of its own
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --disable-pip-version-check -q -c constraints-lowest.txt -e ".[digits,test]"
	.venv-lowest/bin/python -m pytest -q -m "not long"

check: setup  ## Lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: setup  ## Let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup  ## The book
	@echo "not yet: docs/ is read as it is"

bench: setup  ## Both backends side by side in one run: ratios of times
	$(BIN)/python -m workbench.bench

clean:  ## Remove what the other targets made, except runs/
	rm -rf .venv .venv-lowest build dist .pytest_cache .mypy_cache .ruff_cache

# Each target sets up what it needs: `make tour` and `make test` run on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two workers with a thread each: the tests are many and tiny.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal
DOCS := docs/_build/html
# The processes that tests start would compile the project each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup tour test test-rest test-long test-gpu test-lowest check fix docs docs-check bench clean

setup: $(READY)  ## Make .venv and install the project into it, with its extras

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[test,check]"
	@touch $@

tour: setup  ## Train both backends on digits, compare them, write runs/tour/index.html
	$(BIN)/ddpm tour

test: setup  ## The suite, with one in twelve of the programs that compare judges
	$(PYTEST) -m "not long and not rest" --durations=10

test-rest: setup  ## The other programs that compare judges
	$(PYTEST) -m rest

test-long: setup  ## What takes minutes: many seeds, full sizes
	$(PYTEST) -m long

test-gpu: setup  ## What needs a CUDA GPU; elsewhere each test says so and is skipped
	$(PYTEST) -n 0 -m gpu -rs

test-lowest:  ## The suite on the lowest supported versions, but the book's, which is built with the pinned ones
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --disable-pip-version-check -q -c constraints-lowest.txt -e ".[test]"
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -q -n 2 --dist worksteal -m "not long" --ignore tests/docs -W default  # old libraries warn of their own

check: setup  ## Lint, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy docs/examples tests/typing

fix: setup  ## Let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(BIN)/.docs-ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[docs]"
	@# What the page on it needs of the extra `independent`: not its torchvision, which asks for CUDA's torch
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt --no-deps denoising-diffusion-pytorch ema-pytorch einops
	@touch $@

docs: $(BIN)/.docs-ready  ## The book, executed and checked: docs/_build/html/index.html
	rm -rf $(DOCS)
	$(BIN)/python -m sphinx -j 3 -E -a -W -n --keep-going -q -b html docs $(DOCS)
	$(BIN)/python docs/check_built.py $(DOCS)
	@echo "the book is at $(DOCS)/index.html"

docs-check: docs  ## The book in a browser (Debian's chromium): requests, accessibility, screenshots
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[docs-check]"
	$(BIN)/python docs/check_browser.py $(DOCS)

bench: setup  ## Both backends beside others' code and the machine's limit: what pays here
	$(BIN)/ddpm bench

clean:  ## Remove what the other targets made, except runs/
	rm -rf .venv .venv-lowest build dist .pytest_cache .mypy_cache .ruff_cache docs/_build docs/_gen

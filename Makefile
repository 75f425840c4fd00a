# make demo   set up a virtual environment and register a pair made on the spot
# make test   the same set-up, the tools of the tests, and the tests
# make docs   the same set-up, Sphinx, and the pages of docs/ as HTML; a warning is an error
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# the cores may be shared: threads that spin while they wait would slow everybody down
export OMP_WAIT_POLICY := passive

.PHONY: demo test lint docs clean
demo: $(VENV)/.installed
	$(BIN)/sacbnet demo --out demo-out

# the kernels are compiled beforehand, not by both of the two at once; a thread each, for they share two cores, and tests
# of the kernels set several themselves
test: lint
	$(BIN)/python -c 'from sacbnet.kernels.cpu.native import library; library()'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	rm -rf docs/reference/api/generated
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "the pages are in docs/_build/html/index.html"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo-out docs/_build docs/reference/api/generated

# make demo   make the environment .venv and register a pair with a known warp
# make test   add the tools of the tests to .venv; run the linter, the type checker and the tests
# make plain  run the tests of what has compiled kernels once more, by the plain forms
# make sanitize  build the kernels with AddressSanitizer and UndefinedBehaviorSanitizer, and test them
# make mutants  put small mistakes into a copy and count those that the tests find; takes an hour
# make lint   the linter, the type checker and the order of imports alone
# make peers  make the environment .venv-peers with SyN, greedy and elastix, for their tests
# make docs   add Sphinx to .venv and build the pages of docs/ as HTML; a warning is an error
# make clean  remove the environments and the results
#
# The tools of the tests do not change the versions that users get, so .venv serves users and tests.
# SyN needs older versions and therefore gets an environment of its own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PEERS := $(VENV)-peers
PEERS_PYTHON = $(if $(wildcard $(PEERS)/.installed),PEERS_PYTHON=$(abspath $(PEERS))/bin/python)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# other processes may share the cores; threads that spin while they wait would slow all of them down
export OMP_WAIT_POLICY := passive

.PHONY: demo test plain sanitize mutants lint peers docs clean
demo: $(VENV)/.installed
	$(BIN)/sacbnet demo --out demo-out

# The kernels are compiled first, so that the two test processes do not both compile them. Each
# process has one thread; tests of the kernels set the number of threads themselves. pytest-randomly
# shuffles the tests and prints its seed; `pytest --randomly-seed=SEED` repeats an order.
test: lint
	$(BIN)/python -c 'from sacbnet.kernels.cpu.native import library; library()'
	OMP_NUM_THREADS=1 $(PEERS_PYTHON) $(BIN)/python -m pytest -n 2 --dist worksteal

PLAIN_TESTS := tests/ops tests/spatial tests/losses tests/networks/sacbnet/test_reference.py
plain: $(VENV)/.installed-test
	SACBNET_KERNELS=plain OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(PLAIN_TESTS)

# Python itself is not built with the sanitizers, so their libraries are loaded before it. The leaks
# of Python at its exit are no concern of ours.
SANITIZED := $(abspath $(VENV))/sanitized
UNDER_SANITIZERS = SACBNET_CACHE=$(SANITIZED) CXX=$(abspath .ci/sanitized-c++) \
  LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
  ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 $(BIN)/python
sanitize: $(VENV)/.installed-test
	mkdir -p -m 700 $(SANITIZED)
	$(UNDER_SANITIZERS) -c 'from sacbnet.kernels.cpu.native import library; assert library() is not None'
	$(UNDER_SANITIZERS) -m pytest -n 2 tests/kernels/cpu/test_*_kernel.py

mutants: $(VENV)/.installed-test
	$(BIN)/python speed/mutants.py $(abspath $(VENV))/mutants

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

peers: $(PEERS)/.installed

docs: $(VENV)/.installed-docs
	rm -rf docs/reference/api/generated
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "the pages are in docs/_build/html/index.html"

# torch comes first and alone: pip then keeps this version instead of a newer one with CUDA
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("use Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

# antspyx without its dependencies: the tests use only the compiled programs inside it
$(VENV)/.installed-test: $(VENV)/.installed constraints-test.txt
	$(PIP) install --quiet --constraint constraints-test.txt --editable '.[test]'
	$(PIP) install --quiet --constraint constraints-test.txt --no-deps \
	  "antspyx; platform_machine == 'x86_64'"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(PEERS)/.installed: constraints-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint constraints-peers.txt antspyx picsl-greedy itk-elastix psutil
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) demo-out docs/_build docs/reference/api/generated

# make demo   make the environment .venv and register a pair with a known warp
# make test   add the tools of the tests to .venv; run the linter, the type checker and the tests
# make kernels  compile the C++ kernels into the source tree, after a change of theirs or a pull;
#             LEVELS=all for every level of instructions, not only the best one of this processor
# make levels run the tests of the kernels at every level that this processor has
# make plain  run the tests of what has compiled kernels once more, by the plain forms
# make sanitize  build the kernels with AddressSanitizer and UndefinedBehaviorSanitizer, and test them
# make mutants  put small mistakes into a copy and count those that the tests find; takes an hour
# make lint   the linter, the type checker (also as if on Windows) and the order of imports alone
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

LEVELS ?= best
CMAKE = $(if $(wildcard $(BIN)/cmake),$(BIN)/cmake,cmake)
BUILD_KERNELS = $(CMAKE) --build $(1) --parallel $$(getconf _NPROCESSORS_ONLN)

.PHONY: demo test kernels levels plain sanitize mutants lint peers docs clean
demo: $(VENV)/.installed
	$(BIN)/sacbnet demo --out demo-out

kernels:
	$(CMAKE) -S src/sacbnet/kernels/cpu -B build/kernels -DSACBNET_LEVELS="$(LEVELS)"
	$(call BUILD_KERNELS,build/kernels)

# Each process has one thread; tests of the kernels set the number of threads themselves.
# pytest-randomly shuffles the tests and prints its seed; `pytest --randomly-seed=SEED` repeats an order.
test: lint kernels
	OMP_NUM_THREADS=1 $(PEERS_PYTHON) $(BIN)/python -m pytest -n 2 --dist worksteal

KERNEL_TESTS := tests/kernels/cpu
levels: LEVELS = all
levels: $(VENV)/.installed-test kernels
	for level in $$($(BIN)/python -c 'from sacbnet.kernels.cpu import levels; print(*levels.runnable())'); do \
	  echo "level $$level"; \
	  SACBNET_KERNELS=$$level OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(KERNEL_TESTS) || exit 1; \
	done

PLAIN_TESTS := tests/ops tests/spatial tests/losses tests/networks/sacbnet/test_reference.py
plain: $(VENV)/.installed-test
	SACBNET_KERNELS=plain OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(PLAIN_TESTS)

# The kernels stop at the first read or write outside their memory and at undefined behaviour. With
# optimisation the sanitizers would make the compiler several times as slow. Python itself is not
# built with the sanitizers, so their libraries are loaded before it. The leaks of Python at its exit
# are no concern of ours. Copies of src and tests get these kernels; those of the tree stay.
SANITIZED := $(abspath $(VENV))/sanitized
SANITIZER := -O0 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
UNDER_SANITIZERS = cd $(SANITIZED) && PYTHONPATH=$(SANITIZED)/src \
  LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
  ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 $(abspath $(BIN))/python
sanitize: $(VENV)/.installed-test
	rm -rf $(SANITIZED)/src $(SANITIZED)/tests
	mkdir -p $(SANITIZED)
	cp -a src tests recipes pyproject.toml $(SANITIZED)
	rm -rf $(SANITIZED)/src/sacbnet/kernels/cpu/lib
	$(CMAKE) -S $(SANITIZED)/src/sacbnet/kernels/cpu -B $(SANITIZED)/build -DSACBNET_LEVELS=best \
	  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="$(SANITIZER)"
	$(call BUILD_KERNELS,$(SANITIZED)/build)
	$(UNDER_SANITIZERS) -c 'from sacbnet.kernels.cpu.native import library; assert library() is not None'
	$(UNDER_SANITIZERS) -m pytest -n 2 tests/kernels/cpu/test_*_kernel.py

mutants: $(VENV)/.installed-test
	$(BIN)/python speed/mutants.py $(abspath $(VENV))/mutants

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports

peers: $(PEERS)/.installed

docs: $(VENV)/.installed-docs
	rm -rf docs/reference/api/generated
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "the pages are in docs/_build/html/index.html"

# torch comes first and alone: pip then keeps this version instead of a newer one with CUDA
$(VENV)/.installed: pyproject.toml constraints.txt constraints-build.txt
	$(PYTHON) -c 'import sys; sys.exit("use Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints-build.txt scikit-build-core hatchling editables cmake ninja
	$(PIP) install --quiet --no-build-isolation --constraint constraints.txt --editable . \
	  --editable packaging/weights-research
	touch $@

# antspyx without its dependencies: the tests use only the compiled programs inside it
$(VENV)/.installed-test: $(VENV)/.installed constraints-test.txt
	$(PIP) install --quiet --no-build-isolation --constraint constraints-test.txt \
	  --editable '.[test]'
	$(PIP) install --quiet --constraint constraints-test.txt --no-deps \
	  "antspyx; platform_machine == 'x86_64'"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --quiet --no-build-isolation --constraint constraints.txt \
	  --editable '.[docs]'
	touch $@

$(PEERS)/.installed: constraints-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint constraints-peers.txt antspyx picsl-greedy itk-elastix psutil
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) build src/sacbnet/kernels/cpu/lib demo-out docs/_build docs/reference/api/generated

# SPDX-License-Identifier: GPL-2.0-or-later
# `make run` sets everything up and runs the main job; `make help` lists the rest.

PYTHON ?= python3
CC ?= gcc
ONLY ?=
SAMPLE ?=
QUICK ?=
EXAMPLES ?= 1000
SCRIPTS ?= 200000
EVERY ?= 1
SECONDS ?=
SANITIZE ?= address,undefined

VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard native/*.h native/*.py native/*/*.[ch] native/*/*/*.[ch] native/*/*.def)
LINTED_C := $(wildcard native/*/*.c native/*/*/*.c benchmarks/*.c benchmarks/*/*.c tests/x86/*.c tests/oracles/*.c tests/oracles/*/*.c tests/stress/*.c)
FORMATTED_C := $(wildcard native/*.h native/*/*.[ch] native/*/*/*.[ch] benchmarks/*.[ch] benchmarks/*/*.[ch] guest_programs/*.[ch] tests/*/*.[ch] \
	tests/oracles/*/*.[ch])
UNICORN_INCLUDE = $$($(BIN)/python -c "from native import cdef; print(cdef.unicorn_include())")
LINT_CFLAGS := -std=c11 -O2 -D_GNU_SOURCE=1 -Wall -Wextra -Werror -Inative -Ibenchmarks -Itests/oracles -Itests/x86 -Itests/stress
SANITIZED := build/sanitize
# -k below leaves out a comparison with the host's VmPeak, which AddressSanitizer raises to 20 TiB.
SANITIZED_TESTS := $(wildcard tests/trace tests/memory tests/x86 tests/linux tests/cpu/test_attach_*.py tests/cpu/test_regions.py)
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

# Tests start the command hundreds of times: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run races test lint format bench allocators scaling fuzz enumerate mutate stress sanitize build guests clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-9s %s\n", $$1, $$2 }'

run: build guests ## set up, then compare the policies on dontneed_loop: purging 2 MiB, then 1 MiB at a time
	$(BIN)/ucmmu compare dontneed_loop 50G 2M
	$(BIN)/ucmmu compare dontneed_loop 50G 1M

test: build guests $(VENV)/dev ## set up and run all tests (under 12 minutes on 2 cores)
	$(PYTEST)

lint: build $(VENV)/dev ## formats, ruff, stubs, strict mypy, and the C files with every warning an error
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(FORMATTED_C)
	$(BIN)/ruff check .
	$(BIN)/python -m native.stubs --check
	$(BIN)/mypy
	@for file in $(LINTED_C); do \
		echo "$(CC) -Wall -Wextra -Werror $$file"; \
		$(CC) $(LINT_CFLAGS) -isystem $(UNICORN_INCLUDE) -c -o /dev/null $$file || exit 1; \
	done

format: $(VENV)/dev ## write Python and C as `make lint` wants them
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(FORMATTED_C)

bench: build guests ## run the benchmarks [ONLY=NAME] into benchmarks/results/latest.jsonl
	$(BIN)/python -m benchmarks $(ONLY)

allocators: build ## what each policy does for python3 and redis-server on each allocator: docs/allocators.md [ONLY=TEXT in the name]
	@$(BIN)/pip install -q --disable-pip-version-check "matplotlib>=3.7,<4" || echo "no plots: matplotlib cannot be had here"
	$(BIN)/python -m benchmarks.allocators --only "$(ONLY)"

scaling: build guests ## measure and simulate how the count scales to 128 CPUs: docs/performance.md [QUICK=1: a small run below build/scaling]
	@$(BIN)/pip install -q --disable-pip-version-check "simpy>=4,<5" "matplotlib>=3.7,<4" || echo "simpy or matplotlib cannot be had here"
	$(BIN)/python -m benchmarks.scaling $(if $(QUICK),--quick --output build/scaling)

fuzz: build guests $(VENV)/dev ## run the random tests with more examples, from new seeds; a million MMU sequences alone take 25 minutes, ten million states and a million kernels on Bochs as long [EXAMPLES=1000 a test] [SCRIPTS=200000 of attach()]
	HYPOTHESIS_PROFILE=fuzz HYPOTHESIS_EXAMPLES=$(EXAMPLES) $(PYTEST) -m "hypothesis or fuzz"
	$(BIN)/python -m tests.oracles.attach --scripts $(SCRIPTS)

enumerate: build $(VENV)/dev ## check the page walk in all 2 thousand million cases, a minute or two [EVERY=1 row of so many]
	$(BIN)/python -m tests.oracles.enumerate --every $(EVERY)

mutate: build guests $(VENV)/dev ## change one thing in the sources after another: a test must fail [ONLY=TEXT in the name] [SAMPLE=NUMBER]
	$(BIN)/python -m tests.mutants $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(ONLY),"$(ONLY)")

races: build ## every order of kernel operations that meet on one table, all scenarios, policies and both memory models [SECONDS=3600 in all]
	$(BIN)/ucmmu race --all --seconds $(or $(SECONDS),3600) || [ $$? = 2 ]  # 2: some are unfinished, as the table says

stress: build guests $(VENV)/dev ## host threads on the C counts and free path for a minute, then the long tests that `make test` leaves out [SECONDS=N: the threads alone, N seconds] [POLICY=FILE.py:CLASS: yours, on the Python engine]
	$(BIN)/python -m tests.stress $(if $(POLICY),--free-tables "$(POLICY)") --seconds $(or $(SECONDS),60)
	$(if $(SECONDS)$(POLICY),,$(PYTEST) -m stress)

sanitize: build $(VENV)/dev ## the tests of the C code under AddressSanitizer and UBSan [SANITIZE=address,undefined]
	UCMMU_SANITIZE=$(SANITIZE) $(BIN)/python setup.py -q build --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/temp
	LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1 \
		$(PYTEST) -o pythonpath="$(SANITIZED)/lib ." -k "not hosts_form" $(SANITIZED_TESTS)

build: $(VENV)/built ## make .venv, build the C extensions in place and write their type stubs

guests: $(VENV)/installed ## build the guest programs
	@$(MAKE) --no-print-directory -s -C guest_programs

clean: ## remove everything that was built, .venv too
	rm -rf $(VENV) build dist *.egg-info mmu/*.so cpu/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
	@$(MAKE) --no-print-directory -s -C guest_programs clean

$(VENV)/installed: requirements.txt pyproject.toml setup.py
	@.ci/system-needs $(PYTHON)
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/built: $(VENV)/installed $(NATIVE)
	@echo "building the C extensions"
	@$(BIN)/python setup.py -q build_ext --inplace
	@$(BIN)/python -m native.stubs
	@touch $@

$(VENV)/dev: requirements-dev.txt requirements-bochs.txt $(VENV)/installed
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements-dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --only-binary :all: -r requirements-bochs.txt || \
		echo "Bochs cannot be had here: tests that compare with it are skipped"
	@touch $@

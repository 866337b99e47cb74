# Everything happens in .venv. Only `make test` may change the system: as root it installs the programs that tests run,
# with apt (INSTALL=no keeps it from that). Needs Python 3.11 or newer with venv, git and make.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNNABLE := $(VENV)/.runnable
# Tests are spread over so many processes: two more than there are cores, since many tests wait.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 2)))
# Lines and branches of the whole that tests must reach, in percent; of notifier/core it is all of them.
COVERAGE := 92
# Handed on: make demo ARGS='--help', make test ARGS='tests/core -k retry'
ARGS ?=
INSTALL ?= yes
# make test CLOCK=+365d runs the tests at another date. Only the date: timers go on as they do.
CLOCK ?=
# make chaos MINUTES=10 NODES=3; SEED deals the same faults again.
MINUTES ?= 1
NODES ?= 1

# uv installs exactly what uv.lock says, with the interpreter of .venv and no other. Where it is not on the PATH it gets
# an environment of its own inside .venv: among the project's packages, it would remove itself as not locked.
UV = $$(uv --version >/dev/null 2>&1 && echo uv || echo $(VENV)/uv/bin/uv)
define ensure_uv
@$(UV) --version >/dev/null 2>&1 \
	|| { $(BIN)/python -m venv --clear $(VENV)/uv && $(VENV)/uv/bin/python -m pip install --quiet uv; }
endef
export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)
export UV_PYTHON := $(CURDIR)/$(BIN)/python
unexport VIRTUAL_ENV
# Tests start hundreds of processes, each of which would compile the program again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-systemd simulate machine fuzz chaos check format lock bench performance plots man wheel deb clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sed -E 's/:.* ## /\t/' | expand -t 14

install: $(STAMP) ## make .venv/bin/notifier, and all that tests and checks need

demo: $(RUNNABLE) ## watch it work: an upstream, the daemon and a receiver in one
	@NOTIFIER_DEMO='make demo' $(BIN)/notifier demo $(ARGS)

SHIFTED := PYTHONPATH=$(CURDIR)/tests/rig/shifted_clock FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0 faketime -f '$(CLOCK)'

# The core's own gate prints only when it fails, so that pytest's summary is the last line.
test: $(STAMP) ## run the tests and measure what they reach (ARGS='...' for some of them, CLOCK=+365d at another date)
ifneq ($(strip $(CLOCK)),)
	@$(BIN)/python tests/rig/whole_run.py env $(SHIFTED) $(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)
else ifeq ($(strip $(ARGS)),)
	@[ "$(INSTALL)" = no ] || $(BIN)/python tests/rig/helper_programs.py
	@$(BIN)/coverage erase
	@$(BIN)/python tests/rig/whole_run.py \
		$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term --cov-fail-under=$(COVERAGE)
	@report=$$($(BIN)/coverage report --include='notifier/core/*' --fail-under=100 2>&1) \
		|| { echo "The tests must reach every line and branch of notifier/core:"; echo "$$report"; exit 1; }
else
	@$(BIN)/pytest $(ARGS)
endif

SEEDS ?= 200
SEED ?=
simulate: $(STAMP) ## run the daemon in a simulated world (SEEDS=n, SEED=k for one again, ARGS='--help')
	@PYTHONPATH=tests $(BIN)/python -m simulation --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Boots a Debian of its own in a container without a network; nothing of this machine is changed but .cache/.
test-systemd: $(STAMP) ## run the service under a real systemd (root, on Debian)
	@$(BIN)/python tests/rig/helper_programs.py --boot
	@$(BIN)/pytest --timeout=3600 tests/systemd $(ARGS)

STEPS ?= 100000
machine: $(STAMP) ## compare the store with its model for STEPS steps on each database
	@NOTIFIER_TEST_STEPS=$(STEPS) $(BIN)/python tests/rig/whole_run.py $(BIN)/pytest -q tests/contract/test_store_machine.py

# atheris has no wheel for every Python, and nothing else needs it: it gets a place of its own inside .venv.
FUZZER := $(VENV)/fuzz
SECONDS ?= 60
fuzz: $(STAMP) ## fuzz all that reads what strangers write, each for SECONDS (ARGS='eventstream' for one of them)
	$(ensure_uv)
	@[ -d $(FUZZER) ] || $(UV) pip install --quiet --target $(FUZZER) 'atheris>=3'
	@PYTHONPATH=$(CURDIR):$(CURDIR)/tests:$(CURDIR)/$(FUZZER) $(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGS)

check: $(STAMP) ## lint, formatting, types, and which module may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code, and mend what the linter can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lock: $(BIN)/python ## take the newest versions that pyproject.toml allows into uv.lock
	$(ensure_uv)
	@$(UV) lock --upgrade

bench: $(STAMP) ## measure it beside what it is compared with
	@$(BIN)/python -m bench $(ARGS)

performance: $(STAMP) ## measure for docs/performance.md, at most 30 minutes on a machine at rest, and write its tables and plots
	@$(BIN)/python -m bench.sweep $(ARGS)
	@$(BIN)/python -m bench.page
	@$(MAKE) plots

plots: $(STAMP) ## draw the plots of docs/performance.md; installs what draws them
	$(ensure_uv)
	@$(UV) sync --quiet --frozen --inexact --only-group plots
	@$(BIN)/python -m bench.plots

chaos: $(STAMP) ## run real processes under faults and judge what they did (MINUTES=1 NODES=1 SEED=n)
	@PYTHONPATH=$(CURDIR):$(CURDIR)/tests:$(CURDIR)/tests/rig \
		$(BIN)/python -m chaos --minutes $(MINUTES) --nodes $(NODES) $(if $(SEED),--seed $(SEED)) $(ARGS)

man: $(RUNNABLE) ## write the manual pages, from the commands' help, to build/man
	@$(BIN)/python deploy/man_pages.py build/man

wheel: $(BIN)/python ## build the source distribution and the wheel, to dist/
	$(ensure_uv)
	@$(UV) build --quiet --out-dir dist && ls dist/*.whl dist/*.tar.gz

deb: $(BIN)/python ## build the Debian package, to dist/ (on the Debian release that it is for)
	$(ensure_uv)
	@env -u UV_COMPILE_BYTECODE -u UV_PROJECT_ENVIRONMENT -u UV_PYTHON $(BIN)/python deploy/deb/build.py --uv "$(UV)" $(ARGS)

clean: ## remove .venv and all that was made
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov dist build
	find notifier tests bench -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml uv.lock $(BIN)/python
	@echo "Installing the packages of uv.lock into $(VENV), with $$($(BIN)/python --version)"
	$(ensure_uv)
	@$(UV) sync --quiet --frozen --all-extras --group dev
	@touch $@ $(RUNNABLE)

# What the program itself needs. Nothing is removed that was installed for tests.
$(RUNNABLE): pyproject.toml uv.lock $(BIN)/python
	@echo "Installing what notifier needs into $(VENV), with $$($(BIN)/python --version)"
	$(ensure_uv)
	@$(UV) sync --quiet --frozen --no-default-groups --inexact
	@touch $@

# PYTHON=... chooses another. A name that is found may still not run (version managers), or lack venv (Debian).
$(BIN)/python:
	@for python in $${PYTHON:-python3.13 python3.12 python3.11 python3}; do \
		"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		exec "$$python" -m venv --clear --without-pip $(VENV); \
	done; \
	echo "notifier needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv)." >&2; \
	echo "Say which to use with: make install PYTHON=/path/to/python3" >&2; \
	exit 1

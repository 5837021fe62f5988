# Needs python3 (3.11 or newer) and make; everything else is installed into .venv.
PYTHON  ?= python3
WORKERS ?= 2
JOBS    ?= 3
VENV    := .venv
BIN     := $(VENV)/bin
PYTEST   = $(BIN)/pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo up test test-18 test-15 chaos bench coverage lint sqitch debian-packages clean

help:
	@echo "make demo    run the whole main job once, step by step"
	@echo "make up      start everything for development and keep serving"
	@echo "make test    install what the tests need, then run all of them on PostgreSQL 18 and 15"
	@echo "make chaos   break things on purpose for less than an hour (SCENARIO=kills: one kind); docs/reliability.md"
	@echo "make bench   measure against floors, for about an hour on a quiet machine (SUBJECT=create: one kind); docs/performance.md"
	@echo "make lint    ruff and mypy"
	@echo "make sqitch  bring db/sqitch in step with the migrations and functions"
	@echo "make clean   remove the environment and what the tools left (not the data of make up)"

demo: $(VENV)/.installed
	@$(BIN)/pgbooking demo

up: $(VENV)/.installed
	@exec $(BIN)/pgbooking up

# Every part runs, whatever another one said: one run tells everything. PostgreSQL 15 gets what depends on the version; what
# is covered is counted once.
test: $(VENV)/.installed-test debian-packages
	@failed=0; \
	$(MAKE) --no-print-directory lint || failed=1; \
	$(BIN)/coverage erase; \
	$(PYTEST) --pg=18 --cov --cov-report= --cov-fail-under=0 || failed=1; \
	$(PYTEST) --pg=15 || failed=1; \
	$(BIN)/coverage report || failed=1; \
	exit $$failed

test-18 test-15: test-%: $(VENV)/.installed-test debian-packages
	$(PYTEST) --pg=$*

# Keeps the results and writes the figures of docs/reliability.md.
chaos: $(VENV)/.installed-test debian-packages
	@$(BIN)/python -m tests.chaos $(SCENARIO) --jobs $(JOBS) --save

# Keeps the raw data in bench/results and writes the table of docs/performance.md.
bench: $(VENV)/.installed-test debian-packages
	@$(BIN)/python -m bench $(SUBJECT) --save

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

sqitch: $(VENV)/.installed
	@$(BIN)/python -m glue.sqitch

debian-packages:
	@tests/pg/debian-packages

# Stamps: a second run installs nothing.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) bench/baselines/.venv bench/baselines/node_modules build dist *.egg-info htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The commands of this project; README.md says what each does.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAGE ?= dev
SEED ?= 1

# All but `deploy` and `destroy` speak to no AWS account; the region only has to be named.
LOCAL := run test quick check-tools check format clients clients-all conformance browser e2e drills bench bench-quick package
$(LOCAL): export AWS_EC2_METADATA_DISABLED := true
$(LOCAL): export AWS_DEFAULT_REGION ?= us-east-1

# Where Python may not keep bytecode, each of the tests' processes would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test quick check-tools check format clients clients-all conformance browser e2e drills bench bench-quick package deploy destroy clean

help:
	@echo "make run      serve a registry on this machine (GATEWAY_PORT, PROXY_PORT, EDGE_PORT;"
	@echo "              AUTH=1 asks for a login, ADMIN_TOKEN_FILE=path gets the first one)"
	@echo "make test     the tests that need no other program (SEED=n: in another order)"
	@echo "make quick    those of them that take a minute: no drills, MiniStack or packages"
	@echo "make check-tools  the tests of the tools that the tests stand on"
	@echo "make check    linters, types, import contracts, templates"
	@echo "make clients  real clients push and pull (installs what it needs)"
	@echo "make clients-all  more of them: those that take long to build"
	@echo "make conformance  the OCI's own suites, gated (PEER=1: beside a peer registry)"
	@echo "make browser  the page in Chromium (installs what it needs)"
	@echo "make e2e      a whole deployment on an emulation of AWS, from deploy to destroy"
	@echo "make drills   a stop at every call, races, faults, kills, mutants (hours); PART=1/4: a"
	@echo "              part of them, SUM=1: all parts added up (docs/durability.md)"
	@echo "make bench    side by side with a peer registry: docs/performance.md (an hour)"
	@echo "make bench-quick  what pushes and pulls ask of AWS, held to budgets (two minutes)"
	@echo "make package  the CloudFormation package, into build/STAGE/"
	@echo "make deploy   STAGE=x: the registry moorage-x in your AWS account, made or updated"
	@echo "make destroy  STAGE=x: takes it down; keeps its data (docs/deploy.md)"

$(VENV)/.run: pyproject.toml setup.py constraints.txt Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deploy,local]'
	touch $@

$(VENV)/.dev: pyproject.toml setup.py constraints.txt Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,clients,bench]'
	touch $@ $(VENV)/.run

# The variables that it reads, from make's command line or the shell, are in `moorage local --help`.
run: $(VENV)/.run
	@exec $(BIN)/moorage local

# No test needs an order, and SEED draws another one; it stands, so that a commit's runs are alike.
PYTEST = $(BIN)/python -m pytest -q -n 2 --dist loadfile --randomly-seed=$(SEED)

test: $(VENV)/.dev
	$(PYTEST) -m "not clients" --ignore=tests/tools --ignore=tests/browser tests

# Its tests wait more than they compute: hence more of them at once.
quick: export MOORAGE_FUZZ_REQUESTS ?= 1000
quick: $(VENV)/.dev
	$(PYTEST) -n 4 -m "not clients and not slow" --ignore=tests/tools --ignore=tests/browser --ignore=tests/drills tests

check-tools: $(VENV)/.dev
	$(PYTEST) tests/tools

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory package STAGE=check
	$(BIN)/cfn-lint --include-checks I -- build/check/sam.yaml infra/data.yaml infra/edge.yaml infra/observability.yaml

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clients: $(VENV)/.dev
	$(BIN)/python -m tests.clients.install
	$(BIN)/python -m pytest -m "clients and not nightly" -p no:randomly -v tests/clients

clients-all: $(VENV)/.dev
	$(BIN)/python -m tests.clients.install --all
	$(BIN)/python -m pytest -m clients -p no:randomly -v tests/clients

# CONFORMANCE=path takes that program instead of building the released one.
conformance: $(VENV)/.dev
	CONFORMANCE="$(CONFORMANCE)" $(BIN)/python -m tests.conformance $(if $(PEER),--peer)

browser: $(VENV)/.dev
	$(BIN)/python -m tests.browser

e2e: $(VENV)/.dev
	$(BIN)/python -m tests.e2e

# A part leaves its figures in a file; SUM=1 adds up those that are there.
FIGURES := build/drills
drills: $(VENV)/.dev
	$(BIN)/python -m tests.drills $(if $(SUM),--sum $(FIGURES)/*.json,$(if $(PART),--part $(PART) --figures $(FIGURES)/$(subst /,-of-,$(PART)).json))

# MINUTES=n: no part is begun for which that time does not suffice. It goes on where it stopped.
bench: $(VENV)/.dev
	$(BIN)/python -m bench $(if $(MINUTES),--minutes $(MINUTES))

bench-quick: $(VENV)/.dev
	$(BIN)/python -m bench --quick

package: $(VENV)/.run
	$(BIN)/python -m moorage.deploy.build build/$(STAGE)

# Options come by variables (DOMAIN, CERTIFICATE, ...): docs/deploy.md has them all.
deploy: $(VENV)/.run
	@$(BIN)/moorage deploy --stage "$(STAGE)"

destroy: $(VENV)/.run
	@$(BIN)/moorage destroy --stage "$(STAGE)"

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

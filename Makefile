# The manual: `make help`. Everything here is a short name for a command that also works without make.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo stop test test-all soak bench check lint fix types imports contract docs wheels

# The platform makes networks and mounts, so the machine's commands run as root; without sudo they say so themselves.
SUDO := $(shell [ "$$(id -u)" = 0 ] || { command -v sudo >/dev/null && echo sudo --preserve-env; })
BIN := .venv/bin
TRACKSIDE := bin/trackside
PYTEST := $(SUDO) $(BIN)/pytest
PURE := server/tests/rooms planner/tests cli/tests
# Tests with an engine, a proxy or a whole platform of their own run in two groups side by side; all others on every core.
WHOLE := $(addprefix server/tests/,survival e2e builds edge host runtime)
SHARING := $(filter-out server/tests/__pycache__ server/tests/demo $(WHOLE),$(patsubst %/,%,$(wildcard server/tests/*/))) planner/tests cli/tests
SOURCES := server planner cli bin/setup.py

help: ## Show this manual
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## Install what is missing: system packages, uv, the locked Python packages
	@bin/setup

setup-tests:
	@bin/setup --tests

demo: setup ## Start the platform and deploy the example project; prints the URLs and how to sign in
	@$(SUDO) $(TRACKSIDE) server start
	@$(SUDO) $(BIN)/python -m trackside demo

stop: ## Stop exactly what was started; the state directory and system packages stay
	@if [ -x $(BIN)/python ]; then $(SUDO) $(TRACKSIDE) server stop; else echo "Nothing was set up."; fi

test: setup-tests lint types imports ## Run the tests with all real parts; `make demo` itself first, alone
	@$(PYTEST) -q -m "not slow" server/tests/demo
	@$(PYTEST) -q -m "not slow" -n auto $(SHARING)
	@$(PYTEST) -q -m "not slow" -n 2 --dist loadgroup $(WHOLE)

test-all: setup-tests lint types imports ## Run the slow tests too; SHARD=1/3 runs the first third of them
	@$(PYTEST) -q server/tests/demo
	@$(PYTEST) -q -n auto $(SHARING)
	@$(PYTEST) -q -n 2 --dist loadgroup $(WHOLE)

wheels: setup ## Make what `trackside server upgrade` takes on a machine without this checkout: dist/
	@rm -rf dist
	@for member in planner server cli; do .tools/uv-*/uv build --quiet --wheel --no-create-gitignore --out-dir dist $$member; done
	@.tools/uv-*/uv export --quiet --frozen --all-packages --no-dev --no-emit-workspace --output-file dist/requirements.txt
	@ls dist

soak: setup-tests ## Half an hour of random operations and kills on ten services under load
	@TRACKSIDE_SOAK_SECONDS=$${TRACKSIDE_SOAK_SECONDS:-1800} $(PYTEST) -q -s server/tests/survival/test_random_walk.py

bench: setup-tests ## Measure what the platform takes of deployments, requests and the machine, beside the same without it; PARTS="edge idle": these alone
	@$(SUDO) $(BIN)/python -m trackside bench $(if $(PARTS),--only $(PARTS))

check: setup lint types imports ## Law, types, lint and pure tests: under two minutes
	@$(BIN)/pytest -q $(wildcard $(PURE))

lint: ## Look for mistakes and untidiness
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

fix: ## Mend what ruff can mend
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

types: ## Check the types
	@$(BIN)/basedpyright

imports: ## Check the import law
	@cd server && ../$(BIN)/lint-imports

contract: setup ## Write anew what clients know of the server: contract/
	@$(BIN)/python -m trackside contract

docs: setup ## Write the reference pages anew from the code: docs/reference/
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m trackside_cli.docs > docs/reference/cli.md

# The manual: `make help`. Everything here is a short name for a command that also works without make.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo stop test test-all bench check lint fix types imports contract docs

# The platform makes networks and mounts, so the machine's commands run as root.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env)
BIN := .venv/bin
TRACKSIDE := bin/trackside
PYTEST := $(SUDO) $(BIN)/pytest
TESTS := server/tests planner/tests cli/tests
PURE := server/tests/rooms planner/tests cli/tests
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

test: setup-tests lint types imports ## Run all tests with all real parts; `make demo` itself first, alone
	@$(PYTEST) -q server/tests/demo
	@$(PYTEST) -q -m "not slow" --deselect server/tests/demo $(TESTS)

test-all: setup-tests lint types imports ## Run the slow tests too
	@$(PYTEST) -q server/tests/demo
	@$(PYTEST) -q --deselect server/tests/demo $(TESTS)

bench: setup-tests ## Measure the platform's own share of a deployment
	@$(SUDO) $(BIN)/python -m trackside bench

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

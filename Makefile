# Two commands matter: `make demo` runs a real program in a microVM, `make test` passes the tests. Both set up what they need:
# Debian packages too, whose names are said before they are installed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
AGENT := $(wildcard agent/*.go agent/internal/*/*.go agent/go.mod)
BUILT := src/emberbox/_builtin/agent/emberbox-agent-amd64
TEST_DATA := $(CURDIR)/.cache/test-data
LANGUAGES_AT_ONCE ?= 2

.PHONY: help demo attack test test-unit test-integration test-e2e test-firecracker test-kernels test-languages test-hosts check check-go check-python format bench languages-page soak setup packages clean

help: ## say what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

packages: ## install the Debian packages that are missing, and say so before; or print the line that does
	@./scripts/packages.sh $(PACKAGES)

$(SETUP): pyproject.toml hatch_build.py $(wildcard constraints/*.txt)
	@./scripts/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(BUILT): $(AGENT) hatch_build.py | $(SETUP)
	@echo "compiling the guest agent"
	@$(BIN)/python hatch_build.py

setup: packages $(SETUP) $(BUILT) ## install everything and build images and templates
	$(BIN)/emberbox setup

demo: packages $(SETUP) $(BUILT) ## set everything up and run a real program in a microVM
	@$(BIN)/emberbox setup --runtime python
	@echo
	@$(BIN)/emberbox run --time examples/hello_microvm.py

test: PACKAGES = test
test: packages $(SETUP) $(BUILT) ## set up what is needed (Debian packages too, which it names before) and pass the tests
	cd agent && PATH="$(CURDIR)/$(BIN):$$PATH" GOPROXY=off GOTOOLCHAIN=local go test ./...
	@scripts/tests.sh $(BIN)/pytest

attack: PACKAGES = test
attack: packages $(SETUP) $(BUILT) ## attack it in every way that is known, and write SECURITY.md's table and .cache/attack/
	@$(BIN)/python -m tests.attack $(ATTACKS)

test-unit: $(SETUP) $(BUILT) ## the tests that start no VM
	cd agent && PATH="$(CURDIR)/$(BIN):$$PATH" GOPROXY=off GOTOOLCHAIN=local go test ./...
	$(BIN)/pytest tests/unit tests/bench

test-integration: PACKAGES = test
test-integration: packages $(SETUP) $(BUILT) ## the tests of the service without VMs
	$(BIN)/pytest tests/contract tests/integration

test-e2e: PACKAGES = test
test-e2e: packages $(SETUP) $(BUILT) ## the tests on real VMs
	$(BIN)/pytest tests/e2e

test-languages: PACKAGES = test
test-languages: packages $(SETUP) $(BUILT) ## check languages on real VMs: EMBERBOX_TEST_LANGUAGES="ruby lua", or all of them
	EMBERBOX_TEST_LANGUAGES="$${EMBERBOX_TEST_LANGUAGES:-all}" $(BIN)/pytest -n $(LANGUAGES_AT_ONCE) --dist load --maxschedchunk 1 tests/languages

test-kernels: PACKAGES = test
test-kernels: packages $(SETUP) $(BUILT) ## programs on another of Debian's kernels, which is downloaded
	EMBERBOX_TEST_KERNELS=1 $(BIN)/pytest tests/kernels

test-firecracker: PACKAGES = test
test-firecracker: packages $(SETUP) $(BUILT) ## the drivers' contract on a real Firecracker, or one line that says why not
	@$(BIN)/python -m tests.e2e.drivers.real

test-hosts: PACKAGES = hosts
test-hosts: packages $(SETUP) $(BUILT) ## set up and try all this in a Debian 13 in a folder: HOSTS_SUITE, HOSTS_RUN, see tests/hosts
	@$(BIN)/python -m tests.hosts

check: check-python check-go ## format, lint, types, layers

check-python: $(SETUP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check-go: $(SETUP)
	@unformatted="$$($(BIN)/python scripts/gofmt.py agent)"; test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	cd agent && PATH="$(CURDIR)/$(BIN):$$PATH" GOPROXY=off GOTOOLCHAIN=local go vet ./...

format: $(SETUP) ## put the source into its form
	$(BIN)/ruff check --fix --select I
	$(BIN)/ruff format
	@$(BIN)/python scripts/gofmt.py --write agent

bench: PACKAGES = bench
bench: packages $(SETUP) $(BUILT) ## measure, and write bench/results/
	$(BIN)/emberbox setup --runtime python
	$(BIN)/python -m bench

languages-page: $(SETUP) ## write docs/languages.md from bench/results/languages.json
	$(BIN)/python -m bench.reports.languages_page

soak: packages $(SETUP) $(BUILT) ## run 10,000 jobs through a service and look at what is left behind
	$(BIN)/python scripts/soak.py

clean: ## remove what was built here; images and templates stay in the data folder
	rm -rf $(VENV) .cache dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/emberbox/_builtin
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

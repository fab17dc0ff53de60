# Everything runs in .venv, which these targets make: a fresh machine needs Python 3.11 or newer, make and git.
PYTHON ?= python3
BIN := .venv/bin
# Processes among which the tests are shared; most of the time each of them waits.
WORKERS ?= auto
UV := $(BIN)/uv
LOCK := tests/requirements.lock
# The benchmarks bring the providers that they compare with, in an environment of their own.
BENCH_BIN := .venv-bench/bin
BENCH_LOCK := benchmarks/requirements.lock
COMPILE := $(UV) pip compile pyproject.toml --extra simulator --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet
SOURCES := pyproject.toml $(shell find airflow_provider_apimart -type f ! -path '*/__pycache__/*')

# Airflow starts a dozen processes; compiled once, each of them starts in half the time.
export UV_COMPILE_BYTECODE = 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test coverage screenshots faults bench lint format docs build lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

demo: .venv/.installed ## Generate pictures into a local S3 server through a real Airflow (ONCE=1: then stop)
	cd tests && ../$(BIN)/python -m services.demo

test: .venv/.installed ## Build the wheel, install it and run all tests against it
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

coverage: .venv/.installed ## Run all tests and report what they cover, also in build/coverage.xml, in twice the time
	$(BIN)/pytest -n $(WORKERS) --cov --cov-report=term --cov-report=xml:build/coverage.xml $(ARGS)

screenshots: .venv/.installed ## Run the browser tests and renew docs/images/*.png from what they saw
	rm -rf build/screenshots
	$(BIN)/pytest -m browser $(ARGS)
	$(foreach image,$(notdir $(wildcard docs/images/*.png)),cp build/screenshots/$(image) docs/images/ && )true

faults: .venv/.installed ## Inject 1,500 faults and count double purchases and lost pictures
	cd tests && ../$(BIN)/python -m faults.campaign --json ../build/faults.json $(ARGS)

bench: .venv-bench/.installed ## Measure speed against other providers and write docs/performance.md (about two hours)
	PYTHONPATH=tests $(BENCH_BIN)/python -m benchmarks $(or $(ARGS),--write)

lint: .venv/.locked ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.locked ## Let the formatter and the linter mend what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.installed ## Build the documentation into docs/_build/html, warnings as errors
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build/html

build: .venv/.locked ## Build wheel and sdist into dist/
	rm -rf dist
	$(UV) build --no-build-isolation --quiet --out-dir dist

lock: $(UV) ## Resolve the environments again into the hash-checked locks
	$(COMPILE) --group dev --upgrade --output-file $(LOCK)
	$(COMPILE) --group bench --constraint $(LOCK) --upgrade --output-file $(BENCH_LOCK)

clean: ## Remove the environments and everything that was built
	rm -rf .venv .venv-bench .demo build dist docs/_build .coverage*

$(UV):
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/.locked: $(LOCK) | $(UV)
	$(UV) pip sync --quiet --require-hashes $(LOCK)
	@touch $@

.venv/.installed: $(SOURCES) .venv/.locked
	rm -rf build/wheel
	$(UV) build --wheel --no-build-isolation --quiet --out-dir build/wheel
	$(UV) pip install --quiet --no-deps --reinstall build/wheel/*.whl
	@touch $@

.venv-bench/.installed: $(SOURCES) $(BENCH_LOCK) .venv/.installed
	$(PYTHON) -m venv .venv-bench
	$(UV) pip sync --quiet --python $(BENCH_BIN)/python --require-hashes $(BENCH_LOCK)
	$(UV) pip install --quiet --python $(BENCH_BIN)/python --no-deps --reinstall build/wheel/*.whl
	@touch $@

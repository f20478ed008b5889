# `make` lists the targets; the work of the longer ones is in scripts/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Optimised, without the link-time optimisation of a release: minutes faster to build, nearly as fast to run.
PROFILE := fast
# Which Python the bindings are checked against.
export PYO3_PYTHON := $(abspath $(BIN)/python)

.PHONY: help test demo serve check bench fuzz wheel clean
.PHONY: tools servers fmt lint doc lint-python rust models extension python clients docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: tools fmt lint doc rust models lint-python docs python clients ## every check and every test
demo: extension $(if $(BUS),servers) ## replay a week of real earthquakes to real clients; BUS=redis or BUS=postgres: on two nodes
	@$(BIN)/python python/examples/earthquakes/demo.py $(if $(BUS),--bus $(BUS))
serve: extension ## the same, kept running, with a page for the browser
	@$(BIN)/python python/examples/earthquakes/demo.py --serve
check: tools fmt lint doc lint-python ## formats, lints, documentation and types only

bench: PROFILE := release
bench: extension ## the benchmarks of the engine and of the Python package
	cargo bench -p coulis-benches
	$(BIN)/python python/benches/fanout.py
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement python/benches/requirements.txt
	$(BIN)/python python/benches/rivals.py

fuzz: ## every fuzz target for three minutes; needs a nightly compiler and cargo-fuzz
	@scripts/fuzz

docs: extension $(VENV)/.installed-docs ## the documentation of the Python package, in dist/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file python/mkdocs.yml

wheel: tools $(STAMP) ## a release wheel in dist/
	$(BIN)/maturin build --release --manifest-path python/Cargo.toml --out dist

clean: ## remove everything that was built
	rm -rf target fuzz/target dist $(VENV) tests/clients/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

tools:
	@scripts/need rust python

$(STAMP): tests/requirements.txt | tools
	@scripts/venv $(VENV) tests/requirements.txt
	@touch $@

$(VENV)/.installed-docs: python/docs/requirements.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

fmt:
	cargo fmt --all --check

lint: $(STAMP)
	cargo clippy --workspace --all-targets --locked -- -D warnings

# The documentation of the crates: a broken link is an error.
doc: $(STAMP)
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Redis, PostgreSQL and Chromium, which tests start for themselves.
servers:
	@scripts/servers

# Without the bindings: they are a library for Python to load, and tested from there.
rust: servers
	cargo test --workspace --exclude coulis-python --locked

# Whatever threads share without a lock, under the model checker loom: every interleaving, not a lucky one.
models:
	RUSTFLAGS="--cfg coulis_loom" cargo test -p coulis --lib --locked --profile $(PROFILE) --target-dir target/loom loom

extension: tools $(STAMP)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --profile $(PROFILE) --locked --manifest-path python/Cargo.toml

lint-python: extension
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

python: extension servers
	$(BIN)/pytest python/tests
	$(BIN)/pytest tests/clients

clients: extension
	@scripts/node_clients

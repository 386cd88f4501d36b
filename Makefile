# `make` says what there is to make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
# JupyterLab for machines without Docker: `make demo` fills it once.
VENV := $(CURDIR)/.cache/demo-venv
JUPYTERLAB := jupyterlab==4.5.11
# Tools that `make deny` builds once; outside the repository, so that `make clean` leaves them.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hubgate/tools
CARGO_DENY := 0.20.2

.PHONY: help
help: ## Say what there is (this text)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: cc ## Build hubgate for trying it out: target/debug/hubgate
	$(CARGO) build --locked

.PHONY: release
release: cc ## Build hubgate as it is installed: target/release/hubgate
	$(CARGO) build --locked --release

.PHONY: demo
demo: build ## Run everything on this machine: a provider, two users, notebooks
	@if $(HAS_IMAGE); then :; else $(MAKE) --no-print-directory $(VENV)/ready; fi
	@exec target/debug/hubgate demo --jupyter $(VENV)

# What the demo itself looks for.
HAS_IMAGE = (for image in hubgate-demo/lab quay.io/jupyter/minimal-notebook quay.io/jupyter/base-notebook; do \
	docker image inspect "$$image" >/dev/null 2>&1 && exit 0; done; exit 1)

$(VENV)/ready:
	@echo 'There is no Docker with a notebook image: JupyterLab is installed into $(VENV).'
	@if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null; \
		else \
			echo 'error: Python cannot make virtual environments' >&2; \
			echo '  hint: sudo apt-get install python3-venv (Debian, Ubuntu), or install Docker' >&2; exit 1; \
		fi; \
	fi
	@rm -rf $(VENV)
	@python3 -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check $(JUPYTERLAB)
	@touch $@

.PHONY: test
test: cc ## Run all tests, with Keycloak, Docker and Chromium (installs what is missing)
	tests/parts/install
	$(CARGO) test --locked --workspace
	tests/parts/with $(CARGO) test --locked --features real-tests --test real -- --test-threads=1

.PHONY: test-hermetic
test-hermetic: cc ## Run the tests that need nothing but this repository
	$(CARGO) test --locked --workspace

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: ## Say what `make fmt` would change
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: cc ## Look for what the house style forbids
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

.PHONY: doc
doc: cc ## Build the code's own documentation
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: deny
deny: cc ## Judge the dependencies: advisories, licences, duplicates, sources
	@$(CARGO) install --quiet --locked --version $(CARGO_DENY) --root $(TOOLS) cargo-deny
	@if $(TOOLS)/bin/cargo-deny fetch db >/dev/null 2>&1; then \
		$(TOOLS)/bin/cargo-deny check; \
	else \
		echo '*** ADVISORIES WERE NOT CHECKED: their database on github.com cannot be fetched. ***'; \
		$(TOOLS)/bin/cargo-deny check bans licenses sources; \
	fi

.PHONY: bench-quick
bench-quick: release ## Compare hubgate's cost of a request with nginx's (five minutes)
	tests/bench/quick

.PHONY: clean
clean: ## Remove what was built, and the demo's JupyterLab
	$(CARGO) clean
	rm -rf .cache

.PHONY: cc
cc:
	@command -v cc >/dev/null || { echo 'error: there is no C compiler, which the cryptography needs' >&2; \
		echo '  hint: apt-get install gcc libc6-dev (Debian, Ubuntu)' >&2; exit 1; }

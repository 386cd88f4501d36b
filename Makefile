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
# How long `make fuzz-smoke` tries each parser.
FUZZ_SECONDS ?= 60

# The two commands that are to work on a bare machine install what they lack, as root on Debian; the others say how to.
demo test: MAY_INSTALL ?= yes
# need CONDITION,PACKAGES,WHAT FOR
need = $(1) || { if [ "$(MAY_INSTALL)" = yes ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo '$(3): installing $(2)'; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(2) >/dev/null; \
	else echo 'error: $(3)' >&2; echo '  hint: apt-get install $(2) (Debian, Ubuntu)' >&2; exit 1; fi; }
HAS_CC = command -v cc >/dev/null
HAS_VENV = python3 -c 'import venv, ensurepip' 2>/dev/null

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
	@if $(HAS_IMAGE); then :; else $(MAKE) --no-print-directory MAY_INSTALL=$(MAY_INSTALL) $(VENV)/ready; fi
	@exec $(CARGO) run --locked --quiet -- demo --jupyter $(VENV)

# What the demo itself looks for.
HAS_IMAGE = (for image in hubgate-demo/lab quay.io/jupyter/minimal-notebook quay.io/jupyter/base-notebook; do \
	docker image inspect "$$image" >/dev/null 2>&1 && exit 0; done; exit 1)

$(VENV)/ready:
	@echo 'There is no Docker with a notebook image: JupyterLab is installed into $(VENV).'
	@$(call need,$(HAS_VENV),python3-venv,JupyterLab needs a Python that makes virtual environments)
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

.PHONY: fuzz-smoke
fuzz-smoke: cxx ## Try to break each parser of outside text for a minute (FUZZ_SECONDS)
	tests/fuzz/run $(FUZZ_SECONDS)

.PHONY: fuzz
fuzz: cxx ## The same, an hour for each
	tests/fuzz/run 3600

.PHONY: bench-quick
bench-quick: release ## Compare hubgate's cost of a request with nginx's (five minutes)
	tests/bench/quick

.PHONY: clean
clean: ## Remove what was built, and the demo's JupyterLab
	$(CARGO) clean
	rm -rf .cache

.PHONY: cc
cc:
	@$(call need,$(HAS_CC),gcc libc6-dev,the cryptography needs a C compiler)

.PHONY: cxx
cxx: cc
	@$(call need,command -v c++ >/dev/null,g++,the fuzzer is written in C++)

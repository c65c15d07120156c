# The front door. Every target but help first asks deploy/setup.sh for what the machine lacks.
# Every build selects the whole workspace: another selection would build other variants of the dependencies.
# What a target produces for people stays in the checkout (target/demo, target/bench, ...), wherever cargo builds.

SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TARGET_DIR ?= $(CURDIR)/target

.DEFAULT_GOAL := help
.PHONY: help setup demo test long lint bench conformance

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install the native packages and Python modules that are missing, say what cannot be
	@deploy/setup.sh $(if $(filter setup,$(MAKECMDGOALS)),--report)

demo: setup ## three nodes carry one assessment and prove it; options in ARGS="--once --json"
	@cargo build --locked --workspace --bins
	@exec "$(CARGO_TARGET_DIR)/debug/basoche" demo $(ARGS)

test: setup ## format, lints, purity and every test; ends with "N passed, N failed, N skipped"
	@deploy/test.sh

long: setup ## the same tests with the counts of a campaign: kills, power cuts, loss, seeds (hours)
	@BASOCHE_LONG=1 deploy/test.sh

lint: setup ## format, clippy, documentation, directions of the crates, floors of Cargo.lock
	@deploy/lint.sh

bench: setup ## measure beside limits and peers of the same run; writes target/bench/results.json
	@mkdir -p target/bench
	@cargo build --locked --workspace --bins
	@"$(CARGO_TARGET_DIR)/debug/basoche-benches" --output "$(CURDIR)/target/bench/results.json" $(ARGS)

conformance: setup ## hold the decoders and the second codec to the vectors; writes target/conformance/report.json
	@mkdir -p target/conformance
	@cargo build --locked --workspace --bins
	@"$(CARGO_TARGET_DIR)/debug/basoche-conformance" vectors --vectors conformance/vectors --out "$(CURDIR)/target/conformance/report.json" $(ARGS)

#!/usr/bin/env bash
# make lint: format, clippy (with the purity of protocol and registry, see their clippy.toml), documentation,
# then the directions between our crates and the floors of Cargo.lock. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    echo "lint: $*" >&2
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked
# --workspace keeps the features of the other targets, so that no dependency is built twice.
step cargo test --workspace --test house --locked --quiet -- directions:: floors:: purity::configuration >&2

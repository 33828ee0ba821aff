#!/usr/bin/env bash
# Runs every test: sets up what they need first. Long modes have commands of their own (see CONTRIBUTING.md).
set -euo pipefail
cd "$(dirname "$0")"

if [ -x compat-tests/setup.sh ]; then
  compat-tests/setup.sh
fi
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
cargo test --workspace --quiet --doc
cargo build --workspace --bins --quiet
cargo test --workspace --lib --bins --tests "$@"

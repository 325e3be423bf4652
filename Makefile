# Two commands matter: `make demo` and `make test`. Both set up everything they need.
# The build folder lies outside the clone, so that several clones share it.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/paceline
export CARGO_TARGET_DIR ?= $(CACHE)/target

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench soak docs

help: ## show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## bring LightGBM and ADBC drivers (official wheels, checked) and the servers that tests start
	@scripts/setup

demo: setup ## the case study end to end on a synthetic shop: writes out/demo/report.html, ends with the ladder
	cargo run --release --bin paceline -- demo --out out/demo

test: setup ## every test
	@if command -v cargo-nextest >/dev/null 2>&1; then \
	  cargo nextest run --workspace; \
	else \
	  echo "cargo-nextest is not installed (cargo install cargo-nextest --locked makes this faster); using cargo test"; \
	  cargo test --workspace --lib --bins --tests; \
	fi
	cargo test --workspace --doc

lint: ## formatting, clippy without warnings
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: setup ## every benchmark; figures and their commands stand in bench/RESULTS.md
	@for bin in bench/src/bin/*.rs; do \
	  cargo run --release -p paceline-bench --bin $$(basename $$bin .rs) || exit 1; \
	done

docs: ## write the reference pages that are generated from types
	PACELINE_WRITE_DOCS=1 cargo test -p paceline --lib

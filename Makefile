# The commands of this repository. Everything is built in one profile: see Cargo.toml.
CARGO ?= cargo
PARTS := target/parts
export HEAPLINE_SKIPPED := $(CURDIR)/target/skipped.txt
export PATH := $(CURDIR)/$(PARTS)/bin:$(PATH)

.PHONY: run build test lint bench detection drill dashboards

run: build ## Start the upload server with the agent inside, and print a curl line to paste.
	@exec target/release/heapline-upload $(ARGS)

build:
	@for tool in $(CARGO) cc make; do command -v $$tool >/dev/null || { echo "make run needs '$$tool' (on Debian: apt-get install build-essential, and Rust from rustup)" >&2; exit 1; }; done
	@$(CARGO) build --release --package heapline-upload

test: ## Unit, integration and end-to-end tests on real parts; ends with what was skipped.
	@mkdir -p target && : > $(HEAPLINE_SKIPPED)
	tests/parts/install kafka monitoring browser
	$(CARGO) build --release --workspace --all-targets
	$(CARGO) test --release --workspace
	tests/rules/run
	@if [ -s $(HEAPLINE_SKIPPED) ]; then echo "Skipped:"; sort -u $(HEAPLINE_SKIPPED); else echo "Nothing was skipped."; fi

lint: ## rustfmt, clippy, cargo-deny, promtool, shellcheck: no warning passes.
	tests/parts/install lint monitoring
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps
	cargo-deny check bans licenses sources
	promtool check rules dashboards/prometheus/rules.yml dashboards/prometheus/alerts.yml
	git ls-files | while read -r f; do head -c 64 "$$f" | grep -qE '^#!.*sh$$' && echo "$$f"; done | xargs shellcheck .ci/run

bench: ## Uploads a second and CPU a gigabyte beside a bare socket loop, in alternating runs.
	$(CARGO) build --release --workspace
	target/release/heapline-bench

detection: ## The labelled corpus, Heapline beside what people use today: SEEDS=200..206 by default, seeds below 100 are for development.
	$(CARGO) build --release --workspace
	target/release/detection --seeds $(or $(SEEDS),200..206)

drill: ## The story in five minutes: four services, real Kafka, Prometheus and Alertmanager, one table.
	tests/parts/install kafka monitoring
	$(CARGO) build --release --workspace
	target/release/drill

dashboards: ## Rules and dashboards against promtool and a real Prometheus.
	tests/parts/install monitoring
	tests/rules/run
	$(CARGO) build --release --workspace
	$(CARGO) test --release --workspace --test dashboards

# The commands of this repository.
CARGO ?= cargo
PARTS := target/parts
# Everything is built in one profile, and everything is the workspace's default members: see Cargo.toml.
BUILD := $(CARGO) build --release
TEST := $(CARGO) test --release
export HEAPLINE_SKIPPED := $(CURDIR)/target/skipped.txt
export PATH := $(CURDIR)/$(PARTS)/bin:$(PATH)

.PHONY: run build test test-kafka-tls lint bench bench-quick bench-agent cold detection drill culprits fuzz soak dashboards

run: build ## Start the upload server with the agent inside, and print a curl line to paste.
	@exec target/release/heapline-upload $(ARGS)

build:
	@for tool in $(CARGO) cc make; do command -v $$tool >/dev/null || { echo "make run needs '$$tool' (on Debian: apt-get install build-essential, and Rust from rustup)" >&2; exit 1; }; done
	@$(CARGO) build --release --package heapline-upload

test: ## Unit, integration and end-to-end tests on real parts; ends with what was skipped.
	@mkdir -p target && : > $(HEAPLINE_SKIPPED)
	tests/parts/install kafka monitoring browser s3 faults
	$(BUILD) --all-targets
	$(TEST)
	fuzz/run 8
	tests/rules/run
	tests/model
	tests/sanitize
	@if [ -s $(HEAPLINE_SKIPPED) ]; then echo "Skipped:"; sort -u $(HEAPLINE_SKIPPED); else echo "Nothing was skipped."; fi

test-kafka-tls: ## The upload server with TLS to Kafka (needs libssl-dev), against a broker that speaks it.
	tests/parts/install kafka
	$(BUILD) --features heapline-upload/kafka-tls,heapline-tests/kafka-tls --bins --test kafka_settings
	$(TEST) --features heapline-upload/kafka-tls,heapline-tests/kafka-tls --test kafka_settings

lint: ## rustfmt, clippy, cargo-deny, promtool, shellcheck: no warning passes.
	tests/parts/install lint monitoring
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps
	cargo-deny check bans licenses sources
	promtool check rules dashboards/prometheus/rules.yml dashboards/prometheus/alerts.yml
	git ls-files | while read -r f; do head -c 64 "$$f" | grep -qE '^#!.*sh$$' && echo "$$f"; done | xargs shellcheck .ci/run

bench: ## Throughput, latency, memory and CPU beside the peers and a bare socket loop, in alternating runs, and what the agent costs; an hour. PART=name for one.
	tests/parts/install s3
	crates/bench/peers/build
	$(BUILD)
	target/release/heapline-bench --write docs/performance.md $(if $(PART),--only $(PART))

bench-quick: ## The first table of it, in three minutes.
	tests/parts/install s3
	crates/bench/peers/build
	$(BUILD)
	target/release/heapline-bench --quick

bench-agent: ## What the agent and its profiles cost, beside the same program without it and beside jemalloc_pprof.
	$(BUILD)
	target/release/bench-agent

cold: ## A cold build of the upload server in a directory of its own, with cargo's report of which crate holds up which; minutes.
	rm -rf target/cold
	$(CARGO) build --release --package heapline-upload --target-dir target/cold --timings

detection: ## The labelled corpus, Heapline beside what people use today: SEEDS=200..206 by default, docs/detection.md says which were learned from.
	$(BUILD)
	target/release/detection --seeds $(or $(SEEDS),200..206)

drill: ## The story in five minutes: four services, real Kafka, Prometheus and Alertmanager, one table.
	tests/parts/install kafka monitoring
	$(BUILD)
	target/release/drill

fuzz: ## Every fuzz target for SECONDS each (default: ten minutes).
	$(CARGO) build --release --package heapline-upload
	fuzz/run $(or $(SECONDS),600)

soak: ## The longer forms: 200 kills, 100,000 uploads, a million stored files, ten minutes of each fuzz target.
	@mkdir -p target
	tests/parts/install kafka faults
	$(BUILD) --all-targets
	HEAPLINE_SOAK=1 $(TEST) --test upload_crash --test upload_memory -- --nocapture
	HEAPLINE_STORED_FILES=1000000 $(TEST) --test start -- --nocapture
	fuzz/run 600

culprits: ## Host programs that leak in one way each, and some that do not: what each is told. Twenty minutes.
	$(BUILD)
	target/release/culprits $(ARGS)

dashboards: ## Rules and dashboards against promtool and a real Prometheus.
	tests/parts/install monitoring
	tests/rules/run
	$(BUILD)
	$(TEST) --test dashboards

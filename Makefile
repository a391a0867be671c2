# Where checks/setup puts Nix if the machine has none.
export PATH := $(PATH):$(CURDIR)/target/nix/bin

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install what the checks need
	@checks/setup

tools: ## install the linters of Nix code
	@checks/tools

roots: setup ## make the root file systems with the Nix versions tested
	@checks/lab/root all

build: ## compile
	cargo build --locked

test: setup ## prove everything, in each Nix version
	@checks/test

test-matrix: setup ## the same, with each scenario on all versions of Nix
	@checks/test --matrix

resume-matrix: setup roots tailnet build ## the scenarios on all versions that have not passed yet with these sources
	@checks/scenario --matrix --resume

tailnet: ## compile what the scenarios on a tailnet run; takes Go
	@checks/lab/tailnet/build

scenarios: roots tailnet build ## only the scenarios
	@checks/scenario

demo: setup ## show a small cluster at work
	cargo build --release --locked
	target/release/muster demo

bench: roots ## measure against plain Nix
	cargo build --release --locked
	checks/bench
	cargo test --release --locked --quiet --test policy_speed --test simulate_speed --test tailnet_speed -- --ignored --nocapture
	cargo test --release --locked --quiet --test tailnet_memory -- --nocapture

fmt: ## format the code
	cargo fmt

lint: ## check format and lints
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

clean-roots: ## delete the root file systems
	rm -rf --one-file-system target/roots

.PHONY: help setup tools roots tailnet build test test-matrix resume-matrix scenarios demo bench fmt lint clean-roots

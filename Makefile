# Each target is one command; `make help` lists them. Only the Rust toolchain and a C compiler are
# needed, no server.

CARGO    ?= cargo
SHOPCTL   = $(CARGO) run --release --
SCENARIO ?= scenarios/smoke.yaml
SEED     ?= 1
# Under target/, so that git ignores it.
DATA     ?= target/shop
LISTEN   ?= 127.0.0.1:8080

.DEFAULT_GOAL := help
.PHONY: help demo test test-kill check proto-gen services-up seed-data simulate picture

help: ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'

demo: ## Run the flash sale and judge it: about 15 seconds once it is built.
	$(SHOPCTL) run scenarios/flash-sale.yaml

test: ## Run all tests.
	$(CARGO) test

test-kill: ## Kill a shop in mid-flight, again and again; prints a line a round. KILL_ROUNDS=number
	$(CARGO) test -p shopctl --test it kill -- --nocapture

check: ## What has to pass before a commit: formatting, lints, tests.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace

proto-gen: ## Generate the gRPC code; every build does this by itself, without protoc.
	$(CARGO) build -p proto

services-up: ## Put a shop up and leave it running until Ctrl-C. DATA=folder LISTEN=address
	$(SHOPCTL) up --data $(DATA) --listen $(LISTEN)

seed-data: ## Fill that shop with a scenario's users, products and stock. SCENARIO=file LISTEN=address
	$(SHOPCTL) seed $(SCENARIO) --target http://$(LISTEN)

simulate: ## Play one seed in virtual time. SCENARIO=file SEED=number
	$(SHOPCTL) simulate $(SCENARIO) --replay $(SEED)

picture: ## Renew the dashboard's picture in docs/ from a run of the outage.
	$(SHOPCTL) run scenarios/payment-outage.yaml --headless --picture 6s=docs/dashboard.svg

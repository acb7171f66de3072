# Each target is one command; `make help` lists them. Only the Rust toolchain and a C compiler are
# needed; `test-all` and `infra-up` need the programs of three servers as well, which `deps` installs.

CARGO    ?= cargo
SHOPCTL   = $(CARGO) run --release --
SCENARIO ?= scenarios/smoke.yaml
# What `make soak` plays.
SEEDS    ?= 1..10000
SCALE    ?= 0.1
SOAK     ?= scenarios/oversell-race.yaml
JOBS_FLAG = $(if $(JOBS),--jobs $(JOBS))
# Under target/, so that git ignores it.
DATA     ?= target/shop
# How many `make growth` makes.
ORDERS   ?= 1000000
LISTEN   ?= 127.0.0.1:8080

.DEFAULT_GOAL := help
.PHONY: bench growth help demo deps test test-all test-kill check proto-gen infra-up services-up seed-data simulate soak picture

help: ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'

demo: ## Run the flash sale and judge it: about 15 seconds once it is built.
	$(SHOPCTL) run scenarios/flash-sale.yaml

deps: ## Say which Debian packages are missing; APPLY=1 installs them, without starting a service.
	@.ci/deps $(if $(APPLY),apply)

test: ## Run the tests that need no server.
	$(CARGO) test

test-all: deps ## Run all tests, also those that start PostgreSQL, NATS and Redis.
	$(CARGO) test --workspace
	$(CARGO) test --workspace --test servers

test-kill: ## Kill a shop in mid-flight, again and again; prints a line a round. KILL_ROUNDS=number
	$(CARGO) test -p shopctl --test it kill -- --nocapture

check: ## What has to pass before a commit: formatting, lints, tests.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --test servers -- -D warnings
	$(CARGO) test --workspace

proto-gen: ## Generate the gRPC code from the .proto files, without protoc; a test fails when that was forgotten.
	$(CARGO) run -p proto --example generate

infra-up: ## Start private PostgreSQL, NATS and Redis, print their URLs, stay until Ctrl-C. DATA=folder
	$(SHOPCTL) infra --data $(DATA)/servers

services-up: ## Put a shop up and leave it running until Ctrl-C. DATA=folder LISTEN=address
	$(SHOPCTL) up --data $(DATA) --listen $(LISTEN)

seed-data: ## Fill that shop with a scenario's users, products and stock. SCENARIO=file LISTEN=address
	$(SHOPCTL) seed $(SCENARIO) --target http://$(LISTEN)

simulate: ## Play a fixed set of seeds in virtual time, each with faults of its own: a few minutes. JOBS=number
	$(SHOPCTL) simulate scenarios/oversell-race.yaml --seeds 1..100 --scale 0.1 --crash-points $(JOBS_FLAG)
	$(SHOPCTL) simulate scenarios/smoke.yaml --seeds 1..50 --scale 0.2 $(JOBS_FLAG)
	$(SHOPCTL) simulate scenarios/payment-outage.yaml --seeds 1..30 --scale 0.1 $(JOBS_FLAG)

soak: ## Play many seeds; what was played before is not played again. SEEDS=A..B JOBS=number SCALE=share SOAK=file
	$(SHOPCTL) simulate $(SOAK) --seeds $(SEEDS) --scale $(SCALE) --crash-points $(JOBS_FLAG)

bench: ## Measure what group commit is worth, and what it costs to watch: 6 min. Needs the servers' programs
	$(SHOPCTL) bench hot-product
	$(SHOPCTL) bench throughput --rounds 4 --seconds 8
	$(SHOPCTL) bench instruments --rounds 8 --seconds 8

growth: ## Measure what an order costs in a shop that fills up: 30 min. ORDERS=number
	$(SHOPCTL) bench growth --orders $(ORDERS)

picture: ## Renew the dashboard's picture in docs/ from a run of the outage.
	$(SHOPCTL) run scenarios/payment-outage.yaml --headless --picture 6s=docs/dashboard.svg

# The commands of this repository. "make help" lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Every module: this folder, and those below it that have a go.mod.
MODULES := $(patsubst %/,%,$(dir $(wildcard go.mod */go.mod)))

# What belongs to other modules than the one at the root.
NESTED := $(patsubst %,--exclude-dir=%,$(filter-out .,$(MODULES)))

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

SEEDS ?= 20000
KILLS ?= 300
BUILDS ?= 2000
T ?= 30s

.PHONY: help demo demo-solver tools test test-modules test-race lint sim crash fuzz bench-solver bench-build confine conformance load dist image tidy

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## build examples/hello three times with tenon, and run it (as root, on Linux)
	@examples/hello/demo

demo-solver: ## build a small program with the solver alone, and see what is run, what is not, and why
	@go run ./solver/examples/hello

test: tools test-modules test-race ## all tests of all modules, and those of what is concurrent under the race detector

tools: ## install what the tests use besides Go, where that is possible
	@.ci/tools

test-modules:
	@failed=; for m in $(MODULES); do echo "== $$m"; (cd $$m && go test -timeout 40m ./...) || failed=1; done; [ -z "$$failed" ]

test-race:
	@if .ci/cc; then \
		echo "== solver, with the race detector"; \
		(cd solver && CGO_ENABLED=1 go test -race -short -timeout 40m ./...); \
		echo "== the engine, with the race detector"; \
		CGO_ENABLED=1 go test -race -short -timeout 40m ./engine/...; \
	else \
		echo "skipped: the race detector needs a C compiler, and there is none"; \
	fi

lint: ## gofmt, go vet, staticcheck, and the sizes of functions and files
	@failed=; \
	unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; failed=1; fi; \
	for m in $(MODULES); do \
		echo "== $$m"; \
		(cd $$m && go vet ./...) || failed=1; \
		(cd $$m && go run $(STATICCHECK) ./...) || failed=1; \
	done; \
	echo "== sizes"; \
	go run ./solver/internal/lint . || failed=1; \
	[ -z "$$failed" ]

sim: ## both simulations with SEEDS=n seeds each
	cd solver && go test ./internal/edge -run '^TestSim$$' -edge.seeds=$(SEEDS) -timeout 0
	cd solver && go test . -run '^TestSimulation$$' -sim.seeds=$(SEEDS) -timeout 0

crash: ## the crash tests of logstore and filestore with KILLS=n kills each
	cd solver && go test ./logstore -run '^TestCrash$$' -logstore.kills=$(KILLS) -timeout 0
	cd solver && go test ./filestore -run '^TestCrash$$' -filestore.kills=$(KILLS) -timeout 0

fuzz: ## every fuzz target of every module, for T=30s each
	@for m in $(MODULES); do \
		for f in $$(cd $$m && grep -rl --include='*_test.go' $$([ $$m != . ] || echo "$(NESTED)") '^func Fuzz' . | sed 's,^\./,,' || true); do \
			for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$m/$$f); do \
				echo "== $$m/$$f $$name"; \
				(cd $$m && go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(T) -fuzzminimizetime 10x ./$$(dirname $$f)); \
			done; \
		done; \
	done

bench-solver: ## measure the solver beside BuildKit's and a floor; SHORT=1 takes under a minute
	@cd bench && go run ./cmd/solver $(if $(SHORT),-short,-bars)

bench-build: ## measure builds, by tenon and by tenond, beside BuildKit's daemon (as root, on Linux); SHORT=1 takes about a minute once the peer is built; ARGS='-only cutoff'
	@cd bench && go run ./cmd/build $(if $(SHORT),-short) $(ARGS)

dist: ## static binaries, .deb, .rpm, completions and checksums, in dist/; VERSION=v1.2.3
	@packaging/dist

image: ## the image of tenond for buildx's drivers, in dist/ (as root, on Linux); PLATFORMS=linux/amd64,linux/arm64 ARGS='--build-arg DEBIAN=...'
	@packaging/image $(ARGS)

confine: ## compare what a step may do with what it may under BuildKit's daemon (as root, on Linux)
	cd bench && go run ./cmd/confine

conformance: tools ## BuildKit's integration tests against tenond (as root, on Linux); ARGS='-suite client -run Cache -shard 1/6'
	@go run ./conformance $(ARGS)

load: ## many clients of tenond, a third of which is killed (as root, on Linux), with BUILDS=n builds
	go test ./cmd/tenond -run '^TestLoad$$' -v -timeout 0 -tenond.builds=$(BUILDS)

# go mod tidy knows no workspace: while it runs, the solver is replaced by this tree's.
tidy: ## go mod tidy in the modules that are published
	@trap 'go mod edit -dropreplace github.com/tenonbuild/tenon/solver' EXIT; \
	go mod edit -replace github.com/tenonbuild/tenon/solver=./solver; GOWORK=off go mod tidy
	@cd solver && GOWORK=off go mod tidy

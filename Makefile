# One set of build flags everywhere, so that every target shares one build cache.
export GOFLAGS ?= -buildvcs=false
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO ?= go
LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.0

.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/podid
	@echo "building bin/podid (the first build compiles the AWS SDK: a minute or two)"
	@$(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/podid ./cmd/podid

demo: build ## The walk-through on the embedded local AWS, as service principal and as broker
	@./bin/podid demo

test: ## All tests, then all again with the race detector (but test/, which drives other processes)
	@echo "pass 1 of 2: go test"
	@$(GO) test ./...
	@echo "pass 2 of 2: go test -race"
	@$(GO) test -race $$($(GO) list ./... | grep -v /test/)

KILLS ?= 100
interop: ## Other people's clients (skips by name what is missing), and a killed world, KILLS times
	@$(GO) test -v -count=1 ./test/interop -kills $(KILLS)

lint: ## go vet and golangci-lint
	@$(GO) vet ./...
	@$(GO) run $(LINT) run ./...

generate: ## Write generated files anew
	@$(GO) generate ./...

verify: generate ## Check that generated files and go.mod are up to date, and formatting
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	@$(GO) mod tidy -diff
	@git diff --exit-code

bench: ## Benchmarks, each with a reference measured in the same run
	@$(GO) test -run '^$$' -bench . -benchmem -count=1 ./test/bench/...

FUZZTIME ?= 2m
fuzz: ## Fuzz every target for FUZZTIME (2m) each
	@.ci/fuzz $(FUZZTIME)

clean: ## Remove what build made
	@rm -rf bin dist

.PHONY: help build demo test interop lint generate verify bench fuzz clean

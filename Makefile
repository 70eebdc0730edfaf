# One set of build flags everywhere, those of the images and of test/kube, so that every
# target shares one build cache. The race detector alone needs cgo.
export GOFLAGS ?= -buildvcs=false -trimpath
export CGO_ENABLED ?= 0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO ?= go
# A compiler says nothing for a minute; this says how far it is. Errors pass through.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PROGRESS := 2>&1 | awk '/^[a-z0-9][^ :]*$$/ { if (++n % 50 == 0) { print "  " n " packages compiled"; fflush() }; next } { print; fflush() }'
LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.0

.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/podid
	@echo "building bin/podid (the first time with the AWS SDK, about 300 packages: a minute or so)"
	@$(GO) build -v -ldflags '-X main.version=$(VERSION)' -o bin/podid ./cmd/podid $(PROGRESS)

demo: build ## The walk-through on the embedded local AWS, as service principal and as broker
	@./bin/podid demo

test: ## All tests, then all again with the race detector (but test/, which drives other processes)
	@echo "pass 1 of 2: go test"
	@$(GO) build -v ./... $(PROGRESS)
	@$(GO) test $(TESTFLAGS) ./...
	@echo "pass 2 of 2: go test -race (needs a C compiler)"
	@CGO_ENABLED=1 $(GO) build -race -v ./... $(PROGRESS)
	@CGO_ENABLED=1 $(GO) test -race $(TESTFLAGS) $$($(GO) list ./... | grep -v /test/)

KILLS ?= 100
interop: ## Other people's clients (skips by name what is missing), and a killed world, KILLS times
	@$(GO) test -v -count=1 ./test/interop -kills $(KILLS)

SEED ?= 0
CASES ?= 40000
oracle: ## Compare package policy with an independent IAM simulator (Node.js), CASES generated cases of a random SEED
	@$(GO) test -v -count=1 -timeout 30m ./test/oracle -cases $(CASES) -seed $(SEED)

test-kube: ## What needs a real Kubernetes (the first time it builds one: 6 to 17 minutes)
	@cd test/kube && $(GO) run ./cmd/kubelab build
	@cd test/kube && $(GO) vet ./... && $(GO) test -count=1 -timeout 30m $(KUBEFLAGS) ./...

test-cluster: ## The scenarios on two real nodes with podid on them (Linux, root; skips by name elsewhere)
	@cd test/cluster && GOOS=linux $(GO) vet ./... && $(GO) test -v -count=1 -timeout 25m $(CLUSTERFLAGS) .

demo-cluster: ## The walk-through on two real nodes, then broken in eight ways (Linux, root; the first time it builds a Kubernetes)
	@cd test/kube && $(GO) run ./cmd/kubelab build
	@cd test/cluster && $(GO) run ./cmd/demo

lint: ## go vet and golangci-lint, in every module
	@for module in . test/kube test/cluster deploy/render deploy/images; do \
		echo "$$module" && (cd $$module && $(GO) vet ./... && $(GO) run $(LINT) run ./...) || exit 1; \
	done

generate: ## Write generated files anew (deploy/crds from api, deploy/install.yaml from the chart)
	@$(GO) generate ./...
	@cd deploy/render && $(GO) run .

verify: generate ## Check that generated files and go.mod are up to date, and formatting
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	@$(GO) mod tidy -diff
	@cd deploy/render && $(GO) mod tidy -diff
	@cd deploy/images && $(GO) mod tidy -diff
	@git diff --exit-code
	@new=$$(git ls-files --others --exclude-standard api deploy); test -z "$$new" || { echo "generated and not committed: $$new"; exit 1; }

test-deploy: ## The chart with many values, as Helm renders it, and how images are made
	@cd deploy/render && $(GO) test -count=1 $(TESTFLAGS) ./...
	@cd deploy/images && $(GO) test -count=1 $(TESTFLAGS) ./...

ARCHS ?= amd64,arm64
images: ## The container images, from nothing, as OCI archives in dist/images (ARCHS, REGISTRY, TAG)
	@cd deploy/images && $(GO) run . -version $(VERSION) -archs "$(ARCHS)" $(if $(REGISTRY),-registry $(REGISTRY)) $(if $(TAG),-tag $(TAG))

bench: ## Benchmarks, each with a reference measured in the same run
	@echo "podid-ns and reference-ns are nanoseconds for one operation, measured in turns in one run."
	@echo "ratio is podid / reference: below 1 podid is faster. The reference is what the name says after 'Against'."
	@$(GO) test -run '^$$' -bench . -count=1 ./test/bench/...

ROWS ?=
bench-agent: ## Every figure of podid-agent, measured on the program as it is shipped (ROWS=hit,memory: these alone)
	@$(GO) run ./test/bench/agent -only '$(ROWS)'

SOAK ?= 10m
soak: ## podid-agent for SOAK (10m) under 500 workloads and a podid-auth that fails one minute in five, with the race detector
	@CGO_ENABLED=1 $(GO) run -race ./test/soak -for $(SOAK)

FUZZTIME ?= 2m
fuzz: ## Fuzz every target for FUZZTIME (2m) each
	@.ci/fuzz $(FUZZTIME)

clean: ## Remove what build made
	@rm -rf bin dist

.PHONY: help build demo demo-cluster test interop oracle test-kube test-cluster test-deploy lint generate verify images bench bench-agent soak fuzz clean

# irkit. The two commands for a newcomer: `make demo` and `make test`.
# `make help` lists all.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"

# Tools at pinned versions, compiled once for a user and a Go version.
GOLANGCI_VERSION := v2.15.0
GOVULN_VERSION   := v1.9.0
GOLANGCI_PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
GOVULN_PACKAGE   := golang.org/x/vuln/cmd/govulncheck
TOOLS       := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/irkit-tools
GOVERSION   := $(shell go env GOVERSION)
GOLANGCI    := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)-$(GOVERSION)
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULN_VERSION)-$(GOVERSION)

# More flags for go test: make test TESTFLAGS=-json
TESTFLAGS ?=

include agent/agent.mk lab/lab.mk

.PHONY: help build test lint vet e2e demo bench soak fuzz tools clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 14

build: agent ## bin/irkit with the agent embedded
	@mkdir -p bin
	$(GOBUILD) -o bin/irkit ./cmd/irkit

demo: ## a lab, a suspect, irkit contain, and the bundle verified with stock tools (CLUSTER=current: your kubeconfig)
	@LAB=$(LAB) bench/demo.sh

test: ## everything that needs no cluster, race detector on
	@go test -race $(TESTFLAGS) ./...
	@for m in lab lab/suspect lab/csi lab/licences; do (cd $$m && go test -race $(TESTFLAGS) ./...) || exit 1; done

e2e: build ## the suite on a real cluster (starts the lab when it is down)
	@export LAB=$(LAB) TESTFLAGS="$(TESTFLAGS)"; status=0; \
	  bench/e2e.sh || status=1; bench/rooms.sh || status=1; \
	  [ -n "$${E2E_RUN:-}$${CNI:-}" ] || bench/bridge.sh || status=1; exit $$status

bench: build ## side by side with peers, on the lab; prints ratios
	@LAB=$(LAB) bench/bench.sh
	@bench/volatile.sh

soak: build ## what is too heavy for CI: every kill point, cut streams, big trees
	@LAB=$(LAB) bench/soak.sh

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@bench/fuzz.sh

lint: tools ## walls, style, licences, known vulnerabilities, in every module
	@GOLANGCI=$(GOLANGCI) GOVULNCHECK=$(GOVULNCHECK) bench/lint.sh

vet: ## go vet in every module but the lab's heavy ones
	@for m in . lab lab/suspect lab/csi lab/licences; do (cd $$m && go vet ./...) || exit 1; done

tools: $(GOLANGCI) $(GOVULNCHECK) ## the pinned linters, compiled into the user's cache

# The name says version and toolchain, and comes last: an interrupted build leaves none.
$(GOLANGCI): PACKAGE = $(GOLANGCI_PACKAGE)@$(GOLANGCI_VERSION)
$(GOVULNCHECK): PACKAGE = $(GOVULN_PACKAGE)@$(GOVULN_VERSION)
$(GOLANGCI) $(GOVULNCHECK):
	@echo "compiling $(PACKAGE) (once; up to five minutes)" >&2
	@mkdir -p $(TOOLS) && draft=$$(mktemp -d $(TOOLS)/draft.XXXXXX) && trap 'rm -rf "$$draft"' EXIT && \
	  GOFLAGS= GOWORK=off CGO_ENABLED=0 GOBIN="$$draft" go install -trimpath -ldflags '-s -w' $(PACKAGE) && \
	  mv "$$draft"/* $@

clean: ## what make built here; the caches of tools and lab stay
	rm -rf bin dist

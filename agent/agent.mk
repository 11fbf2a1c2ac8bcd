# The static agent for both architectures, into the folder that irkit embeds.
# Included by the top Makefile; builds are reproducible (-trimpath, no build ID).

AGENT_DIR     := agent/embedded/agents
AGENT_VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
AGENT_SOURCES := $(shell find agent/frame agent/known agent/worker agent/sockets agent/hand.go cmd/irkit-agent collectors quarantine/netns evidence -name '*.go' ! -name '*_test.go' 2>/dev/null) go.mod go.sum
AGENT_LDFLAGS := -s -w -buildid= -X main.version=$(AGENT_VERSION)

.PHONY: agent
agent: $(AGENT_DIR)/irkit-agent-amd64.zst $(AGENT_DIR)/irkit-agent-arm64.zst

$(AGENT_DIR)/irkit-agent-%.zst: $(AGENT_SOURCES)
	CGO_ENABLED=0 GOOS=linux GOARCH=$* go build -trimpath -buildvcs=false -ldflags '$(AGENT_LDFLAGS)' \
		-o $(AGENT_DIR)/irkit-agent-$* ./cmd/irkit-agent
	go run ./cmd/irkit-agent/pack $(AGENT_DIR)/irkit-agent-$* $@
	rm -f $(AGENT_DIR)/irkit-agent-$*

// Package handtest is a pod's network in memory, with hands in it and beside it: what
// tests of sessions use where a real hand would need a kubelet.
package handtest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/evidence"
)

// Hand is an agent.Hand in that network. Safe for concurrent use.
type Hand struct {
	Net   *Net
	Where debugger.Info
	// Fail is asked before each call ("open", "measure", "collect processes"); what it
	// answers is the call's error. Nil: all goes well.
	Fail func(call string) error
	// Tear breaks the stream of a kind after its first bytes.
	Tear func(kind string) bool

	mu    sync.Mutex
	calls []string
}

// Beside is a hand beside a container of the network's pod, that can cut.
func (n *Net) Beside(container string) *Hand {
	return &Hand{Net: n, Where: debugger.Info{Beside: container, Container: "irkit-" + container, Image: "agent:test", Profile: debugger.P1N}}
}

// Node is a hand on the pod's node.
func (n *Net) Node() *Hand {
	return &Hand{Net: n, Where: debugger.Info{Container: "node", Image: "agent:test", Profile: debugger.Node, SharedPIDs: true, Node: "n1"}}
}

// Outside is the hand in the probe pod.
func (n *Net) Outside() *Hand {
	return &Hand{Net: n, Where: debugger.Info{Container: "probe", Image: "agent:test", Addrs: []netip.Addr{n.Probe}}}
}

// Calls are those that were made, in order.
func (h *Hand) Calls() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// Info says where the hand sits.
func (h *Hand) Info() debugger.Info { return h.Where }

// Transport is always WebSocket.
func (h *Hand) Transport() debugger.Transport { return debugger.WS }

func (h *Hand) called(ctx context.Context, call string) error {
	h.mu.Lock()
	h.calls = append(h.calls, call)
	h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if h.Fail != nil {
		return h.Fail(call)
	}
	return nil
}

// Open implements agent.Hand.
func (h *Hand) Open(ctx context.Context, o agent.Opening) (agent.Opened, error) {
	if err := h.called(ctx, "open"); err != nil {
		return agent.Opened{}, err
	}
	return h.Net.Opened(o), nil
}

// Measure implements agent.Hand.
func (h *Hand) Measure(ctx context.Context, m agent.Measurement) (agent.Measured, error) {
	call := "measure"
	switch {
	case m.Inbound != nil:
		call = fmt.Sprintf("hole for %s to port %d", m.Inbound.Peer, m.Inbound.Port)
	case m.Pinhole:
		call = "measure through pinholes"
	}
	if err := h.called(ctx, call); err != nil {
		return agent.Measured{}, err
	}
	return h.Net.measure(m, h.Where.Beside == ""), nil
}

// Lift implements agent.Hand.
func (h *Hand) Lift(ctx context.Context, caseID string) error {
	if err := h.called(ctx, "lift "+caseID); err != nil {
		return err
	}
	h.Net.lift(caseID)
	return nil
}

// Know implements agent.Hand.
func (h *Hand) Know(ctx context.Context, _ agent.Known) error { return h.called(ctx, "know") }

// Collect implements agent.Hand: one artifact of each kind that is asked for, whose bytes
// name it.
func (h *Hand) Collect(ctx context.Context, r agent.Request, add func(agent.Header, io.Reader) error) error {
	if err := h.called(ctx, "collect "+r.Kind); err != nil {
		return err
	}
	head := agent.Header{
		Kind: r.Kind, Ext: "jsonl", Detail: "a test", Class: evidence.Restricted, Trust: evidence.TrustDebugger, Started: h.Net.Now(),
	}
	if r.Kind == "recovered" { // nothing was to be recovered: the index alone says so
		head.Kind = "recovered-index"
	}
	text := fmt.Sprintf("{\"%s\":\"%s\"}\n", r.Kind, h.Where.Beside)
	var body io.Reader = strings.NewReader(text)
	if h.Tear != nil && h.Tear(r.Kind) {
		body = io.MultiReader(strings.NewReader(text[:4]), torn{})
	}
	return add(head, body)
}

// torn is the end of a stream whose end record never came.
type torn struct{}

func (torn) Read([]byte) (int, error) { return 0, fmt.Errorf("the wire: %w", agent.ErrTruncated) }

// Describe implements agent.Hand.
func (h *Hand) Describe(ctx context.Context) (agent.Identity, error) {
	return agent.Identity{Version: "test"}, h.called(ctx, "describe")
}

// Close implements agent.Hand.
func (h *Hand) Close(ctx context.Context, end bool) error {
	if end {
		return h.called(ctx, "end")
	}
	return h.called(ctx, "leave")
}

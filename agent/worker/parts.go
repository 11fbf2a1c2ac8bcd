package worker

import (
	"context"
	"errors"
	"io"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// ErrNoCut is what Cutter.Report says when no cut of that case stands.
var ErrNoCut = errors.New("no cut of that case stands here")

// Reader reads the target; it changes nothing. A worker without one (a probe pod)
// has no target. Safe for concurrent use: a reading that hangs on what the target did
// to its own /proc is left behind.
type Reader interface {
	// Snapshot reads the socket and process tables into memory, for a later Collect,
	// and says how many processes and which flows there were. A further call keeps the
	// first.
	Snapshot(ctx context.Context) (processes int, flows []evidence.Flow, err error)
	// Flows are the connections in the network namespace now, with owners where found.
	Flows(ctx context.Context) ([]evidence.Flow, error)
	// Know takes marks of files whose bytes are not to be sent.
	Know(k agent.Known) error
	// Collect passes the artifacts of one request to emit, one after the other. A
	// reader with a method Trailer() evidence.Trailer is asked after its end. With
	// Header.Absent set the reader is nil. An error of emit ends Collect with it.
	Collect(ctx context.Context, r agent.Request, emit func(agent.Header, io.Reader) error) error
}

// Cutter works in the network namespace that the worker itself is in.
type Cutter interface {
	// Cut installs the filter; a second call for the same case keeps it and reports it.
	// A node's namespace is refused with agent.ErrNodeNetwork.
	Cut(ctx context.Context, c agent.Cut) (evidence.CutReport, error)
	// Lift takes the filter of that case away; without one it does nothing.
	Lift(ctx context.Context, caseID string) error
	// Report reads the filter's counters, or fails with ErrNoCut.
	Report(ctx context.Context, caseID string) (evidence.CutReport, error)
	// Probe tries all at once and returns after limit at the latest, one result each.
	Probe(ctx context.Context, probes []evidence.Probe, limit time.Duration) []evidence.ProbeResult
	// ProbeThroughPinhole does the same, each through a hole that the kernel closes.
	ProbeThroughPinhole(ctx context.Context, caseID string, probes []evidence.Probe, limit time.Duration) ([]evidence.ProbeResult, error)
	// OpenInbound lets connections from the peer to the local port in, for one second.
	OpenInbound(ctx context.Context, caseID string, in agent.Inbound) error
	// Settle watches the flows for that long, and says which moved; 0: read once.
	Settle(ctx context.Context, d time.Duration) (moving, flows []evidence.Flow, err error)
}

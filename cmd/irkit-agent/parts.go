package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/worker"
	"irkit.dev/irkit/collectors/inside"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/netns"
)

var (
	_ worker.Reader = reading{}
	_ worker.Cutter = cutting{}
)

// reading is the target's reader as the worker wants it.
type reading struct{ *inside.Reader }

// Snapshot keeps the tables, and tells the flows that stand in them.
func (r reading) Snapshot(ctx context.Context) (int, []evidence.Flow, error) {
	n, err := r.Reader.Snapshot(ctx)
	if err != nil {
		return 0, nil, err
	}
	return n, r.Opening().Flows(), nil
}

// cutting is the packet filter of the namespace that this process is in.
type cutting struct{ target int }

// Cut makes the cut, and says by what the target could undo it.
func (c cutting) Cut(ctx context.Context, cut agent.Cut) (evidence.CutReport, error) {
	r, err := netns.Cut(ctx, cut)
	if err != nil {
		return r, err
	}
	c.weak(ctx, &r)
	return r, nil
}

// Report reads the counters, and looks again for what could undo the cut.
func (c cutting) Report(ctx context.Context, caseID string) (evidence.CutReport, error) {
	r, err := netns.Report(ctx, caseID)
	if errors.Is(err, netns.ErrNoCut) {
		return r, fmt.Errorf("%w: %w", worker.ErrNoCut, err)
	}
	if err != nil {
		return r, err
	}
	c.weak(ctx, &r)
	return r, nil
}

// weak adds what is found; that it could not be looked for counts as a weakness too.
func (c cutting) weak(ctx context.Context, r *evidence.CutReport) {
	if c.target == 0 {
		return
	}
	found, err := netns.Weak(ctx, c.target)
	r.Weak = append(r.Weak, found...)
	if err != nil {
		r.Weak = append(r.Weak, "what the target could undo was not looked at: "+err.Error())
	}
}

// Lift takes the cut away.
func (cutting) Lift(ctx context.Context, caseID string) error { return netns.Lift(ctx, caseID) }

// Probe tries from inside.
func (cutting) Probe(ctx context.Context, probes []evidence.Probe, limit time.Duration) []evidence.ProbeResult {
	return netns.Probe(ctx, probes, limit)
}

// ProbeThroughPinhole tries each through its own hole.
func (cutting) ProbeThroughPinhole(ctx context.Context, caseID string, probes []evidence.Probe, limit time.Duration) ([]evidence.ProbeResult, error) {
	return netns.ProbeThroughPinhole(ctx, caseID, probes, limit)
}

// OpenInbound lets one peer in for a second.
func (cutting) OpenInbound(ctx context.Context, caseID string, in agent.Inbound) error {
	return netns.OpenInbound(ctx, caseID, in)
}

// Settle watches what still moves.
func (cutting) Settle(ctx context.Context, d time.Duration) (moving, flows []evidence.Flow, err error) {
	return netns.Settle(ctx, d)
}

//go:build !linux

package netns

import (
	"context"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Cut is refused on this system.
func Cut(context.Context, agent.Cut) (evidence.CutReport, error) {
	return evidence.CutReport{}, ErrUnsupported
}

// Keep is refused on this system.
func Keep(context.Context, agent.Cut, func(Repair)) error { return ErrUnsupported }

// Report is refused on this system.
func Report(context.Context, string) (evidence.CutReport, error) {
	return evidence.CutReport{}, ErrUnsupported
}

// Weak is refused on this system.
func Weak(context.Context, int) ([]string, error) { return nil, ErrUnsupported }

// Lift is refused on this system.
func Lift(context.Context, string) error { return ErrUnsupported }

// Probe is refused on this system.
func Probe(_ context.Context, probes []evidence.Probe, _ time.Duration) []evidence.ProbeResult {
	rs := make([]evidence.ProbeResult, len(probes))
	for i, p := range probes {
		rs[i] = evidence.ProbeResult{Probe: p, Error: ErrUnsupported.Error()}
	}
	return rs
}

// ProbeThroughPinhole is refused on this system.
func ProbeThroughPinhole(context.Context, string, []evidence.Probe, time.Duration) ([]evidence.ProbeResult, error) {
	return nil, ErrUnsupported
}

// OpenInbound is refused on this system.
func OpenInbound(context.Context, string, agent.Inbound) error { return ErrUnsupported }

// Flows is refused on this system.
func Flows(context.Context) ([]evidence.Flow, error) { return nil, ErrUnsupported }

// Settle is refused on this system.
func Settle(context.Context, time.Duration) (moving, flows []evidence.Flow, err error) {
	return nil, nil, ErrUnsupported
}

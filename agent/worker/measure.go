//go:build linux

package worker

import (
	"context"
	"errors"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// measure tries, watches and reads. What it could not do is the error, beside what it
// could.
func (w *worker) measure(ctx context.Context, m agent.Measurement) (agent.Measured, error) {
	r := agent.Measured{At: time.Now().UTC()}
	caseID := m.Case
	if caseID == "" {
		caseID = w.cutCase()
	}
	var errs []error
	if m.Inbound != nil {
		errs = append(errs, w.Cutter.OpenInbound(ctx, caseID, *m.Inbound))
	}
	switch limit := or(m.Limit, measureLimit); {
	case len(m.Probes) == 0:
	case m.Pinhole:
		results, err := w.Cutter.ProbeThroughPinhole(ctx, caseID, m.Probes, limit)
		r.Probes = results
		errs = append(errs, err)
	default:
		r.Probes = w.Cutter.Probe(ctx, m.Probes, limit)
	}
	var err error
	r.Moving, r.Flows, err = w.Cutter.Settle(ctx, m.Settle)
	errs = append(errs, err)
	if len(r.Moving) > 0 {
		w.owners(ctx, r.Moving)
	}
	if caseID != "" {
		report, err := w.Cutter.Report(ctx, caseID)
		switch {
		case err == nil:
			r.Cut = &report
		case !errors.Is(err, ErrNoCut):
			errs = append(errs, err)
		}
	}
	return r, errors.Join(errs...)
}

// owners says whose the flows are, where that can be had in time.
func (w *worker) owners(ctx context.Context, flows []evidence.Flow) {
	if w.Reader == nil {
		return
	}
	got := make(chan []evidence.Flow, 1)
	go func() {
		defer func() { _ = recover() }() // an owner that cannot be had is not told
		if all, err := w.Reader.Flows(ctx); err == nil {
			got <- all
		}
	}()
	late := time.NewTimer(readingLimit)
	defer late.Stop()
	var all []evidence.Flow
	select {
	case all = <-got:
	case <-late.C:
		return
	}
	by := map[uint64]evidence.Flow{}
	for _, f := range all {
		if f.Inode != 0 {
			by[f.Inode] = f
		}
	}
	for i, f := range flows {
		if o, ok := by[f.Inode]; ok {
			flows[i].PID, flows[i].Comm = o.PID, o.Comm
		}
	}
}

//go:build linux

package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

const (
	baselineLimit = 150 * time.Millisecond
	measureLimit  = time.Second
	// readingLimit is how long the cut waits for the tables. Reading a process's
	// memory-backed files can be made to hang by the process itself.
	readingLimit = 500 * time.Millisecond
)

// open is the opening move: tables into memory, baseline probes, cut, probes again.
func (w *worker) open(ctx context.Context, o agent.Opening) (agent.Opened, error) {
	if first, ok := w.first(o); ok {
		err := w.whole(ctx, o, &first)
		return first, err
	}
	r := agent.Opened{Read: time.Now().UTC()}
	w.read(ctx, &r)
	if len(o.Baseline) > 0 {
		r.Baseline = w.Cutter.Probe(ctx, o.Baseline, or(o.Limit, baselineLimit))
	}
	if o.Cut == nil {
		w.keep(r, "")
		return r, nil
	}
	report, err := w.Cutter.Cut(ctx, *o.Cut)
	if err != nil {
		return r, fmt.Errorf("cut for case %s: %w", o.Cut.Case, err)
	}
	r.Cut = &report
	if _, flows, err := w.Cutter.Settle(ctx, 0); err == nil {
		r.AtCut = slices.DeleteFunc(flows, func(f evidence.Flow) bool {
			return f.Proto != "tcp" || f.State == "LISTEN" || f.Remote.Addr().IsLoopback()
		})
	}
	var answered []evidence.Probe
	for _, p := range r.Baseline {
		if p.Answered {
			answered = append(answered, p.Probe)
		}
	}
	if len(answered) > 0 {
		r.After = w.Cutter.Probe(ctx, answered, or(o.Limit, baselineLimit))
	}
	w.keep(r, o.Cut.Case)
	return r, nil
}

// first is what an earlier opening did, when it did what is asked for.
func (w *worker) first(o agent.Opening) (agent.Opened, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opened == nil || o.Cut != nil && (w.opened.Cut == nil || o.Cut.Case != w.caseID) {
		return agent.Opened{}, false
	}
	again := *w.opened
	again.Again = true
	return again, true
}

// whole asks for the cut once more: where it stands that does nothing.
func (w *worker) whole(ctx context.Context, o agent.Opening, first *agent.Opened) error {
	if o.Cut == nil {
		return nil
	}
	report, err := w.Cutter.Cut(ctx, *o.Cut)
	if err != nil {
		return fmt.Errorf("cut again for case %s: %w", o.Cut.Case, err)
	}
	first.Cut = &report
	return nil
}

func (w *worker) keep(r agent.Opened, caseID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened, w.caseID = &r, caseID
}

type tables struct {
	processes int
	flows     []evidence.Flow
	err       error
}

// read waits for the tables no longer than readingLimit; what comes later is there
// for Collect all the same.
func (w *worker) read(ctx context.Context, r *agent.Opened) {
	if w.Reader == nil {
		_, flows, err := w.Cutter.Settle(ctx, 0)
		r.Flows = flows
		if err != nil {
			r.Faults = append(r.Faults, err.Error())
		}
		if w.NoTarget != nil {
			r.Faults = append(r.Faults, w.NoTarget.Error())
		}
		return
	}
	got := make(chan tables, 1)
	go func() {
		var t tables
		defer func() {
			if p := recover(); p != nil {
				t.err = fmt.Errorf("read tables: panic: %v", p)
			}
			got <- t
		}()
		t.processes, t.flows, t.err = w.Reader.Snapshot(context.WithoutCancel(ctx))
	}()
	late := time.NewTimer(readingLimit)
	defer late.Stop()
	select {
	case t := <-got:
		r.Processes, r.Flows = t.processes, t.flows
		if t.err != nil {
			r.Faults = append(r.Faults, t.err.Error())
		}
	case <-late.C:
		r.Faults = append(r.Faults, fmt.Sprintf("tables took longer than %v: the cut did not wait for them", readingLimit))
		// The socket table alone asks no process for anything.
		if _, flows, err := w.Cutter.Settle(ctx, 0); err == nil {
			r.Flows = flows
		}
	}
}

func or(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/worker"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/netns"
)

// rules are a Cutter's, in memory.
type rules struct {
	worker.Cutter
	cut bool
}

func (r *rules) Cut(context.Context, agent.Cut) (evidence.CutReport, error) {
	r.cut = true
	return evidence.CutReport{}, nil
}

func (r *rules) Report(context.Context, string) (evidence.CutReport, error) {
	if !r.cut {
		return evidence.CutReport{}, worker.ErrNoCut
	}
	return evidence.CutReport{}, nil
}

func (r *rules) Lift(context.Context, string) error { r.cut = false; return nil }

func TestACutIsKeptUntilItIsLifted(t *testing.T) {
	in := &rules{}
	k := newKeeping(in)
	type run struct {
		ctx  context.Context
		told func(netns.Repair)
		end  chan error
	}
	runs := make(chan run, 4)
	k.keep = func(ctx context.Context, _ agent.Cut, told func(netns.Repair)) error {
		r := run{ctx, told, make(chan error)}
		runs <- r
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-r.end:
			return err
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 { // asked again, it is kept once
		if _, err := k.Cut(ctx, agent.Cut{Case: "c-1"}); err != nil {
			t.Fatal(err)
		}
	}
	cancel() // the call's end is not the keeping's
	first := <-runs
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first.told(netns.Repair{At: at, Open: 3 * time.Millisecond})
	first.told(netns.Repair{At: at.Add(time.Second), Open: 4 * time.Millisecond})
	r, err := k.Report(t.Context(), "c-1")
	if err != nil || !r.Kept || r.Reasserted != 2 || r.Reopened != 7*time.Millisecond || r.Reasserting == nil || !r.Reasserting.Equal(at.Add(time.Second)) {
		t.Errorf("%+v, %v", r, err)
	}
	if len(r.Weak) != 1 || !strings.Contains(r.Weak[0], "put back 2 times") {
		t.Errorf("weak: %q", r.Weak)
	}
	first.end <- netns.ErrLifted // feigned by the target: the cut is asked for again
	<-first.ctx.Done()
	if r, _ = k.Report(t.Context(), "c-1"); r.Kept || len(r.Weak) != 2 || !strings.Contains(r.Weak[1], "no longer watched") {
		t.Errorf("after its end: %+v", r)
	}
	if _, err := k.Cut(t.Context(), agent.Cut{Case: "c-1"}); err != nil {
		t.Fatal(err)
	}
	second := <-runs
	if err := k.Lift(t.Context(), "c-1"); err != nil || second.ctx.Err() == nil || in.cut {
		t.Errorf("lifted: %v, keeping ended %v, cut %v", err, second.ctx.Err(), in.cut)
	}
	select {
	case <-runs:
		t.Error("kept twice")
	default:
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/worker"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/netns"
)

var _ worker.Cutter = (*keeping)(nil)

// keeping is a Cutter that keeps each cut that it made: it listens for changes of the
// rules, and puts them back.
type keeping struct {
	worker.Cutter
	keep func(context.Context, agent.Cut, func(netns.Repair)) error

	mu      sync.Mutex
	caseID  string
	stop    context.CancelFunc // nil: nothing is kept
	ended   chan struct{}
	why     error              // why keeping ended by itself
	seen    evidence.CutReport // when it was last read whole
	repairs int
	last    time.Time
	open    time.Duration
}

func newKeeping(c worker.Cutter) *keeping { return &keeping{Cutter: c, keep: netns.Keep} }

// Cut makes the cut, and keeps it from now on.
func (k *keeping) Cut(ctx context.Context, c agent.Cut) (evidence.CutReport, error) {
	r, err := k.Cutter.Cut(ctx, c)
	if err != nil {
		return r, err
	}
	k.start(context.WithoutCancel(ctx), c)
	k.keepReport(r)
	k.tell(c.Case, &r)
	return r, nil
}

// start keeps the cut, unless it is kept.
func (k *keeping) start(ctx context.Context, c agent.Cut) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stop != nil && k.caseID == c.Case {
		return
	}
	if k.stop != nil {
		k.stop()
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	k.caseID, k.stop, k.ended, k.why = c.Case, stop, ended, nil
	go func() {
		defer close(ended)
		defer stop()
		err := k.keep(ctx, c, k.repaired)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.ended == ended {
			k.stop, k.why = nil, err
		}
	}()
}

func (k *keeping) repaired(r netns.Repair) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.repairs++
	k.last = r.At
	k.open += r.Open
}

// Report reads the counters, and says how often the rules had to be put back. Of a cut that
// is kept and whose rules are not there at this moment it is the last report, which says so.
func (k *keeping) Report(ctx context.Context, caseID string) (evidence.CutReport, error) {
	r, err := k.Cutter.Report(ctx, caseID)
	switch {
	case err == nil:
		k.keepReport(r)
	case errors.Is(err, worker.ErrNoCut) && k.keeps(caseID):
		k.mu.Lock()
		r = k.seen
		k.mu.Unlock()
		r.Weak = append(slices.Clone(r.Weak), "the cut's rules were not there when they were looked for")
	default:
		return r, err
	}
	k.tell(caseID, &r)
	return r, nil
}

func (k *keeping) keepReport(r evidence.CutReport) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = r
}

func (k *keeping) keeps(caseID string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.caseID == caseID && k.stop != nil
}

// tell says what keeping came to. A cut that had to be put back is one that the target,
// or someone, can take away.
func (k *keeping) tell(caseID string, r *evidence.CutReport) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.caseID != caseID {
		return
	}
	r.Kept, r.Reasserted, r.Reopened = k.stop != nil, k.repairs, k.open
	if k.repairs > 0 {
		last := k.last
		r.Reasserting = &last
		r.Weak = append(r.Weak, fmt.Sprintf("the cut's rules were taken away or changed, and put back %d times, last at %s", k.repairs, last.Format(time.RFC3339)))
	}
	if k.stop == nil && k.why != nil {
		r.Weak = append(r.Weak, "the cut is no longer watched: "+k.why.Error())
	}
}

// Lift ends the keeping, and takes the cut away.
func (k *keeping) Lift(ctx context.Context, caseID string) error {
	k.mu.Lock()
	stop, ended := k.stop, k.ended
	if k.caseID != caseID {
		stop = nil
	}
	k.mu.Unlock()
	if stop != nil {
		stop()
		select {
		case <-ended:
		case <-ctx.Done():
			return errors.Join(errors.New("end the keeping of the cut"), ctx.Err())
		}
	}
	return k.Cutter.Lift(ctx, caseID)
}

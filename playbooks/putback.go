package playbooks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// putBack makes again what others undid, each once, the marks first that policies select
// on. fresh says that there was something to be told.
func (w *watching) putBack(ctx context.Context, watch *Watch, stand []quarantine.Done, disturbed []evidence.Disturbance) (fresh bool) {
	var ids, anew []string
	for _, d := range disturbed {
		if d.Change != "" && !slices.Contains(ids, d.Change) {
			ids = append(ids, d.Change)
		}
		if d.Code == evidence.PolicyChanged {
			anew = append(anew, d.Change)
		}
	}
	if w.inside != nil && watch.Measurements().Cut == nil {
		for _, d := range stand {
			if d.Change.Op == evidence.OpCut {
				ids = append(ids, d.Change.ID)
			}
		}
	}
	rank := func(id string) int {
		i := slices.IndexFunc(stand, func(d quarantine.Done) bool { return d.Change.ID == id })
		if i >= 0 && stand[i].Change.Layer == quarantine.LayerDetach {
			return 1 // labels go only when the mark is on
		}
		return 0
	}
	slices.SortStableFunc(ids, func(a, b string) int { return rank(a) - rank(b) })
	for _, id := range ids {
		if w.Only || ctx.Err() != nil {
			return true
		}
		if w.tries[id]++; w.tries[id] > patience {
			if w.tries[id] == patience+1 {
				w.fault("put "+id+" back", fmt.Errorf("someone undid it %d times: stop who does (see who wrote it), irkit does not fight on", patience))
			}
			continue
		}
		switch err := w.later.restore(ctx, id, w.layers, slices.Contains(anew, id)); {
		case err == nil:
			w.restored = append(w.restored, id)
			w.Progress("put back: %s", id)
		case errors.Is(err, ErrReleased):
		case w.busy(err):
			w.tries[id]--
		default:
			w.fault("put "+id+" back", err)
		}
		fresh = true
	}
	return fresh
}

// Open implements quarantine.Hands: the cut is asked for again with the living hand.
func (w *watching) Open(ctx context.Context, _ evidence.Target, o agent.Opening) (agent.Opened, error) {
	if w.inside == nil {
		return agent.Opened{}, fmt.Errorf("no hand answers: run irkit contain again: %w", agent.ErrGone)
	}
	return w.inside.Open(ctx, o)
}

// Lift implements quarantine.Hands; who watches lifts nothing.
func (w *watching) Lift(context.Context, evidence.Target, string) error {
	return errors.New("a watch lifts no cut")
}

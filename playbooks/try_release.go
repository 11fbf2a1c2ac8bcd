package playbooks

import (
	"context"
	"strings"

	"irkit.dev/irkit/quarantine"
)

// TryRelease has the API server check every write of a release with dryRun=All, admission
// included. What is no write to it, as lifting the cut, is not tried, nor is a hand
// that would have to be started for that.
func (e *Engine) TryRelease(ctx context.Context, p Parole) []Answer {
	var t trial
	layers := e.layers(nil, quarantine.Want{Case: p.Case, Sign: e.sign}, nil)
	for _, s := range p.Plan.Steps {
		switch s.Kind {
		case quarantine.StepDelete:
			t.of(ctx, s.Change.ID, func(ctx context.Context) (string, error) {
				return "", quarantine.TryDelete(ctx, e.Conn, p.Target)
			})
		case quarantine.StepUndo:
			dry, ok := layers[s.Layer].(quarantine.DryReleaser)
			if !ok {
				continue
			}
			t.of(ctx, s.Change.ID, func(ctx context.Context) (string, error) {
				r, err := dry.ReleaseDry(ctx, p.Target, *s.Undo)
				if r.Already && len(r.Notes) == 0 {
					r.Notes = []string{"nothing is left to be undone"}
				}
				return strings.Join(r.Notes, "; "), err
			})
		}
	}
	return t.answers
}

package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// counting is a recorder that makes everything.
type counting struct{ made int }

func (c *counting) Do(ctx context.Context, _ evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	c.made++
	return act(ctx)
}

func TestGateHoldsBackUntilTheMarkIsOn(t *testing.T) {
	foreign := fmt.Errorf("mark: %w", quarantine.ErrForeign)
	for name, c := range map[string]struct {
		mark error
		pass bool
	}{
		"marked":                  {nil, true},
		"held by another":         {foreign, false},
		"the mark could not be":   {errors.New("500"), true},
		"the mark is not allowed": {errors.New("403"), true},
	} {
		g, r := &Gate{}, &counting{}
		g.Shut()
		done := make(chan error, 1)
		go func() {
			_, err := g.behind(r).Do(t.Context(), evidence.Change{Why: "write"}, func(context.Context) (json.RawMessage, error) { return nil, nil })
			done <- err
		}()
		g.Open(c.mark)
		err := <-done
		if (err == nil) != c.pass || (r.made == 1) != c.pass || !c.pass && !errors.Is(err, quarantine.ErrForeign) {
			t.Errorf("%s: %v, %d made", name, err, r.made)
		}
		if (g.Refused() == nil) != c.pass {
			t.Errorf("%s: refused: %v", name, g.Refused())
		}
	}
}

func TestGateStandsOpenAndHangsOnNobody(t *testing.T) {
	var g Gate
	if err := g.Pass(t.Context()); err != nil {
		t.Error(err)
	}
	g.Shut()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Pass(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if err := g.Pass(t.Context()); err != nil { // after its patience
		t.Errorf("nobody opened: %v", err)
	}
}

// A write that surely was not made is not said to stand, perhaps.
func TestWhatWasRefusedStandsNowhere(t *testing.T) {
	c := evidence.Change{ID: "label/1", Layer: "label"}
	intend := evidence.Record{Action: evidence.ActIsolated, Phase: evidence.Intend, Change: &c}
	failed := evidence.Record{Action: evidence.ActIsolated, Phase: evidence.FailedP, Change: &c}
	refused := failed
	refused.Data = map[string]any{untouchedKey: true}
	for name, k := range map[string]struct {
		records []evidence.Record
		stand   int
	}{
		"failed, who knows how":   {[]evidence.Record{intend, failed}, 1},
		"refused":                 {[]evidence.Record{intend, refused}, 0},
		"refused, then tried":     {[]evidence.Record{intend, refused, intend}, 1},
		"failed, and refused now": {[]evidence.Record{intend, failed, intend, refused}, 1},
	} {
		if got := begun(k.records); len(got) != k.stand {
			t.Errorf("%s: %d stand", name, len(got))
		}
	}
}

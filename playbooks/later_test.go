package playbooks

import (
	"context"
	"errors"
	"slices"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/quarantine"
)

// told is a layer that says what was asked of it.
type told struct {
	quarantine.Layer
	calls []string
}

func (l *told) Apply(_ context.Context, c evidence.Change) (quarantine.Result, error) {
	l.calls = append(l.calls, "apply "+c.ID)
	return quarantine.Result{UID: "new"}, nil
}

func (l *told) Release(_ context.Context, c evidence.Change) (quarantine.Result, error) {
	l.calls = append(l.calls, "release "+c.ID)
	return quarantine.Result{}, nil
}

// What others undid is made again after the seal, recorded around the write; a change that
// the case never made, and a case that another irkit holds, is left alone.
func TestWhatOthersUndidIsMadeAgainInCustody(t *testing.T) {
	r := newResponder(t)
	got := r.run(t.Context(), t, order(changes("isolate", func(string) {}, "a")))
	before := len(r.records(t, "c-1"))
	layer := &told{}
	layers := map[string]quarantine.Layer{"netpol": layer}
	l := later{r.Engine, "c-1"}
	for _, anew := range []bool{false, true} {
		if err := l.restore(t.Context(), "a", layers, anew); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"apply a", "release a", "apply a"}; !slices.Equal(layer.calls, want) {
		t.Errorf("asked %q, want %q", layer.calls, want)
	}
	all := r.records(t, "c-1")[before:]
	var phases []evidence.Phase
	for _, rec := range all {
		phases = append(phases, rec.Phase)
		if rec.Action != evidence.ActIsolated || rec.Change == nil || rec.Change.ID != "a" || rec.Actor == nil {
			t.Errorf("record: %+v", rec)
		}
	}
	if want := []evidence.Phase{evidence.Intend, evidence.Did, evidence.Intend, evidence.Did}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
	r.sound(t, got.Bundle) // the seal is not touched
	if err := l.restore(t.Context(), "never", layers, false); !errors.Is(err, ErrReleased) {
		t.Errorf("a change that was never made: %v", err)
	}
	lock, err := custody.LockCase(r.Cases.Dir("c-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	var held *custody.HeldError
	if err := l.restore(t.Context(), "a", layers, false); !errors.As(err, &held) || len(layer.calls) != 3 {
		t.Errorf("while another holds the case: %v, %q", err, layer.calls)
	}
}

func TestASeriesThatGoesOnKeepsWhatCounts(t *testing.T) {
	p := evidence.Probe{Name: "canary-1"}
	try := func(answered ...bool) (out []evidence.ProbeResult) {
		for _, a := range answered {
			out = append(out, evidence.ProbeResult{Probe: p, Answered: a})
		}
		return out
	}
	got := ends(try(false, true, true, false, false), func(r evidence.ProbeResult) bool { return r.Answered })
	if len(got) != 2 || !got[0].Answered || got[1].Answered {
		t.Errorf("%+v", got)
	}
	if got := ends(try(true), func(r evidence.ProbeResult) bool { return r.Answered }); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

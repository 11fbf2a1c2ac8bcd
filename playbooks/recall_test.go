package playbooks

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// TestRecallKnowsWhatWorkedBefore: through the custody log, what the probe pod reached and
// what answered through a pinhole, and no other try; until a release ends the containment.
func TestRecallKnowsWhatWorkedBefore(t *testing.T) {
	n, log := handtest.New(), newLog(t, t.TempDir())
	j := NewJournal(log, nil, cluster.WithAudit)
	w, in := newWatch(n, true)
	if err := w.Round(t.Context(), in, n.Outside(), []netip.Addr{n.Probe}, targets(n)); err != nil {
		t.Fatal(err)
	}
	v := w.Judge(n.Now())
	if err := j.Measured(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	known := func() []evidence.ProbeResult {
		w := NewWatch(quarantine.Scene{}, "c-1", time.Now())
		w.Recall(log.Records())
		return w.Measurements().Known
	}
	var names []string
	for _, r := range known() {
		if !r.Answered || r.At.IsZero() || r.Compared == r.Pinhole {
			t.Errorf("%+v", r)
		}
		names = append(names, r.Name)
	}
	slices.Sort(names)
	want := []string{"canary-1", "canary-1", "inbound", "sibling", "sibling"} // inwards and outwards through pinholes, and compared
	if !slices.Equal(names, want) {
		t.Errorf("known %q, want %q", names, want)
	}

	// A later run that sees nothing work hands on what the one before saw.
	blind := NewWatch(quarantine.Scene{}, "c-1", time.Now())
	blind.Recall(log.Records())
	if err := j.Measured(t.Context(), blind.Judge(n.Now())); err != nil {
		t.Fatal(err)
	}
	if got := known(); len(got) != len(want) {
		t.Errorf("handed on %+v", got)
	}
	if err := j.Note(t.Context(), evidence.Record{Action: evidence.ActReleased, Result: "ok"}); err != nil {
		t.Fatal(err)
	}
	if got := known(); len(got) != 0 {
		t.Errorf("after a release: %+v", got)
	}
}

// TestAnotherRoundForgetsNothingThatWorked: where the probe pod reaches nothing any more,
// what it reached before in the case goes on counting outwards, and is no word of now.
func TestAnotherRoundForgetsNothingThatWorked(t *testing.T) {
	n := handtest.New()
	w, in := newWatch(n, true)
	round := func() {
		t.Helper()
		if err := w.Round(t.Context(), in, n.Outside(), []netip.Addr{n.Probe}, targets(n)); err != nil {
			t.Fatal(err)
		}
	}
	round()
	n.Deaf = []string{"canary-1", "sibling"}
	round()
	m := w.Measurements()
	if slices.ContainsFunc(m.Reachable, func(r evidence.ProbeResult) bool { return r.Answered }) {
		t.Errorf("reachable now: %+v", m.Reachable)
	}
	if len(m.Known) != 2 || !m.Known[0].Compared || !m.Known[1].Compared {
		t.Errorf("known: %+v", m.Known)
	}
}

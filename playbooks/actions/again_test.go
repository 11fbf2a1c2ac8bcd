package actions

import (
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// Run again on a pod that is contained, it is proven again: what the first run saw before
// the layers held counts, and so do the times since when they do.
func TestContainedAgainIsProvenAgain(t *testing.T) {
	n := newNight(t)
	first := n.contain(t.Context(), t)
	if first.Verdict == nil || first.Verdict.State != evidence.Contained {
		t.Fatalf("%+v", first.Verdict)
	}
	again := n.contain(t.Context(), t)
	v, was := again.Verdict, first.Verdict
	if v == nil || v.State != evidence.Contained || again.Bundle == first.Bundle {
		t.Fatalf("again: %+v", v)
	}
	// The log tells the time of its first record, which follows the start.
	if v.Started.Before(was.Started) || was.NewStopped == nil || v.NewStopped == nil || !v.NewStopped.Equal(*was.NewStopped) || v.NewStopped.Before(v.Started) {
		t.Errorf("started %s, new stopped %v; the first run: %s, %v", v.Started, v.NewStopped, was.Started, was.NewStopped)
	}
	seen := map[string]int{}
	for _, p := range v.Probes {
		seen[p.Name+p.Addr.String()+p.At.String()]++
	}
	for name, times := range seen {
		if times > 1 {
			t.Errorf("%s is told %d times", name, times)
		}
	}
}

// An earlier run may have ended between the policy and its record, and the baseline is
// then taken under that policy. It proves nothing by itself; what the probe pod reaches does.
func TestAPolicyThatNoRecordTellsOfHeldAlready(t *testing.T) {
	n := newNight(t)
	n.hands.net.Policy = func(bool) bool { return len(n.policies(t)) > 0 }
	first := n.contain(t.Context(), t, func(o *playbooks.Order) { o.Skip = []string{quarantine.LayerNetns} })
	if first.Verdict == nil {
		t.Fatal("no verdict")
	}
	if len(n.policies(t)) == 0 {
		t.Fatal("no policy")
	}
	again := n.contain(t.Context(), t)
	if again.Verdict == nil || again.Verdict.State != evidence.Contained {
		t.Errorf("%+v", again.Verdict)
	}
}

package playbooks

import (
	"slices"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Watch gathers what is measured of a quarantine, from the opening move on. It only
// keeps what was seen; quarantine.Judge makes the verdict of it. Safe for concurrent use.
type Watch struct {
	mu sync.Mutex
	m  quarantine.Measurements
	// verdict is the last one given.
	verdict *evidence.Verdict
	// noHoles: the policy alone is not measured this time.
	noHoles bool
}

// NewWatch begins a series.
func NewWatch(scene quarantine.Scene, caseID string, started time.Time) *Watch {
	return &Watch{m: quarantine.Measurements{Scene: scene, Case: caseID, Started: started}}
}

// Opened keeps what the opening move saw.
func (w *Watch) Opened(o agent.Opened) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.FlowsBefore, w.m.AtCut, w.m.Baseline = o.Flows, o.AtCut, o.Baseline
	w.m.MovedBefore = quarantine.MovedBetween(o.Flows, o.AtCut)
	for _, r := range o.After { // of a move that is taken over twice, once
		if !slices.ContainsFunc(w.m.After, func(had evidence.ProbeResult) bool { return had.Probe == r.Probe && had.At.Equal(r.At) }) {
			w.m.After = append(w.m.After, r)
		}
	}
	if o.Cut != nil {
		w.m.Cut = o.Cut
	}
}

// Applied keeps what became of a layer.
func (w *Watch) Applied(a quarantine.Applied) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.m.Applied, func(b quarantine.Applied) bool { return b.Layer == a.Layer })
	if i >= 0 {
		w.m.Applied[i] = a
		return
	}
	w.m.Applied = append(w.m.Applied, a)
}

// Held is since when a layer is known to hold; false: it is not.
func (w *Watch) Held(layer string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.m.Applied {
		if a.Layer == layer && a.Error == "" {
			return a.At, true
		}
	}
	return time.Time{}, false
}

// Restarted keeps the names of containers that were restarted since the start.
func (w *Watch) Restarted(names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Restarts = names
}

// Disturbed keeps what others did to the containment, as it stands now, and the labels
// that the target carries.
func (w *Watch) Disturbed(all []evidence.Disturbance, labels map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Disturbed, w.m.Labels = all, labels
}

// Judge gives the verdict on what was seen so far.
func (w *Watch) Judge(now time.Time) evidence.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Ended = now
	v := quarantine.Judge(w.m)
	w.verdict = &v
	return v
}

// Verdict is the last one given, or nil.
func (w *Watch) Verdict() *evidence.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.verdict
}

// Measurements is a copy of what was seen.
func (w *Watch) Measurements() quarantine.Measurements {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.m
	m.Applied = slices.Clone(m.Applied) // the only list that is written to in place
	return m
}

// SkipPinholes leaves the policy alone unmeasured: what was seen of it before counts.
func (w *Watch) SkipPinholes() { w.noHoles = true }

// next is a series that goes on from this one: with the opening move and what was last
// seen, and room for new tries.
func (w *Watch) next(scene quarantine.Scene) *Watch {
	m := w.Measurements()
	m.Scene = scene
	silent := func(r evidence.ProbeResult) bool { return !r.Answered } // since when it holds
	m.After, m.OutsideAfter = ends(m.After, silent), ends(m.OutsideAfter, silent)
	answered := func(r evidence.ProbeResult) bool { return r.Answered } // that it counts
	m.PinholeOut, m.PinholeIn = ends(m.PinholeOut, answered), ends(m.PinholeIn, answered)
	return &Watch{m: m}
}

// ends keeps of each probe the first try that is meant, and the last one of all.
func ends(all []evidence.ProbeResult, meant func(evidence.ProbeResult) bool) []evidence.ProbeResult {
	type tries struct{ first, last int }
	var order []evidence.Probe
	by := map[evidence.Probe]*tries{}
	for i, r := range all {
		t := by[r.Probe]
		if t == nil {
			t = &tries{first: -1}
			by[r.Probe] = t
			order = append(order, r.Probe)
		}
		if t.first < 0 && meant(r) {
			t.first = i
		}
		t.last = i
	}
	var out []evidence.ProbeResult
	for _, p := range order {
		if t := by[p]; t.first >= 0 && t.first != t.last {
			out = append(out, all[t.first])
		}
		out = append(out, all[by[p].last])
	}
	return out
}

// Tells reports whether anything was tried that can tell of the policy alone.
func (w *Watch) Tells() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	out, in := w.alone()
	return len(out)+len(in) > 0
}

// alone are the tries that only the policy could stop: those through pinholes, and without
// a cut all of them.
func (w *Watch) alone() (out, in []evidence.ProbeResult) {
	if w.m.Cut == nil {
		return w.m.After, w.m.OutsideAfter
	}
	return w.m.PinholeOut, w.m.PinholeIn
}

// Settled reports whether the last two of the tries that tell of the policy alone all
// failed, out and in, as far as either was made: the policy alone then holds.
func (w *Watch) Settled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	triedOut, triedIn := w.alone()
	out, outTells := quiet(triedOut)
	in, inTells := quiet(triedIn)
	return out && in && (outTells || inTells)
}

// quiet: the last two tries of each failed, and whether there was one that tells.
func quiet(all []evidence.ProbeResult) (silent, tells bool) {
	tries := map[string][]bool{}
	for _, r := range all {
		if r.Name == "node" {
			continue // some plugins always let the pod's own node through
		}
		tries[r.Name+r.Addr.String()] = append(tries[r.Name+r.Addr.String()], r.Answered)
	}
	for _, t := range tries {
		if len(t) < 2 || t[len(t)-1] || t[len(t)-2] {
			return false, true
		}
	}
	return true, len(tries) > 0
}

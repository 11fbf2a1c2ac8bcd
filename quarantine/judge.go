package quarantine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"irkit.dev/irkit/evidence"
)

// Judge gives the verdict. Pure, and never better than what was measured: per direction the
// best layer counts, then the worse direction; a layer that the target can undo is PARTIAL
// at best, and so is an inbound that was not measured; no network layer is FAILED.
func Judge(m Measurements) evidence.Verdict {
	j := &judge{m: m, v: evidence.Verdict{
		Started: m.Started, Measured: m.Ended, Cut: m.Cut, Why: []string{},
		Layers: []evidence.LayerVerdict{}, Probes: []evidence.ProbeResult{}, Moving: []evidence.Flow{}, Restarts: []string{},
	}}
	j.v.Moving = append(j.v.Moving, m.Moving...)
	j.v.Restarts = append(j.v.Restarts, m.Restarts...)
	for _, list := range [][]evidence.ProbeResult{m.Baseline, m.After, m.PinholeOut, m.OutsideBefore, m.OutsideAfter, m.PinholeIn, m.Reachable, m.Known} {
		j.v.Probes = append(j.v.Probes, list...)
	}
	slices.SortStableFunc(j.v.Probes, func(a, b evidence.ProbeResult) int { return a.At.Compare(b.At) })
	j.times()
	for _, a := range m.Applied {
		j.v.Layers = append(j.v.Layers, j.layer(a))
	}
	j.whole()
	j.established()
	j.brakes()
	j.othersDid()
	return j.v
}

type judge struct {
	m Measurements
	v evidence.Verdict
}

// applied finds what became of a layer; nil: it was not wanted.
func (j *judge) applied(name string) *Applied {
	i := slices.IndexFunc(j.m.Applied, func(a Applied) bool { return a.Layer == name })
	if i < 0 {
		return nil
	}
	return &j.m.Applied[i]
}

func (j *judge) stands(name string) bool {
	a := j.applied(name)
	return a != nil && a.Error == ""
}

func (j *judge) layer(a Applied) evidence.LayerVerdict {
	l := evidence.LayerVerdict{Layer: a.Layer, Applied: a.Error == "", Out: evidence.Failed, In: evidence.Failed, Why: []string{}}
	if a.Error != "" {
		l.Why = append(l.Why, "not applied: "+a.Error)
		return l
	}
	switch a.Layer {
	case LayerNetns:
		j.netns(&l)
	case LayerNetpol, LayerDeny:
		j.netpol(&l, a)
	default:
		l.Out, l.In = evidence.Unverified, evidence.Unverified
		l.Why = append(l.Why, "does not stop traffic by itself")
		j.disturbed(&l)
		return l
	}
	j.disturbed(&l)
	var weak []string
	if a.Layer == LayerNetns && j.m.Cut != nil {
		weak = slices.Clone(j.m.Cut.Weak)
	}
	if why := j.m.Undoes[a.Layer]; why != "" {
		weak = append(weak, why)
	}
	if why := j.m.Scene.Identity.Undoes()[a.Layer]; why != "" {
		weak = append(weak, why)
	}
	if len(weak) > 0 {
		l.Undoes = true
		l.Out, l.In = evidence.Worse(l.Out, evidence.Partial), evidence.Worse(l.In, evidence.Partial)
		l.Why = append(l.Why, "the target could undo or pass it ("+strings.Join(weak, "; ")+"): it is only a brake")
	}
	return l
}

// whole is per direction the best network layer, then the worse direction.
func (j *judge) whole() {
	v := &j.v
	if j.m.Scene.Pod.Spec.HostNetwork {
		v.State, v.Outbound, v.Inbound = evidence.Failed, evidence.Failed, evidence.Failed
		v.Why = append(v.Why, "the pod uses the node's network, which no layer of a pod contains")
		return
	}
	v.Outbound, v.Inbound = evidence.Failed, evidence.Failed
	some := false
	for _, l := range v.Layers {
		if !l.Applied || !stops(l.Layer) {
			continue
		}
		v.Outbound, v.Inbound = evidence.Better(v.Outbound, l.Out), evidence.Better(v.Inbound, l.In)
		some = true
	}
	if !some {
		v.State = evidence.Failed
		v.Why = append(v.Why, "no layer that stops traffic was applied")
		return
	}
	if v.Inbound == evidence.Unverified {
		v.Inbound = evidence.Partial
		v.Why = append(v.Why, "connections to the target were not measured: inbound counts as PARTIAL")
	}
	if slices.ContainsFunc(j.m.Disturbed, func(d evidence.Disturbance) bool { return d.Code == evidence.Gone }) {
		v.Outbound, v.Inbound = evidence.Worse(v.Outbound, evidence.Unverified), evidence.Worse(v.Inbound, evidence.Unverified)
	}
	v.State = evidence.Worse(v.Outbound, v.Inbound)
	j.sentences()
}

// stops: the layer stops traffic.
func stops(layer string) bool {
	return layer == LayerNetns || layer == LayerNetpol || layer == LayerDeny
}

func (j *judge) sentences() {
	v := &j.v
	var holds []string
	for _, l := range v.Layers {
		if l.Applied && l.Out == v.Outbound && l.In == v.Inbound && stops(l.Layer) {
			holds = append(holds, l.Layer)
		}
	}
	switch {
	case v.State == evidence.Contained && len(holds) > 0:
		v.Why = append(v.Why, "nothing that answered before answers now, both ways; held by "+strings.Join(holds, " and "))
	case v.State == evidence.Contained:
		v.Why = append(v.Why, "nothing that answered before answers now, both ways")
	case v.State == evidence.Unverified:
		v.Why = append(v.Why, "nothing that was tried had answered before, so that its silence proves nothing")
	}
	if v.PolicyEnforced != nil && !*v.PolicyEnforced {
		text := "the NetworkPolicy is not enforced: connections go on through it"
		if v.State == evidence.Contained || v.State == evidence.ContainedNewOnly {
			text += "; what holds instead is the cut in the pod's network namespace, which is gone when the pod's sandbox is made anew"
		}
		v.Why = append(v.Why, text)
	}
	if v.State != evidence.Contained {
		for _, l := range v.Layers {
			for _, w := range l.Why {
				if stops(l.Layer) {
					v.Why = append(v.Why, l.Layer+": "+w)
				}
			}
		}
	}
	if len(v.Restarts) > 0 {
		v.Why = append(v.Why, "restarted since the start, so that their memory is not what it was: "+strings.Join(v.Restarts, ", "))
	}
}

// times are when it turned.
func (j *judge) times() {
	if c := j.m.Cut; c != nil && !c.Installed.IsZero() && established(j.m.FlowsBefore) > 0 && len(j.m.Moving) == 0 {
		t := c.Installed
		j.v.EstablishedStopped = &t
	}
	// A layer may have held before the baseline was taken: then that is the first silence.
	known := j.before(false)
	var first *time.Time
	for _, r := range append(slices.Clone(j.m.Baseline), j.m.After...) {
		if was, counts := known[r.Probe]; counts && !passes(was, r) && (first == nil || r.At.Before(*first)) {
			t := r.At
			first = &t
		}
	}
	j.v.NewStopped = first
}

func established(flows []evidence.Flow) int {
	n := 0
	for _, f := range flows {
		if f.State == "ESTABLISHED" && !f.Remote.Addr().IsLoopback() {
			n++
		}
	}
	return n
}

// residualText names what someone's policy still lets through a layer, in a direction.
func (j *judge) residualText(layer string, d networkingv1.PolicyType, w Want) []string {
	var out []string
	labels := FutureLabels(j.m.Scene, w)
	if j.m.Labels != nil { // what it really carries now: someone may have put some back
		labels = j.m.Labels
	}
	for _, r := range j.m.Scene.residuals(layer, w, labels) {
		switch {
		case r.Direction != d:
		case r.Unsure != "":
			out = append(out, fmt.Sprintf("policy %s may still let through %s (%s): %s", r.Policy, r.Text, r.Rule, r.Unsure))
		default:
			out = append(out, fmt.Sprintf("policy %s still lets through %s (%s)", r.Policy, r.Text, r.Rule))
		}
	}
	return out
}

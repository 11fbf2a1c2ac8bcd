package quarantine

import (
	"fmt"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"irkit.dev/irkit/evidence"
)

// netpol judges the policy by itself: by tries through a pinhole where a cut stands,
// else by everything.
func (j *judge) netpol(l *evidence.LayerVerdict, a Applied) {
	if !j.stands(LayerLabel) {
		l.Why = append(l.Why, "the target does not carry the label that the policy selects")
		if !j.earlyPolicy() {
			return
		}
	}
	outs, ins := j.m.PinholeOut, j.m.PinholeIn
	cut := j.stands(LayerNetns) && j.m.Cut != nil
	if !cut {
		outs, ins = j.m.After, j.m.OutsideAfter
	} else {
		outs = append(j.beforeTheCut(outs), outs...)
	}
	out, in := count(j.before(false), outs), count(j.before(true), ins)
	var why []string
	l.Out, why = state(out, "outbound, the policy alone")
	l.Why = append(l.Why, why...)
	l.In, why = state(in, "inbound, the policy alone")
	l.Why = append(l.Why, why...)
	l.Out = j.unheard(l, l.Out, "outbound, the policy alone", out.over)
	l.In = j.unheard(l, l.In, "inbound, the policy alone", in.over)
	j.enforced(l, a, outs, ins)
	if l.Layer == LayerDeny {
		l.Why = append(l.Why, "it was measured together with the NetworkPolicy")
	}
	w := Want{Case: j.m.Case, Layers: j.names()}
	for _, t := range j.residualText(l.Layer, networkingv1.PolicyTypeEgress, w) {
		l.Out = evidence.Worse(l.Out, evidence.Partial)
		l.Why = append(l.Why, t)
	}
	for _, t := range j.residualText(l.Layer, networkingv1.PolicyTypeIngress, w) {
		l.In = evidence.Worse(l.In, evidence.Partial)
		l.Why = append(l.Why, t)
	}
	if !cut {
		j.flows(l)
	} else if established(j.m.FlowsBefore) > 0 && l.Out == evidence.Contained {
		l.Out = evidence.ContainedNewOnly
		l.Why = append(l.Why, "what the policy alone does to connections that stood before was not measured: the cut stopped them first")
	}
}

// beforeTheCut are the tries that met the policy alone because there was no cut yet: the
// silent ones, and the answered ones of what was tried again through a pinhole. An answer
// that was not tried again says nothing of now.
func (j *judge) beforeTheCut(pinholes []evidence.ProbeResult) []evidence.ProbeResult {
	return slices.DeleteFunc(slices.Clone(j.m.Baseline), func(r evidence.ProbeResult) bool {
		return r.Answered && !slices.ContainsFunc(pinholes, func(p evidence.ProbeResult) bool { return p.Probe == r.Probe })
	})
}

// enforced says whether the policy by itself holds, and since when. The node is left
// aside: traffic between a pod and its node passes by many plugins' design.
func (j *judge) enforced(l *evidence.LayerVerdict, a Applied, outs, ins []evidence.ProbeResult) {
	outs = slices.DeleteFunc(slices.Clone(outs), func(r evidence.ProbeResult) bool { return r.Name == "node" })
	out, in := count(j.before(false), outs), count(j.before(true), ins)
	counted, passing := out.counted+in.counted, len(out.passing)+len(in.passing)
	switch {
	case counted == 0:
		return
	case passing == 0:
		yes, held := true, out.held
		if held == nil || (in.held != nil && in.held.After(*held)) {
			held = in.held
		}
		j.v.PolicyEnforced, j.v.PolicyHeld, l.Held = &yes, held, held
		return
	case passing < counted:
		yes := true // some of it is stopped: the plugin acts on it
		j.v.PolicyEnforced = &yes
		return
	}
	var last time.Time
	for _, r := range append(slices.Clone(outs), ins...) {
		if r.At.After(last) {
			last = r.At
		}
	}
	waited := last.Sub(a.At)
	if waited >= Patience(j.m.Scene) {
		no := false
		j.v.PolicyEnforced = &no
		l.Why = append(l.Why, fmt.Sprintf("it is not enforced: %s after it was written, connections go on", waited.Round(time.Second)))
		return
	}
	l.Why = append(l.Why, fmt.Sprintf("it did not hold within the %s that were measured", waited.Round(time.Second)))
}

func (j *judge) earlyPolicy() bool { return earlyLabels(j.m.Scene) != nil }

// names are the layers that stand.
func (j *judge) names() []string {
	out := []string{"none"}
	for _, a := range j.m.Applied {
		if a.Error == "" {
			out = append(out, a.Layer)
		}
	}
	return out
}

package reach

import (
	"maps"

	networkingv1 "k8s.io/api/networking/v1"
)

// Residual is a rule of someone's policy that would still let traffic of the pod through
// next to a NetworkPolicy that denies everything: those only add.
type Residual struct {
	Policy    string
	Rule      string // where in the policy: egress[0]
	Direction networkingv1.PolicyType
	Text      string // what passes: "egress to any peer on UDP/53"
	// Starts says that the policy does not select the pod now, but will: a negative
	// selector that matches once labels are gone.
	Starts bool
	// Unsure says why it cannot be told whether the rule lets anything through; empty: it does.
	Unsure string
}

// Residuals are the rules that still let something through when the pod carries its
// future labels and a NetworkPolicy without rules isolates it in both directions; leave
// that one out. A rule that a deny surely shadows is not among them, nor one of a tier that
// is asked only where no NetworkPolicy isolates.
func (p Policies) Residuals(now PodEnd, future map[string]string) []Residual {
	then := now
	then.Labels = maps.Clone(future)
	laws := p.laws()
	var out []Residual
	for _, d := range directions() {
		r := residuals{direction: d, now: now, then: then}
		if r.walk(sorted(laws, adminStage)) != stops {
			if tiers := p.beforeDefault(laws); len(tiers) > 0 {
				r.tiers(tiers)
			} else {
				r.union(sorted(laws, pluginStage))
			}
		}
		out = append(out, r.out...)
	}
	return out
}

type residuals struct {
	direction networkingv1.PolicyType
	now, then PodEnd
	out       []Residual
}

// walk takes one stage in order. It stops where nothing passes beyond it, skips what is
// left of it, or falls out of its end.
func (r *residuals) walk(laws []law) outcomes {
	for _, l := range laws {
		selects := l.selects(r.then)
		for _, c := range l.clauses {
			if selects == No || c.direction != r.direction {
				continue
			}
			if c.action == allow {
				r.add(l, c, selects)
			}
			switch {
			case !c.everything || selects != Yes:
			case c.action == pass:
				return skips
			default:
				return stops
			}
		}
	}
	return falls
}

// tiers takes tier after tier, until one lets nothing on.
func (r *residuals) tiers(all []tier) {
	for _, t := range all {
		end := r.walk(t.laws)
		if end == stops || end == falls && t.drops(r.then, r.direction) == Yes {
			return
		}
	}
}

// union takes a stage whose clauses count all at once.
func (r *residuals) union(laws []law) {
	for _, l := range laws {
		for _, c := range l.clauses {
			if c.direction == r.direction && c.action == deny && c.everything && l.selects(r.then) == Yes {
				return
			}
		}
	}
	for _, l := range laws {
		selects := l.selects(r.then)
		for _, c := range l.clauses {
			if selects != No && c.direction == r.direction && c.action == allow {
				r.add(l, c, selects)
			}
		}
	}
}

func (r *residuals) add(l law, c clause, selects Answer) {
	res := Residual{Policy: l.name, Rule: c.rule, Direction: c.direction, Text: c.text, Unsure: c.unsure, Starts: l.selects(r.now) == No}
	if selects == Unsure && res.Unsure == "" {
		res.Unsure = "it cannot be told whether it selects the pod"
	}
	r.out = append(r.out, res)
}

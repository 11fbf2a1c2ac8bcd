package reach

import (
	"cmp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// action is what a clause does with a connection that it matches.
type action int8

const (
	allow action = iota
	deny
	pass // on to the next tier
)

// law is one policy of whatever kind, in the form that all kinds come to.
type law struct {
	name    string // as a person would look for it
	selects func(PodEnd) Answer
	// isolates says that a connection which no clause matches is dropped, by direction.
	isolates map[networkingv1.PolicyType]bool
	clauses  []clause
	stage    stage
	tier     string  // within Calico
	order    float64 // within a stage or tier, lower first
}

// stage is who asks first.
type stage int8

const (
	adminStage    stage = iota // ClusterNetworkPolicy, tier Admin
	pluginStage                // NetworkPolicy, and what the plugin has beside it
	calicoStage                // Calico's tiers, NetworkPolicy among them
	baselineStage              // ClusterNetworkPolicy, tier Baseline: only where no NetworkPolicy isolates
)

// clause is one rule.
type clause struct {
	direction networkingv1.PolicyType
	action    action
	rule      string // where it stands: egress[0]
	text      string // whom it names: "egress to any peer on UDP/53"
	matches   func(subject *PodEnd, f Flow) Answer
	// everything says that it surely matches every connection of its direction.
	everything bool
	unsure     string // why it cannot be told what it matches; empty: it can
}

// outcomes is a set of ways in which a connection may end.
type outcomes uint8

const (
	passes outcomes = 1 << iota
	stops
	falls // nothing said anything
	skips // on to the next tier
)

func (o outcomes) has(x outcomes) bool { return o&x != 0 }

func (a action) outcome() outcomes { return [...]outcomes{passes, stops, skips}[a] }

// walk takes clauses one after the other: the first that matches decides. by are the laws
// that let it pass, surely or perhaps.
func walk(laws []law, s *PodEnd, f Flow, by *[]string) outcomes {
	var out outcomes
	for _, l := range laws {
		selects := l.selects(*s)
		for _, c := range l.clauses {
			m := No
			if c.direction == f.Direction {
				m = selects.and(c.matches(s, f))
			}
			if m == No {
				continue
			}
			if c.action == allow {
				note(by, l.name)
			}
			out |= c.action.outcome()
			if m == Yes {
				return out
			}
		}
	}
	return out | falls
}

// union takes all clauses at once: a deny beats every allow, and what isolates drops the rest.
func union(laws []law, s *PodEnd, f Flow, by *[]string) outcomes {
	denied, allowed, isolated := No, No, No
	for _, l := range laws {
		selects := l.selects(*s)
		isolated = isolated.or(selects.and(answer(l.isolates[f.Direction])))
		for _, c := range l.clauses {
			if c.direction != f.Direction || selects == No {
				continue
			}
			m := selects.and(c.matches(s, f))
			switch {
			case m == No:
			case c.action == deny:
				denied = denied.or(m)
			default:
				note(by, l.name)
				allowed = allowed.or(m)
			}
		}
	}
	var out outcomes
	if denied != No {
		out |= stops
	}
	if denied == Yes {
		return out
	}
	free := isolated.not().or(allowed)
	if free != No {
		out |= passes
	}
	if free != Yes {
		out |= stops
	}
	return out
}

func note(by *[]string, name string) {
	if !slices.Contains(*by, name) {
		*by = append(*by, name)
	}
}

// sorted are the laws of one stage, in the order in which they are asked.
func sorted(laws []law, st stage) []law {
	var out []law
	for _, l := range laws {
		if l.stage == st {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b law) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name))
	})
	return out
}

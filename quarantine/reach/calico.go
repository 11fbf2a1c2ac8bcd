package reach

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// calicoSpec is a NetworkPolicy or GlobalNetworkPolicy of Calico
// (docs.tigera.io, "Network policy" and "Global network policy").
type calicoSpec struct {
	Tier                   string          `json:"tier"`
	Order                  *float64        `json:"order"`
	Selector               string          `json:"selector"`
	NamespaceSelector      string          `json:"namespaceSelector"`
	ServiceAccountSelector string          `json:"serviceAccountSelector"`
	Types                  []string        `json:"types"`
	Ingress                []calicoRule    `json:"ingress"`
	Egress                 []calicoRule    `json:"egress"`
	DoNotTrack             bool            `json:"doNotTrack"`
	PreDNAT                bool            `json:"preDNAT"`
	ApplyOnForward         bool            `json:"applyOnForward"`
	PerformanceHints       json.RawMessage `json:"performanceHints"`
}

type calicoTierSpec struct {
	Order         *float64 `json:"order"`
	DefaultAction string   `json:"defaultAction"`
}

// Where Calico puts NetworkPolicies, within the tier "default".
const (
	defaultTier  = "default"
	networkOrder = 1000
	defaultAt    = 1_000_000 // the order of that tier
)

// calico reads a policy of Calico.
func (f Foreign) calico() ([]law, error) {
	var s calicoSpec
	if err := strictly(f.Spec, &s); err != nil {
		return nil, err
	}
	if s.DoNotTrack || s.PreDNAT {
		return nil, nil // for hosts' interfaces only
	}
	pods, err := parseCalico(s.Selector)
	if err != nil {
		return nil, err
	}
	spaces, err := parseCalico(s.NamespaceSelector)
	if err != nil {
		return nil, err
	}
	l := law{name: f.Title(), stage: calicoStage, tier: cmp.Or(s.Tier, defaultTier), order: math.Inf(1),
		isolates: map[networkingv1.PolicyType]bool{}, selects: func(p PodEnd) Answer {
			out := answer(f.Namespace == "" || f.Namespace == p.Namespace).and(pods.matches(calicoLabels(p)))
			if s.NamespaceSelector != "" {
				out = out.and(spaces.matches(calicoNamespace(p)))
			}
			if s.ServiceAccountSelector != "" {
				out = out.and(Unsure)
			}
			return out
		}}
	if s.Order != nil {
		l.order = *s.Order
	}
	types := s.Types
	if len(types) == 0 { // absent: by the rules that there are
		if len(s.Ingress) > 0 || len(s.Egress) == 0 {
			types = append(types, string(networkingv1.PolicyTypeIngress))
		}
		if len(s.Egress) > 0 {
			types = append(types, string(networkingv1.PolicyTypeEgress))
		}
	}
	for _, d := range directions() {
		if !slices.Contains(types, string(d)) {
			continue
		}
		l.isolates[d] = true
		rules := s.Ingress
		if d == networkingv1.PolicyTypeEgress {
			rules = s.Egress
		}
		for n, r := range rules {
			if strings.EqualFold(r.Action, "log") {
				continue
			}
			c, err := r.clause(f.Namespace, d, n)
			if err != nil {
				return nil, err
			}
			l.clauses = append(l.clauses, c)
		}
	}
	return []law{l}, nil
}

// tier is a group of Calico's policies, asked in order.
type tier struct {
	name   string
	order  float64
	passes bool // what selects and says nothing lets on to the next tier
	laws   []law
}

// tiers groups Calico's laws, NetworkPolicies in the tier "default" among them. A tier that
// could not be read may stand anywhere: its laws are then Unsure.
func (p Policies) tierList(laws []law) []tier {
	by := map[string]*tier{defaultTier: {name: defaultTier, order: defaultAt}}
	for _, f := range p.Foreign {
		if f.Kind != "Tier" || !strings.HasSuffix(strings.Split(f.APIVersion, "/")[0], "projectcalico.org") {
			continue
		}
		var s calicoTierSpec
		if strictly(f.Spec, &s) != nil {
			continue
		}
		t := &tier{name: f.Name, order: math.Inf(1), passes: s.DefaultAction == "Pass"}
		if s.Order != nil {
			t.order = *s.Order
		}
		by[f.Name] = t
	}
	for _, l := range laws {
		switch l.stage {
		case pluginStage:
			l.order, l.tier = networkOrder, defaultTier
		case calicoStage:
		default:
			continue
		}
		t := by[l.tier]
		if t == nil {
			t = &tier{name: l.tier, order: math.Inf(-1)}
			by[l.tier] = t
		}
		if math.IsInf(t.order, -1) {
			asked := l.selects
			l.selects = func(p PodEnd) Answer { return asked(p).and(Unsure) }
		}
		t.laws = append(t.laws, l)
	}
	var out []tier
	for _, t := range by {
		slices.SortStableFunc(t.laws, func(a, b law) int {
			return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name))
		})
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b tier) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name)) })
	return out
}

// tiers asks tier after tier. Where a tier's policy selects the pod and none of its rules
// says anything, the tier drops or passes; beyond the last one the namespace's profile allows.
func (p Policies) tiers(laws []law, s *PodEnd, f Flow, by *[]string) outcomes {
	var out outcomes
	for _, t := range p.tierList(laws) {
		got := walk(t.laws, s, f, by)
		out |= got &^ (falls | skips)
		next := got.has(skips)
		if got.has(falls) {
			drops := t.drops(*s, f.Direction)
			if drops != No {
				out |= stops
			}
			next = next || drops != Yes
		}
		if !next {
			return out
		}
	}
	return out | passes
}

// drops says whether what no rule of the tier matches is dropped at its end.
func (t tier) drops(s PodEnd, d networkingv1.PolicyType) Answer {
	if t.passes {
		return No
	}
	return anyOf(t.laws, func(l law) Answer { return l.selects(s).and(answer(l.isolates[d])) })
}

// beforeDefault are the tiers up to the one in which a NetworkPolicy isolates; none where
// there is no policy of Calico.
func (p Policies) beforeDefault(laws []law) []tier {
	if !slices.ContainsFunc(laws, func(l law) bool { return l.stage == calicoStage }) {
		return nil
	}
	all := p.tierList(laws)
	i := slices.IndexFunc(all, func(t tier) bool { return t.name == defaultTier })
	return all[:i+1]
}

func (r calicoRule) action() (action, error) {
	switch strings.ToLower(r.Action) {
	case "allow":
		return allow, nil
	case "deny":
		return deny, nil
	case "pass", "next-tier":
		return pass, nil
	}
	return 0, fmt.Errorf("action %q is not known", r.Action)
}

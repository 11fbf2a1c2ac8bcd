package reach_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"irkit.dev/irkit/quarantine/reach"
)

// The reference below is written from the text of k8s.io/api/networking/v1, types.go, and
// shares nothing with the evaluator: it turns the question around and asks, for each
// policy, rule, peer and port in turn, whether this one grants.

func refSelects(s *metav1.LabelSelector, have map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		got, ok := have[e.Key]
		listed := slices.Contains(e.Values, got)
		if (e.Operator == "In" && (!ok || !listed)) || (e.Operator == "NotIn" && ok && listed) ||
			(e.Operator == "Exists" && !ok) || (e.Operator == "DoesNotExist" && ok) {
			return false
		}
	}
	return true
}

func refAllowed(ps []networkingv1.NetworkPolicy, s reach.Endpoint, f reach.Flow) bool {
	if f.Peer.IP == s.IP {
		return true
	}
	isolated := false
	for _, p := range ps {
		types := p.Spec.PolicyTypes
		if len(types) == 0 {
			types = []networkingv1.PolicyType{in}
			if len(p.Spec.Egress) != 0 {
				types = append(types, out)
			}
		}
		if p.Namespace != s.Pod.Namespace || !slices.Contains(types, f.Direction) || !refSelects(&p.Spec.PodSelector, s.Pod.Labels) {
			continue
		}
		isolated = true
		type rule struct {
			peers []networkingv1.NetworkPolicyPeer
			ports []networkingv1.NetworkPolicyPort
		}
		var rules []rule
		dest := s.Pod
		if f.Direction == in {
			for _, r := range p.Spec.Ingress {
				rules = append(rules, rule{r.From, r.Ports})
			}
		} else {
			dest = f.Peer.Pod
			for _, r := range p.Spec.Egress {
				rules = append(rules, rule{r.To, r.Ports})
			}
		}
		for _, r := range rules {
			peerOK, portOK := len(r.peers) == 0, len(r.ports) == 0
			for _, x := range r.peers {
				peerOK = peerOK || refPeer(x, p.Namespace, f.Peer)
			}
			for _, x := range r.ports {
				portOK = portOK || refPort(x, dest, f)
			}
			if peerOK && portOK {
				return true
			}
		}
	}
	return !isolated
}

func refPeer(x networkingv1.NetworkPolicyPeer, ns string, e reach.Endpoint) bool {
	switch {
	case x.IPBlock != nil:
		hit := netip.MustParsePrefix(x.IPBlock.CIDR).Contains(e.IP)
		for _, ex := range x.IPBlock.Except {
			hit = hit && !netip.MustParsePrefix(ex).Contains(e.IP)
		}
		return hit
	case e.Pod == nil:
		return false
	case x.NamespaceSelector != nil && x.PodSelector != nil:
		return refSelects(x.NamespaceSelector, e.Pod.NamespaceLabels) && refSelects(x.PodSelector, e.Pod.Labels)
	case x.NamespaceSelector != nil:
		return refSelects(x.NamespaceSelector, e.Pod.NamespaceLabels)
	case x.PodSelector != nil:
		return e.Pod.Namespace == ns && refSelects(x.PodSelector, e.Pod.Labels)
	}
	return false
}

func refPort(x networkingv1.NetworkPolicyPort, dest *reach.PodEnd, f reach.Flow) bool {
	proto := corev1.ProtocolTCP
	if x.Protocol != nil {
		proto = *x.Protocol
	}
	if proto != f.Protocol {
		return false
	}
	if x.Port == nil {
		return true
	}
	if x.Port.Type == intstr.Int {
		last := x.Port.IntVal
		if x.EndPort != nil {
			last = *x.EndPort
		}
		return x.Port.IntVal <= int32(f.Port) && int32(f.Port) <= last
	}
	if dest != nil {
		for _, c := range dest.Ports {
			if c.Name == x.Port.StrVal && int32(f.Port) == c.ContainerPort && (c.Protocol == proto || c.Protocol == "" && proto == "TCP") {
				return true
			}
		}
	}
	return false
}

// gen draws from a small alphabet, so that things meet often.
type gen struct{ *rand.Rand }

func pick[T any](g gen, from ...T) T { return from[g.IntN(len(from))] }

func (g gen) labels() map[string]string {
	m := map[string]string{}
	for _, k := range []string{"a", "b", "c"} {
		if g.IntN(2) == 0 {
			m[k] = pick(g, "1", "2")
		}
	}
	return m
}

func (g gen) selector() *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	for range g.IntN(3) {
		k := pick(g, "a", "b", "c")
		switch g.IntN(5) {
		case 0:
			s.MatchLabels = map[string]string{k: pick(g, "1", "2")}
		case 1:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: "In", Values: pick(g, []string{"1"}, []string{"1", "2"})})
		case 2:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: "NotIn", Values: pick(g, []string{"1"}, []string{"1", "2"})})
		case 3:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: "Exists"})
		case 4:
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: k, Operator: "DoesNotExist"})
		}
	}
	return s
}

func (g gen) peerRules() (out []networkingv1.NetworkPolicyPeer) {
	for range g.IntN(3) {
		var p networkingv1.NetworkPolicyPeer
		switch g.IntN(4) {
		case 0:
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(g, "10.0.0.0/8", "198.51.100.0/24", "0.0.0.0/0", "2001:db8::/32")}
			if p.IPBlock.CIDR == "10.0.0.0/8" && g.IntN(2) == 0 {
				p.IPBlock.Except = []string{pick(g, "10.0.0.8/32", "10.0.1.0/24")}
			}
		case 1:
			p.PodSelector = g.selector()
		case 2:
			p.NamespaceSelector = g.selector()
		case 3:
			p.PodSelector, p.NamespaceSelector = g.selector(), g.selector()
		}
		out = append(out, p)
	}
	return out
}

func (g gen) portRules() (out []networkingv1.NetworkPolicyPort) {
	for range g.IntN(3) {
		var p networkingv1.NetworkPolicyPort
		if g.IntN(3) > 0 {
			proto := pick(g, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
			p.Protocol = &proto
		}
		switch g.IntN(4) {
		case 0:
		case 1:
			n := intstr.FromString(pick(g, "x", "y"))
			p.Port = &n
		case 2:
			n := intstr.FromInt32(pick(g, int32(1), 2, 3))
			p.Port = &n
		case 3:
			n, end := intstr.FromInt32(1), pick(g, int32(1), 2)
			p.Port, p.EndPort = &n, &end
		}
		out = append(out, p)
	}
	return out
}

func (g gen) policies() (ps []networkingv1.NetworkPolicy) {
	for range g.IntN(4) {
		p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: pick(g, "prod", "prod", "other")}}
		p.Spec.PodSelector = *g.selector()
		p.Spec.PolicyTypes = pick(g, nil, []networkingv1.PolicyType{in}, []networkingv1.PolicyType{out}, []networkingv1.PolicyType{in, out})
		for range g.IntN(3) {
			p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: g.peerRules(), Ports: g.portRules()})
		}
		for range g.IntN(3) {
			p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: g.peerRules(), Ports: g.portRules()})
		}
		ps = append(ps, p)
	}
	return ps
}

func (g gen) end(ns, ip string) reach.Endpoint {
	return reach.Endpoint{IP: netip.MustParseAddr(ip), Pod: &reach.PodEnd{Namespace: ns, NamespaceLabels: g.labels(), Labels: g.labels(),
		Ports: []corev1.ContainerPort{{Name: "x", ContainerPort: pick(g, int32(1), 2)}, {Name: "y", ContainerPort: 3, Protocol: corev1.ProtocolUDP}}}}
}

func (g gen) flow() reach.Flow {
	f := reach.Flow{Direction: pick(g, in, out), Protocol: pick(g, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP), Port: pick(g, uint16(1), 2, 3)}
	switch g.IntN(4) {
	case 0:
		f.Peer = reach.Endpoint{IP: netip.MustParseAddr(pick(g, "198.51.100.5", "10.0.0.8", "2001:db8::1", "10.0.0.7"))}
	case 1:
		f.Peer = g.end("other", "10.0.1.9")
	default:
		f.Peer = g.end("prod", "10.0.0.8")
	}
	return f
}

func differ(t *testing.T, seed uint64) {
	g := gen{rand.New(rand.NewPCG(seed, 2))}
	ps, s, f := g.policies(), g.end("prod", "10.0.0.7"), g.flow()
	got, by := reach.Allowed(ps, s, f)
	if want := refAllowed(ps, s, f); got != want {
		t.Fatalf("seed %d: allowed %v by %v, the reference says %v\npolicies %+v\nsubject %+v\nflow %+v", seed, got, by, want, ps, s.Pod, f)
	}
	// What the residuals leave out is what nothing lets through: no residual in a direction
	// in which a policy isolates means that no peer at all may pass.
	rest := reach.Policies{Network: ps}.Residuals(*s.Pod, s.Pod.Labels)
	deny := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "irkit-quarantine-c", Namespace: "prod", Labels: map[string]string{"irkit.dev/case": "c"}},
		Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{in, out}}}
	ok, _ := reach.Allowed(append(ps, deny), s, f)
	word := map[networkingv1.PolicyType]string{in: "ingress", out: "egress"}[f.Direction]
	named := slices.ContainsFunc(rest, func(r reach.Residual) bool { return strings.HasPrefix(r.Text, word) })
	if ok && !named && f.Peer.IP != s.IP {
		t.Fatalf("seed %d: %s passes next to our deny, and no residual names it", seed, word)
	}
}

func TestAllowedIsWhatTheReferenceSays(t *testing.T) {
	for seed := range uint64(20000) {
		differ(t, seed)
	}
}

func FuzzAllowed(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(differ)
}

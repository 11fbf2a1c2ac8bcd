package reach

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Allowed evaluates NetworkPolicies alone for one connection of the subject pod, as the API
// describes them (k8s.io/api/networking/v1, types.go): a pod is isolated in a direction
// when a policy of its namespace that has that direction selects it; then what any rule of
// any such policy allows passes, and nothing else. It answers the policies whose rules
// allow it; none and true: the pod is not isolated.
//
// An ipBlock matches a pod's address too, as the API's text has it; plugins differ there
// (see networkLaw), and for us an allow too many is the safe side. A selector or block that
// cannot be read allows, for the same reason.
func Allowed(policies []networkingv1.NetworkPolicy, subject Endpoint, f Flow) (bool, []string) {
	a, by := Policies{Network: policies}.Decide(subject, f)
	return a == Yes, by
}

// networkLaw is a NetworkPolicy as a law: it only allows, and isolates what it selects.
//
// Cilium reads three things otherwise than the API's text has them (cilium v1.19.5,
// pkg/k8s/network_policy.go, and held against the lab):
//   - rules of a direction that policyTypes leaves out count all the same: they isolate, and
//     they allow, also next to another policy that denies;
//   - an ipBlock never matches a pod's address;
//   - on the way out a named port is one number for the whole cluster, whatever the pod that
//     is connected to calls its ports, and none where two pods differ: it cannot be told.
func networkLaw(p *networkingv1.NetworkPolicy, cilium bool) law {
	l := law{name: p.Name, stage: pluginStage, isolates: map[networkingv1.PolicyType]bool{},
		selects: func(s PodEnd) Answer {
			return answer(s.Namespace == p.Namespace && Selects(&p.Spec.PodSelector, s.Labels))
		}}
	add := func(d networkingv1.PolicyType, n int, way string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		text := fmt.Sprintf("%s %s %s on %s", word(d), way, peersText(peers), portsText(ports))
		if !affects(p, d) {
			if !cilium {
				return // rules of a direction that the policy does not have mean nothing
			}
			text += ", which its policyTypes leave out and Cilium lets through all the same"
		}
		l.isolates[d] = true
		l.clauses = append(l.clauses, clause{direction: d, rule: fmt.Sprintf("%s[%d]", word(d), n), everything: len(peers)+len(ports) == 0, text: text,
			matches: func(s *PodEnd, f Flow) Answer {
				return answer(peersMatch(peers, p.Namespace, f.Peer, cilium)).and(portsMatch(ports, destination(s, f), f, cilium))
			}})
	}
	for _, d := range directions() {
		l.isolates[d] = affects(p, d)
	}
	for n, r := range p.Spec.Ingress {
		add(networkingv1.PolicyTypeIngress, n, "from", r.From, r.Ports)
	}
	for n, r := range p.Spec.Egress {
		add(networkingv1.PolicyTypeEgress, n, "to", r.To, r.Ports)
	}
	return l
}

// destination is the pod that is connected to: the subject itself on the way in.
func destination(s *PodEnd, f Flow) *PodEnd {
	if f.Direction == networkingv1.PolicyTypeIngress {
		return s
	}
	return f.Peer.Pod
}

// affects tells whether a policy isolates in a direction. Where policyTypes is absent:
// always ingress, and egress when there are egress rules.
func affects(p *networkingv1.NetworkPolicy, d networkingv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) == 0 {
		return d == networkingv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
	}
	for _, t := range p.Spec.PolicyTypes {
		if t == d {
			return true
		}
	}
	return false
}

// Selects evaluates a selector; an empty one selects everything. One that cannot be
// read selects: it must not hide an allow.
func Selects(sel *metav1.LabelSelector, set map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(sel)
	return err != nil || s.Matches(labels.Set(set))
}

// peersMatch: an empty list means every peer; else one of the items is enough.
func peersMatch(peers []networkingv1.NetworkPolicyPeer, namespace string, e Endpoint, cilium bool) bool {
	if len(peers) == 0 {
		return true
	}
	for i := range peers {
		if cilium && peers[i].IPBlock != nil && e.Pod != nil {
			continue
		}
		if peerMatches(&peers[i], namespace, e) {
			return true
		}
	}
	return false
}

func peerMatches(p *networkingv1.NetworkPolicyPeer, namespace string, e Endpoint) bool {
	if p.IPBlock != nil {
		return blockMatches(p.IPBlock, e.IP)
	}
	if e.Pod == nil || (p.PodSelector == nil && p.NamespaceSelector == nil) {
		return false
	}
	if p.NamespaceSelector == nil {
		if e.Pod.Namespace != namespace {
			return false
		}
	} else if !Selects(p.NamespaceSelector, e.Pod.NamespaceLabels) {
		return false
	}
	return p.PodSelector == nil || Selects(p.PodSelector, e.Pod.Labels)
}

func blockMatches(b *networkingv1.IPBlock, ip netip.Addr) bool {
	in, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return true
	}
	if !ip.IsValid() || !in.Contains(ip.Unmap()) {
		return false
	}
	for _, x := range b.Except {
		if out, err := netip.ParsePrefix(x); err == nil && out.Contains(ip.Unmap()) {
			return false
		}
	}
	return true
}

// portsMatch: an empty list means every port. A named port is resolved in the pod that is
// connected to; where that is no pod it matches nothing. An absent protocol is TCP.
func portsMatch(ports []networkingv1.NetworkPolicyPort, dest *PodEnd, f Flow, cilium bool) Answer {
	if len(ports) == 0 {
		return Yes
	}
	return anyOf(ports, func(p networkingv1.NetworkPolicyPort) Answer {
		if cilium && f.Direction == networkingv1.PolicyTypeEgress && p.Port != nil && p.Port.StrVal != "" && portProtocol(&p) == f.Protocol {
			return Unsure
		}
		return answer(portMatches(&p, dest, f))
	})
}

func portProtocol(p *networkingv1.NetworkPolicyPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

func portMatches(p *networkingv1.NetworkPolicyPort, dest *PodEnd, f Flow) bool {
	proto := portProtocol(p)
	if proto != f.Protocol {
		return false
	}
	if p.Port == nil {
		return true
	}
	if p.Port.StrVal != "" {
		if dest == nil {
			return false
		}
		for _, c := range dest.Ports {
			cp := c.Protocol
			if cp == "" {
				cp = corev1.ProtocolTCP
			}
			if c.Name == p.Port.StrVal && cp == proto && c.ContainerPort == int32(f.Port) {
				return true
			}
		}
		return false
	}
	if p.EndPort != nil {
		return int32(f.Port) >= p.Port.IntVal && int32(f.Port) <= *p.EndPort
	}
	return int32(f.Port) == p.Port.IntVal
}

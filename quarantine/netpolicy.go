package quarantine

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Endpoint is one end of a connection, as a NetworkPolicy sees it.
type Endpoint struct {
	IP  netip.Addr
	Pod *PodEnd // nil: not a pod of this cluster
}

// PodEnd is a pod as a NetworkPolicy sees it.
type PodEnd struct {
	Namespace       string
	NamespaceLabels map[string]string
	Labels          map[string]string
	Ports           []corev1.ContainerPort // of containers that run beside each other
}

// Flow is one attempted connection, seen from the subject.
type Flow struct {
	Direction networkingv1.PolicyType
	Peer      Endpoint
	Protocol  corev1.Protocol
	Port      uint16 // at the end that is connected to
}

// Allowed evaluates NetworkPolicies for one connection of the subject pod, as the API
// describes them (k8s.io/api/networking/v1, types.go): a pod is isolated in a direction
// when a policy of its namespace that has that direction selects it; then what any rule of
// any such policy allows passes, and nothing else. It answers the policies whose rules
// allow it; none and true: the pod is not isolated. Only the subject's side is evaluated:
// for a connection between two pods ask for both. A pod always reaches itself.
//
// An ipBlock matches a pod's address too, as the API's text has it; plugins
// differ there (Cilium does not), and for us an allow too many is the safe side. A selector
// or block that cannot be read allows, for the same reason.
func Allowed(policies []networkingv1.NetworkPolicy, subject Endpoint, f Flow) (bool, []string) {
	if subject.Pod == nil || (f.Peer.IP.IsValid() && f.Peer.IP == subject.IP) {
		return true, nil
	}
	isolated, by := false, []string(nil)
	for i := range policies {
		p := &policies[i]
		if p.Namespace != subject.Pod.Namespace || !affects(p, f.Direction) || !selects(&p.Spec.PodSelector, subject.Pod.Labels) {
			continue
		}
		isolated = true
		if allows(p, subject, f) {
			by = append(by, p.Name)
		}
	}
	return !isolated || len(by) > 0, by
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

// selects evaluates a selector; an empty one selects everything. One that cannot be
// read selects: it must not hide an allow.
func selects(sel *metav1.LabelSelector, set map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(sel)
	return err != nil || s.Matches(labels.Set(set))
}

func allows(p *networkingv1.NetworkPolicy, subject Endpoint, f Flow) bool {
	if f.Direction == networkingv1.PolicyTypeIngress {
		for _, r := range p.Spec.Ingress {
			if peersMatch(r.From, p.Namespace, f.Peer) && portsMatch(r.Ports, subject.Pod, f) {
				return true
			}
		}
		return false
	}
	for _, r := range p.Spec.Egress {
		if peersMatch(r.To, p.Namespace, f.Peer) && portsMatch(r.Ports, f.Peer.Pod, f) {
			return true
		}
	}
	return false
}

// peersMatch: an empty list means every peer; else one of the items is enough.
func peersMatch(peers []networkingv1.NetworkPolicyPeer, namespace string, e Endpoint) bool {
	if len(peers) == 0 {
		return true
	}
	for i := range peers {
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
	} else if !selects(p.NamespaceSelector, e.Pod.NamespaceLabels) {
		return false
	}
	return p.PodSelector == nil || selects(p.PodSelector, e.Pod.Labels)
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
func portsMatch(ports []networkingv1.NetworkPolicyPort, dest *PodEnd, f Flow) bool {
	if len(ports) == 0 {
		return true
	}
	for i := range ports {
		if portMatches(&ports[i], dest, f) {
			return true
		}
	}
	return false
}

func portMatches(p *networkingv1.NetworkPolicyPort, dest *PodEnd, f Flow) bool {
	proto := corev1.ProtocolTCP
	if p.Protocol != nil {
		proto = *p.Protocol
	}
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

// Residual is a rule of someone's policy that would still let traffic of the target
// through, next to ours: policies only add.
type Residual struct {
	Policy    string
	Direction networkingv1.PolicyType
	Text      string // what passes: "egress to any peer on UDP/53"
	// Starts says that the policy does not select the target now, but will: a negative
	// selector that matches once labels are gone.
	Starts bool
}

// Residuals evaluates the namespace's policies against the labels that the target will
// have. Policies of the case itself are left out.
func Residuals(policies []networkingv1.NetworkPolicy, namespace, caseID string, now, future map[string]string) []Residual {
	var out []Residual
	for i := range policies {
		p := &policies[i]
		if p.Namespace != namespace || ours(p, caseID) || !selects(&p.Spec.PodSelector, future) {
			continue
		}
		starts := !selects(&p.Spec.PodSelector, now)
		for _, r := range p.Spec.Ingress {
			if affects(p, networkingv1.PolicyTypeIngress) {
				out = append(out, Residual{Policy: p.Name, Direction: networkingv1.PolicyTypeIngress, Starts: starts,
					Text: fmt.Sprintf("ingress from %s on %s", peersText(r.From), portsText(r.Ports))})
			}
		}
		for _, r := range p.Spec.Egress {
			if affects(p, networkingv1.PolicyTypeEgress) {
				out = append(out, Residual{Policy: p.Name, Direction: networkingv1.PolicyTypeEgress, Starts: starts,
					Text: fmt.Sprintf("egress to %s on %s", peersText(r.To), portsText(r.Ports))})
			}
		}
	}
	return out
}

// Package reach answers from policies alone what a pod may reach and who may reach it, and
// which rule of whose policy lets it: NetworkPolicy in full, and the policies of Cilium,
// Calico and the network-policy-api group, which order and deny. It reads values and asks
// nobody. Where a policy cannot be told from here the answer is Unsure, never No.
package reach

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Endpoint is one end of a connection, as a policy sees it.
type Endpoint struct {
	IP  netip.Addr
	Pod *PodEnd // nil: not a pod of this cluster
}

// PodEnd is a pod as a policy sees it.
type PodEnd struct {
	Namespace       string
	NamespaceLabels map[string]string
	Labels          map[string]string
	Ports           []corev1.ContainerPort // of containers that run beside each other
	ServiceAccount  string                 // empty: not known
}

// Flow is one attempted connection, seen from the subject.
type Flow struct {
	Direction networkingv1.PolicyType
	Peer      Endpoint
	Protocol  corev1.Protocol
	Port      uint16 // at the end that is connected to
}

// Policies are all that could decide.
type Policies struct {
	Network []networkingv1.NetworkPolicy
	Foreign []Foreign
	// Cilium says that the plugin is Cilium, which reads NetworkPolicy otherwise than the
	// API's text has it: see networkLaw.
	Cilium bool
}

// Decide says whether a connection of the subject passes, and which policies let it; Yes
// and none: nothing isolates the pod. Only the subject's side is evaluated: for a
// connection between two pods ask for both. A pod always reaches itself.
//
// An Admin tier speaks before everything, then the plugin's policies and NetworkPolicy,
// then a Baseline tier where no NetworkPolicy isolates (KEP-2091, network-policy-api).
func (p Policies) Decide(subject Endpoint, f Flow) (Answer, []string) {
	if subject.Pod == nil || f.Peer.IP.IsValid() && f.Peer.IP == subject.IP {
		return Yes, nil
	}
	laws := p.laws()
	var by []string
	out := walk(sorted(laws, adminStage), subject.Pod, f, &by)
	if out.has(falls | skips) {
		out = out&^(falls|skips) | p.middle(laws, subject.Pod, f, &by)
	}
	switch {
	case !out.has(stops):
		return Yes, by
	case !out.has(passes):
		return No, nil
	}
	return Unsure, by
}

func (p Policies) middle(laws []law, s *PodEnd, f Flow, by *[]string) outcomes {
	network := sorted(laws, pluginStage)
	var out outcomes
	if tiers := sorted(laws, calicoStage); len(tiers) > 0 {
		out = p.tiers(append(network, tiers...), s, f, by)
	} else {
		out = union(network, s, f, by)
	}
	isolated := anyOf(network, func(l law) Answer { return l.selects(*s).and(answer(l.isolates[f.Direction])) })
	if isolated == Yes || !out.has(passes) {
		return out
	}
	below := walk(sorted(laws, baselineStage), s, f, by)
	if below.has(falls | skips) {
		below = below&^(falls|skips) | passes
	}
	if isolated == Unsure {
		return out | below
	}
	return out&^passes | below
}

// laws are all policies in one form. What cannot be read is in it as a law that may do
// anything.
func (p Policies) laws() []law {
	var out []law
	for i := range p.Network {
		out = append(out, networkLaw(&p.Network[i], p.Cilium))
	}
	for _, f := range p.Foreign {
		out = append(out, f.laws()...)
	}
	return out
}

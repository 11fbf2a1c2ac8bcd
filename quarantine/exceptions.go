package quarantine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"irkit.dev/irkit/evidence"
)

// exceptions are what is to stay reachable: what was asked for, and with AllowDNS the
// DNS Service's addresses and what stands behind them.
func (w Want) exceptions(s Scene) []evidence.Allow {
	out := slices.Clone(w.Allow)
	if !w.AllowDNS {
		return out
	}
	for _, a := range append(slices.Clone(s.DNS), s.DNSBehind...) {
		for _, proto := range []string{"udp", "tcp"} {
			e := evidence.Allow{Prefix: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), Port: a.Port(), Proto: proto}
			if !slices.Contains(out, e) {
				out = append(out, e)
			}
		}
	}
	return out
}

// inside says whether an exception names something within the cluster: there policies
// know pods, not addresses.
func inside(s Scene, p netip.Prefix) bool {
	known := slices.Concat(podIPs(s))
	for _, o := range s.Siblings {
		known = append(known, o.IPs...)
	}
	for _, list := range [][]netip.AddrPort{s.APIServer, s.DNS, s.APIBehind, s.DNSBehind} {
		for _, a := range list {
			known = append(known, a.Addr())
		}
	}
	if s.Node != nil {
		known = append(append(known, s.Node.Addresses...), s.Node.CNIHost...)
		if slices.ContainsFunc(s.Node.PodCIDRs, p.Overlaps) {
			return true
		}
	}
	return slices.ContainsFunc(known, p.Contains)
}

// wide says why an exception is too wide to still call the target contained; empty: it is
// not.
func wide(s Scene, p netip.Prefix) string {
	if p.Bits() == 0 {
		return "it is every address"
	}
	if s.Node == nil {
		return ""
	}
	if slices.ContainsFunc(s.Node.PodCIDRs, func(c netip.Prefix) bool { return p.Bits() <= c.Bits() && p.Overlaps(c) }) {
		return "it covers the pods of the node"
	}
	if slices.ContainsFunc(append(slices.Clone(s.Node.Addresses), s.Node.CNIHost...), p.Contains) {
		return "it covers the node, and with it the kubelet"
	}
	return ""
}

// allowText is an exception as --allow takes it.
func allowText(a evidence.Allow) string {
	text := a.Prefix.String()
	if a.Port != 0 {
		if a.Prefix.Addr().Is6() {
			text = "[" + text + "]"
		}
		text += fmt.Sprintf(":%d", a.Port)
	}
	if a.Proto != "" {
		text += "/" + a.Proto
	}
	return text
}

// excepted puts the exceptions into a NetworkPolicy. Some plugins (Cilium) match no pod by
// its address, so that DNS is named by its labels too.
func excepted(spec *networkingv1.NetworkPolicySpec, s Scene, w Want) {
	for _, a := range w.exceptions(s) {
		peer := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: a.Prefix.String()}}
		var ports []networkingv1.NetworkPolicyPort
		if a.Port != 0 || a.Proto != "" {
			for _, p := range protocols(a) {
				proto := corev1.Protocol(p)
				port := networkingv1.NetworkPolicyPort{Protocol: &proto}
				if a.Port != 0 {
					n := intstr.FromInt32(int32(a.Port))
					port.Port = &n
				}
				ports = append(ports, port)
			}
		}
		spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{peer}, Ports: ports})
		if a.Port == 0 {
			spec.Ingress = append(spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{peer}, Ports: ports})
		}
	}
	if !w.AllowDNS {
		return
	}
	var ports []networkingv1.NetworkPolicyPort
	for _, behind := range append(slices.Clone(s.DNS), s.DNSBehind...) {
		for _, proto := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
			n := intstr.FromInt32(int32(behind.Port()))
			p := networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &n}
			if !slices.ContainsFunc(ports, func(o networkingv1.NetworkPolicyPort) bool { return *o.Port == n && *o.Protocol == proto }) {
				ports = append(ports, p)
			}
		}
	}
	spec.Egress = append(spec.Egress, networkingv1.NetworkPolicyEgressRule{Ports: ports, To: []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
	}}})
}

// AllowTooWide is the code of the finding that an exception would leave no containment; it
// refuses the whole unless force is given.
const AllowTooWide = "allow-too-wide"

// exceptions names what stays reachable.
func (f *forecaster) exceptions() {
	for _, a := range f.w.Allow {
		why := wide(f.s, a.Prefix)
		switch {
		case why != "" && !f.w.Force:
			f.add(evidence.Refused, AllowTooWide, "", "", fmt.Sprintf("--allow %s: %s; name the forensics host alone, or override with --force", a.Prefix, why))
		case why != "":
			f.add(evidence.Warning, AllowTooWide, "", "", fmt.Sprintf("--allow %s: %s; taken all the same, by --force", a.Prefix, why))
		}
	}
	var all []string
	for _, a := range f.w.exceptions(f.s) {
		all = append(all, allowText(a))
	}
	if len(all) > 0 {
		f.add(evidence.Warning, "allowed", "", "", "stays reachable, by --allow or --allow-dns, through every layer: "+strings.Join(all, ", "))
	}
	if f.w.AllowDNS {
		f.add(evidence.Warning, "dns-tunnel", "", "", "a DNS that answers can carry data out: --allow-dns leaves that way open")
	}
}

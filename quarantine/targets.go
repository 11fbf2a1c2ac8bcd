package quarantine

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/evidence"
)

// closedPort is asked for from outside where the target declares no port: a refusal
// tells as well as an answer that packets get through.
const closedPort = 9

// Probes are the connections that tell of containment here: from inside to what every
// cluster has (API server, DNS both ways, the node's kubelet, the metadata address, a
// sibling's port), from outside to the target's declared ports; each over every family of
// addresses that the target has, and over no other. The engine adds the
// canaries, and the listening ports that the hand found.
func Probes(s Scene) Targets {
	out := Targets{Inside: []evidence.Probe{}, Outside: []evidence.Probe{}}
	has := families(s)
	in := func(name, proto string, a netip.AddrPort) {
		if a.IsValid() && a.Port() != 0 && has.speaks(a.Addr()) {
			out.Inside = append(out.Inside, evidence.Probe{Name: name, Proto: proto, Addr: a})
		}
	}
	for _, a := range s.APIServer {
		in("api-server", "tcp", a)
	}
	for _, a := range s.DNS {
		in("dns-udp", "udp", a)
		in("dns-tcp", "tcp", a)
	}
	first := func(name string, all []netip.AddrPort) {
		for _, a := range firsts(all) {
			in(name, "tcp", a)
		}
	}
	first("api-server-behind", s.APIBehind)
	first("dns-behind", s.DNSBehind)
	if s.Node != nil {
		for _, a := range s.Node.Addresses {
			in("node", "tcp", netip.AddrPortFrom(a, 10250))
		}
	}
	for _, a := range metadata() {
		in("metadata", "tcp", netip.AddrPortFrom(a, 80))
	}
	for _, a := range siblingPorts(s) {
		in("sibling", "tcp", a)
	}
	ports := declaredPorts(s)
	if len(ports) == 0 {
		ports = []uint16{closedPort}
	}
	for _, ip := range podIPs(s) {
		for _, p := range ports {
			out.Outside = append(out.Outside, evidence.Probe{Name: "inbound", Proto: "tcp", Addr: netip.AddrPortFrom(ip, p), Inbound: true})
		}
	}
	return out
}

// maxOutside bounds the tries from outside: a target may listen on thousands of ports.
const maxOutside = 16

// Listening adds to the tries from outside the ports on which the target listens, as the
// opening move saw them; flows are the target's word, and at most 16 tries come of it.
func (t Targets) Listening(s Scene, flows []evidence.Flow) Targets {
	out := Targets{Inside: t.Inside, Outside: slices.Clone(t.Outside)}
	for _, f := range flows {
		if f.State != "LISTEN" || f.Proto != "tcp" || f.Local.Addr().IsLoopback() || f.Local.Port() == 0 {
			continue
		}
		for _, ip := range podIPs(s) {
			p := evidence.Probe{Name: "inbound", Proto: "tcp", Addr: netip.AddrPortFrom(ip, f.Local.Port()), Inbound: true}
			if len(out.Outside) < maxOutside && !slices.Contains(out.Outside, p) {
				out.Outside = append(out.Outside, p)
			}
		}
	}
	return out
}

// declaredPorts are the target's TCP ports, as declared, probed by the kubelet, or sent to
// by a Service; at most eight.
func declaredPorts(s Scene) []uint16 {
	var out []uint16
	add := func(n int32) {
		if n > 0 && n < 1<<16 && !slices.Contains(out, uint16(n)) && len(out) < 8 {
			out = append(out, uint16(n))
		}
	}
	for _, p := range ports(&s.Pod.Spec) {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			add(p.ContainerPort)
		}
	}
	for _, u := range probes(&s.Pod.Spec) {
		if u.Elsewhere == "" {
			add(int32(u.Port))
		}
	}
	for i := range s.Services {
		if !serviceSelects(&s.Services[i], s.Pod.Labels) {
			continue
		}
		for _, p := range s.Services[i].Spec.Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				add(p.TargetPort.IntVal)
			}
		}
	}
	return out
}

// siblingPorts is a TCP port of one running neighbour, the first by name that has one, at
// an address of each family.
func siblingPorts(s Scene) []netip.AddrPort {
	var all []netip.AddrPort
	for _, o := range s.Siblings {
		if o.Phase != string(corev1.PodRunning) || o.HostNet || o.Quarantine != "" || len(o.IPs) == 0 {
			continue
		}
		for _, p := range o.Ports {
			if (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP) && p.ContainerPort > 0 && p.ContainerPort < 1<<16 {
				for _, ip := range o.IPs {
					all = append(all, netip.AddrPortFrom(ip, uint16(p.ContainerPort)))
				}
				break
			}
		}
	}
	return firsts(all)
}

// Patience is how long the policy alone is to be measured before it is said not to hold.
// There is no promise by any plugin; Cilium took up to 35 s on a new label.
func Patience(s Scene) time.Duration {
	switch {
	case s.CNI.Enforces == Ignores:
		return 10 * time.Second
	case s.CNI.Name == "":
		return 15 * time.Second
	}
	return 60 * time.Second
}

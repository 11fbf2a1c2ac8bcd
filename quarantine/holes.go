package quarantine

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"irkit.dev/irkit/evidence"
)

// probeUse is one liveness or startup probe, with what matters of it here.
type probeUse struct {
	Container string
	Kind      string // liveness, startup, readiness
	Port      uint16 // 0: not through the pod's network, or not to be resolved
	How       string // tcp, http, grpc, exec
	Elsewhere string // an http or tcp probe that names a host of its own
	Budget    int    // failureThreshold x periodSeconds
	Period    int
}

// probes are the declared probes of all containers that run beside each other. Defaults
// are those of the API (k8s.io/api/core/v1, Probe): period 10 s, failureThreshold 3.
func probes(spec *corev1.PodSpec) []probeUse {
	var out []probeUse
	for _, c := range longRunning(spec) {
		for _, p := range []struct {
			kind string
			p    *corev1.Probe
		}{{"liveness", c.LivenessProbe}, {"startup", c.StartupProbe}, {"readiness", c.ReadinessProbe}} {
			if p.p != nil {
				out = append(out, use(&c, p.kind, p.p))
			}
		}
	}
	return out
}

func use(c *corev1.Container, kind string, p *corev1.Probe) probeUse {
	period, failures := int(p.PeriodSeconds), int(p.FailureThreshold)
	if period == 0 {
		period = 10
	}
	if failures == 0 {
		failures = 3
	}
	u := probeUse{Container: c.Name, Kind: kind, Budget: period * failures, Period: period}
	switch {
	case p.HTTPGet != nil:
		u.How, u.Port, u.Elsewhere = "http", portOf(c, p.HTTPGet.Port), p.HTTPGet.Host
	case p.TCPSocket != nil:
		u.How, u.Port, u.Elsewhere = "tcp", portOf(c, p.TCPSocket.Port), p.TCPSocket.Host
	case p.GRPC != nil && p.GRPC.Port > 0 && p.GRPC.Port < 1<<16:
		u.How, u.Port = "grpc", uint16(p.GRPC.Port)
	default:
		u.How = "exec"
	}
	return u
}

// portOf resolves a probe's port in the container that declares it; 0: not there.
func portOf(c *corev1.Container, p intstr.IntOrString) uint16 {
	n := p.IntVal
	if p.Type == intstr.String {
		n = 0
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				n = cp.ContainerPort
			}
		}
	}
	if n <= 0 || n >= 1<<16 {
		return 0
	}
	return uint16(n)
}

// Holes are the exceptions that the cut needs, so that the kubelet does not restart the
// evidence: every address from which this node's kubelet may probe, to every port that a
// liveness or startup probe declares. The worker adds its own default gateway.
func Holes(s Scene) []evidence.Hole {
	var ports []uint16
	for _, u := range probes(&s.Pod.Spec) {
		if u.Kind != "readiness" && u.Port != 0 && u.Elsewhere == "" && !slices.Contains(ports, u.Port) {
			ports = append(ports, u.Port)
		}
	}
	slices.Sort(ports)
	out := []evidence.Hole{}
	for _, port := range ports {
		for _, p := range probePeers(s) {
			out = append(out, evidence.Hole{Peer: p.addr, Port: port, Why: p.why})
		}
	}
	return out
}

type probePeer struct {
	addr netip.Addr
	why  string
}

// probePeers are the addresses that the kubelet's probes may come from: with Cilium its own
// host address, with a bridge plugin the bridge (the first address of the node's pod range),
// else the node.
func probePeers(s Scene) []probePeer {
	if s.Node == nil {
		return hostIPs(s)
	}
	var out []probePeer
	add := func(a netip.Addr, why string) {
		if a.IsValid() && !slices.ContainsFunc(out, func(p probePeer) bool { return p.addr == a }) {
			out = append(out, probePeer{a, why})
		}
	}
	for _, a := range s.Node.Addresses {
		add(a, "node address")
	}
	for _, a := range s.Node.CNIHost {
		add(a, "CNI host address")
	}
	// Other plugins hand that address out to pods.
	if bridge := []string{"", "flannel", "kindnet"}; len(s.Node.CNIHost) == 0 && slices.Contains(bridge, s.CNI.Name) {
		for _, p := range s.Node.PodCIDRs {
			add(p.Addr().Next(), "default gateway")
		}
	}
	return out
}

// hostIPs is what the pod itself says of its node, where the node could not be read.
func hostIPs(s Scene) []probePeer {
	var out []probePeer
	for _, h := range s.Pod.Status.HostIPs {
		if a, err := netip.ParseAddr(h.IP); err == nil {
			out = append(out, probePeer{a.Unmap(), "node address"})
		}
	}
	if a, err := netip.ParseAddr(s.Pod.Status.HostIP); err == nil && len(out) == 0 {
		out = append(out, probePeer{a.Unmap(), "node address"})
	}
	return out
}

// nodeAddrs are the node's own addresses: a network namespace with one of them is the
// node's and is never cut.
func nodeAddrs(s Scene) []netip.Addr {
	var out []netip.Addr
	if s.Node != nil {
		out = append(append(out, s.Node.Addresses...), s.Node.CNIHost...)
	}
	for _, p := range hostIPs(s) {
		if !slices.Contains(out, p.addr) {
			out = append(out, p.addr)
		}
	}
	return out
}

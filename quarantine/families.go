package quarantine

import (
	"fmt"
	"net/netip"
	"slices"

	"irkit.dev/irkit/evidence"
)

// A family is a kind of addresses. What is measured over one tells nothing of the other:
// plugins have stopped the one and let the other pass.
type family int

const (
	ipv4 family = 4
	ipv6 family = 6
)

func familyOf(a netip.Addr) family {
	if a.Unmap().Is4() {
		return ipv4
	}
	return ipv6
}

func (f family) String() string {
	if f == ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

// spoken are the families of the target's addresses, the primary first.
type spoken []family

// families are those of the pod's addresses; none where they are not known.
func families(s Scene) spoken {
	var out spoken
	for _, a := range podIPs(s) {
		if f := familyOf(a); !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// speaks reports whether the target could reach an address. Where its own are not known it
// may.
func (s spoken) speaks(a netip.Addr) bool {
	return len(s) == 0 || slices.Contains(s, familyOf(a))
}

// firsts are the first of each family.
func firsts(all []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range all {
		if !slices.ContainsFunc(out, func(b netip.AddrPort) bool { return familyOf(a.Addr()) == familyOf(b.Addr()) }) {
			out = append(out, a)
		}
	}
	return out
}

// metadata are the addresses at which clouds give out credentials: link-local in all of
// them, and over IPv6 that of the EC2 instance metadata service.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.AddrFrom4([4]byte{169, 254, 169, 254}),
		netip.MustParseAddr("fd00:ec2::254"),
	}
}

func podIPs(s Scene) []netip.Addr {
	var out []netip.Addr
	for _, ip := range s.Pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	if a, err := netip.ParseAddr(s.Pod.Status.PodIP); err == nil && len(out) == 0 {
		out = append(out, a.Unmap())
	}
	return out
}

// unheard makes a direction PARTIAL where the target has addresses of a family over which
// nothing was measured: over are those that tell of it.
func (j *judge) unheard(l *evidence.LayerVerdict, s evidence.State, way string, over []family) evidence.State {
	if s == evidence.Unverified {
		return s // nothing at all is known, and said
	}
	for _, f := range families(j.m.Scene) {
		if !slices.Contains(over, f) {
			s = evidence.Worse(s, evidence.Partial)
			l.Why = append(l.Why, fmt.Sprintf("%s: over %s nothing that was tried had worked before, so that its silence proves nothing", way, f))
		}
	}
	return s
}

// stopped are the families of connections that the target held, that moved before and do
// not now.
func (j *judge) stopped() []family {
	var out []family
	for _, f := range j.m.MovedBefore {
		still := slices.ContainsFunc(j.m.Moving, func(m evidence.Flow) bool { return key(m) == key(f) })
		served := slices.ContainsFunc(j.m.FlowsBefore, func(l evidence.Flow) bool {
			return l.State == "LISTEN" && l.Local.Port() == f.Local.Port()
		})
		if !still && !served && !f.Remote.Addr().IsLoopback() {
			out = append(out, familyOf(f.Remote.Addr()))
		}
	}
	return out
}

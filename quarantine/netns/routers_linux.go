package netns

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// maxLinkLocals bounds what is let be resolved beside what was asked for: others on the link
// can put themselves into the table of neighbours.
const maxLinkLocals = 16

// nextHops are the routers on the way to the peers and to what is allowed, which must
// be resolved. An address that has no route has none. With them come the link-local
// addresses of routers and peers: a router asks for us from its own when it carries
// someone else's packet, and everybody does to see whether we are still there (RFC 4861
// section 7.2.2; Linux, net/ipv6/ndisc.c).
func nextHops(s spec) []netip.Addr {
	all := routers()
	for _, h := range s.holes {
		all = append(all, h.Peer)
	}
	all = linkLocals(all)
	for _, h := range s.holes {
		if hop, ok := nextHop(h.Peer); ok && hop != h.Peer {
			all = append(all, hop)
		}
	}
	for _, a := range s.allow {
		if hop, ok := nextHop(a.Prefix.Addr()); ok {
			all = append(all, hop)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// nextHop is the address that is resolved on the link to reach another: its router, or
// itself.
func nextHop(to netip.Addr) (netip.Addr, bool) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, false
	}
	via := routes[0].Gw
	if v, ok := routes[0].Via.(*netlink.Via); ok && via == nil {
		via = v.Addr
	}
	if via == nil {
		return to, true
	}
	hop, ok := netip.AddrFromSlice(via)
	return hop.Unmap(), ok
}

// source is our own address on the way to another.
func source(to netip.Addr) (netip.Addr, bool) {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return netip.Addr{}, false
	}
	src, ok := netip.AddrFromSlice(routes[0].Src)
	return src.Unmap(), ok
}

// routers are the IPv6 routers that the routes name.
func routers() []netip.Addr {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
	if err != nil {
		return nil // as if there were none: what they ask is then dropped
	}
	var all []netip.Addr
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Gw); ok {
			all = append(all, a)
		}
	}
	return all
}

// linkLocals are the link-local addresses of neighbours of which others are known: those
// that the kernel saw at the same hardware address, and the one that is made of it
// (RFC 4291 appendix A).
func linkLocals(of []netip.Addr) []netip.Addr {
	neighbours, err := netlink.NeighList(0, netlink.FAMILY_V6)
	if err != nil {
		return nil
	}
	type seat struct {
		link int
		mac  [6]byte
	}
	at := func(n netlink.Neigh) (seat, netip.Addr, bool) {
		a, ok := netip.AddrFromSlice(n.IP)
		if !ok || len(n.HardwareAddr) != 6 {
			return seat{}, a, false
		}
		return seat{n.LinkIndex, [6]byte(n.HardwareAddr)}, a, true
	}
	seats := map[seat]bool{}
	var all []netip.Addr
	for _, n := range neighbours {
		if s, a, ok := at(n); ok && slices.Contains(of, a) && !seats[s] {
			seats[s] = true
			all = append(all, made(s.mac))
		}
	}
	for _, n := range neighbours {
		if s, a, ok := at(n); ok && seats[s] && a.IsLinkLocalUnicast() {
			all = append(all, a)
		}
	}
	return all[:min(len(all), maxLinkLocals)]
}

// made is the link-local address that a hardware address makes.
func made(mac [6]byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

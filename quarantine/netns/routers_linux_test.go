package netns

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// A node that probes from an address that is not on the link, as a router does with what it
// carries, asks for the target from its link-local address.
func TestARouterResolvesTheTargetFromItsLinkLocalAddress(t *testing.T) {
	const off6 = "fd00:88::1"
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", probePort)
		target.serve(t, "", 9090)
		peer.must(t, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(off6 + "/128")
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			return netlink.AddrAdd(lo, addr)
		})
		target.must(t, func() error {
			_, dst, err := net.ParseCIDR("fd00:88::/64")
			if err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(node6)})
		})
		peer.reaches(t, off6, target6, 9090) // and the target knows its router
		target.cutHere(t, agent.Cut{Case: theCase, Holes: []evidence.Hole{{Peer: ip(off6), Port: probePort, Why: "node address"}}}, way)
		for range 3 {
			peer.must(t, forgetNeighbours)
			peer.reaches(t, off6, target6, probePort)
		}
		peer.doesNotReach(t, off6, target6, 9090)
		if r := target.report(t); len(r.Weak) > 0 {
			t.Errorf("weak: %q", r.Weak)
		}
	})
}

// Neighbour discovery is no way out: a question for a peer goes to the peer, or to its
// group on the link, and to nobody else.
func TestNeighbourDiscoveryGoesToPeersAlone(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, _ := wire(t)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		for _, to := range []string{beyond6, stranger6, node6} {
			target.must(t, func() error { return solicit(to, node6) })
		}
		tried := func(to string) bool {
			return slices.ContainsFunc(target.report(t).Attempts, func(a evidence.Attempt) bool {
				return a.Proto == unix.IPPROTO_ICMPV6 && a.Addr == ip(to)
			})
		}
		if !tried(beyond6) || !tried(stranger6) || tried(node6) {
			t.Errorf("dropped: to beyond %v, to a stranger %v, to the node %v", tried(beyond6), tried(stranger6), tried(node6))
		}
	})
}

// solicit sends a neighbour solicitation about an address to another.
func solicit(to, about string) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255); err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: ip(to).As16()}); err != nil {
		return err
	}
	asked := ip(about).As16()
	if _, err = unix.Write(fd, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, asked[:]...)); errors.Is(err, unix.EPERM) {
		return nil // how the sender hears that it was dropped
	}
	return err
}

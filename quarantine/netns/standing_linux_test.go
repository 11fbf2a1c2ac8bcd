package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

func TestCutTwiceAndChanged(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", probePort)
		target.serve(t, "", 8081)
		c := agent.Cut{Case: theCase, Holes: probeHoles()}
		first := target.cutHere(t, c, way)
		target.doesNotReach(t, target4, beyond4, 4444)
		peer.reaches(t, node4, target4, probePort)
		handles := func() string { return target.nft(t, "-a", "-s", "list", "ruleset") }
		before := withoutTimers(handles())
		slices.Reverse(c.Holes)
		c.Holes = append(c.Holes, c.Holes[0])
		again := target.cutHere(t, c, way)
		if after := withoutTimers(handles()); after != before {
			t.Errorf("the second cut changed rules:\n%s\nwas\n%s", after, before)
		}
		if !again.Installed.Equal(first.Installed) {
			t.Errorf("installed %s, then %s", first.Installed, again.Installed)
		}
		c.Holes = append(c.Holes, evidence.Hole{Peer: ip(node4), Port: 8081, Why: "node address"})
		changed := target.cutHere(t, c, way)
		if len(changed.Holes) != 3 || len(changed.Weak) > 0 || !changed.Installed.Equal(first.Installed) {
			t.Errorf("changed: %+v", changed)
		}
		if len(changed.Attempts) == 0 || changed.DroppedOut < again.DroppedOut || changed.Holes[0].PacketsIn < again.Holes[0].PacketsIn {
			t.Errorf("counts were lost: %+v, were %+v", changed, again)
		}
		peer.reaches(t, node4, target4, 8081)
		peer.reaches(t, node4, target4, probePort)
		var other *OtherCaseError
		target.do(func() {
			_, err := Cut(t.Context(), agent.Cut{Case: "case-2"})
			if !errors.As(err, &other) || other.Case != theCase {
				t.Errorf("another case's cut: %v, want OtherCaseError of %s", err, theCase)
			}
		})
		for range 2 {
			target.must(t, func() error { return Lift(t.Context(), "case-2") })
		}
		if r := target.report(t); len(r.Weak) > 0 {
			t.Errorf("lifting another case touched this one: %v", r.Weak)
		}
	})
}

func withoutTimers(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "expires") && !strings.Contains(line, "elements") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestLiftPutsTheNamespaceBack(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, _ := wire(t)
		target.nft(t, "add", "table", "inet", "somebody-elses")
		before, qdiscs := target.nft(t, "list", "ruleset"), target.qdiscs(t)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		for range 2 {
			target.must(t, func() error { return Lift(t.Context(), theCase) })
		}
		if after := target.nft(t, "list", "ruleset"); after != before {
			t.Errorf("after the lift:\n%s\nbefore the cut:\n%s", after, before)
		}
		if after := target.qdiscs(t); after != qdiscs {
			t.Errorf("queueing disciplines after the lift: %s, before the cut: %s", after, qdiscs)
		}
		target.do(func() {
			if _, err := Report(t.Context(), theCase); !errors.Is(err, ErrNoCut) {
				t.Errorf("report after the lift: %v, want ErrNoCut", err)
			}
		})
	})
}

func TestLiftLeavesAQueueingDisciplineThatOthersUse(t *testing.T) {
	target, _ := wire(t)
	target.must(t, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(clsactQdisc(l.Attrs().Index))
	})
	before := target.qdiscs(t)
	target.cutHere(t, agent.Cut{Case: theCase}, clsactEgress)
	target.must(t, func() error { return Lift(t.Context(), theCase) })
	if after := target.qdiscs(t); after != before {
		t.Errorf("queueing disciplines after the lift: %s, before the cut: %s", after, before)
	}
}

func (s *space) qdiscs(t *testing.T) string {
	t.Helper()
	var out string
	s.must(t, func() error {
		qs, err := netlink.QdiscList(nil)
		for _, q := range qs {
			out += fmt.Sprintf("%s %d %x; ", q.Type(), q.Attrs().LinkIndex, q.Attrs().Parent)
		}
		return err
	})
	return out
}

func TestNodesNamespaceIsRefused(t *testing.T) {
	target, _ := wire(t)
	for _, addr := range []string{target4, target6, "::ffff:" + target4} {
		before := target.nft(t, "list", "ruleset")
		target.do(func() {
			_, err := Cut(t.Context(), agent.Cut{Case: theCase, NodeAddrs: []netip.Addr{ip("192.0.2.9"), ip(addr)}})
			if !errors.Is(err, agent.ErrNodeNetwork) {
				t.Errorf("cut where %s is the node's: %v, want ErrNodeNetwork", addr, err)
			}
		})
		if after := target.nft(t, "list", "ruleset"); after != before {
			t.Errorf("a refused cut left %s", after)
		}
	}
	target.do(func() {
		if _, err := Cut(t.Context(), agent.Cut{Case: theCase, NodeAddrs: []netip.Addr{ip("127.0.0.1"), ip("::1"), ip(node4)}}); err != nil {
			t.Errorf("cut beside the node: %v", err)
		}
	})
}

func TestDeviceThatCameLaterIsHeldAndNamed(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		peer.serve(t, "", 443)
		c := agent.Cut{Case: theCase, Holes: probeHoles()}
		target.cutHere(t, c, way)
		target.must(t, func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "wire1", PeerNamespace: netlink.NsFd(peer.fd)})
		})
		target.must(t, func() error { return up("eth1", "10.8.0.2/24") })
		peer.must(t, func() error { return up("wire1", "10.8.0.1/24") })
		target.doesNotReach(t, "10.8.0.2", "10.8.0.1", 443)
		r := target.report(t)
		if !slices.Equal(r.Uncovered, []string{"eth1"}) || !slices.Equal(r.Devices, []string{"eth0"}) || len(r.Weak) != 1 {
			t.Errorf("report: %+v", r)
		}
		r = target.cutHere(t, c, way)
		if len(r.Uncovered) > 0 || !slices.Equal(r.Devices, []string{"eth0", "eth1"}) || len(r.Weak) > 0 {
			t.Errorf("cut again: %+v", r)
		}
		target.must(t, func() error {
			l, err := netlink.LinkByName("eth1")
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		})
		if r := target.report(t); len(r.Weak) > 0 || !slices.Equal(r.Devices, []string{"eth0"}) {
			t.Errorf("after the device went: %+v", r)
		}
	})
}

func TestChangedRulesAreToldAndPutBack(t *testing.T) {
	for name, change := range map[string][]string{
		"a rule more":     {"insert", "rule", "netdev", prefix + theCase, "in", "accept"},
		"a chain emptied": {"flush", "chain", "inet", prefix + theCase, "out"},
		"a table gone":    {"delete", "table", "netdev", prefix + theCase},
		"a policy":        {"add", "chain", "inet", prefix + theCase, "out-inet", "{ policy accept ; }"},
		"a peer":          {"add", "element", "netdev", prefix + theCase, "peer4", "{ 10.9.0.3 }"},
		"a hole":          {"add", "element", "inet", prefix + theCase, "hole4", "{ 10.9.0.3 . 9090 }"},
		"a chain more":    {"add", "chain", "inet", prefix + theCase, "mine"},
		"the comments":    {"flush", "chain", "inet", prefix + theCase, "about"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, peer := wire(t)
			peer.serve(t, "", 443)
			c := agent.Cut{Case: theCase, Holes: probeHoles()}
			target.cutHere(t, c, netdevEgress)
			target.nft(t, change...)
			if r := target.report(t); len(r.Weak) == 0 {
				t.Errorf("nft %v is not told: %+v", change, r)
			}
			if r := target.cutHere(t, c, netdevEgress); len(r.Weak) > 0 {
				t.Errorf("nft %v is not put right: %v", change, r.Weak)
			}
			target.doesNotReach(t, target4, node4, 443)
			target.must(t, func() error { return Lift(t.Context(), theCase) })
		})
	}
}

func TestCutWithoutIPv6(t *testing.T) {
	target, peer := wire(t)
	target.must(t, func() error { return sysctl("net/ipv6/conf/all/disable_ipv6", "1") })
	target.serve(t, "0.0.0.0", probePort)
	peer.serve(t, "", 443)
	if r := target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, netdevEgress); len(r.Weak) > 0 {
		t.Errorf("report: %+v", r)
	}
	peer.reaches(t, node4, target4, probePort)
	target.doesNotReach(t, target4, node4, 443)
	target.must(t, func() error { return Lift(t.Context(), theCase) })
	target.reaches(t, target4, node4, 443)
}

// Many peers and ports make a transaction larger than the socket's usual room.
func TestLargeCutIsTaken(t *testing.T) {
	target, peer := wire(t)
	target.serve(t, "", probePort)
	c := agent.Cut{Case: theCase, Holes: probeHoles()}
	for peer := range 40 {
		for port := range 5 {
			c.Holes = append(c.Holes, evidence.Hole{Peer: netip.AddrFrom4([4]byte{10, 1, 0, byte(peer + 1)}), Port: uint16(9000 + port), Why: "node address"})
		}
	}
	r := target.cutHere(t, c, netdevEgress)
	t.Logf("the cut with %d holes took %s", len(r.Holes), r.Took)
	if len(r.Holes) != 202 || len(r.Weak) > 0 {
		t.Errorf("%d holes, weak %v", len(r.Holes), r.Weak)
	}
	peer.reaches(t, node4, target4, probePort)
}

func TestBadCutsAreRefused(t *testing.T) {
	target, _ := wire(t)
	for name, c := range map[string]agent.Cut{
		"no case":         {},
		"case with quote": {Case: `a"b`},
		"hole to all":     {Case: theCase, Holes: []evidence.Hole{{Peer: ip("0.0.0.0"), Port: 1}}},
		"hole to group":   {Case: theCase, Holes: []evidence.Hole{{Peer: ip("ff02::1"), Port: 1}}},
		"hole, no port":   {Case: theCase, Holes: []evidence.Hole{{Peer: ip(node4)}}},
		"allow nothing":   {Case: theCase, Allow: []evidence.Allow{{}}},
		"allow icmp":      {Case: theCase, Allow: []evidence.Allow{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Proto: "icmp"}}},
	} {
		target.do(func() {
			if _, err := Cut(t.Context(), c); err == nil {
				t.Errorf("%s: no error", name)
			}
		})
	}
	if left := target.nft(t, "list", "ruleset"); left != "" {
		t.Errorf("refused cuts left %s", left)
	}
}

// docs/cut.md promises that these commands are enough when irkit is gone.
func TestLiftByHand(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		peer.serve(t, "", 443)
		before, qdiscs := target.nft(t, "list", "ruleset"), target.qdiscs(t)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		tables := target.nft(t, "list", "tables")
		for line := range strings.Lines(tables) {
			f := strings.Fields(line) // table FAMILY NAME
			target.nft(t, "delete", f[0], f[1], f[2])
		}
		if way == clsactEgress {
			target.run(t, "tc", "filter", "del", "dev", "eth0", "egress", "prio", "1")
			target.run(t, "tc", "qdisc", "del", "dev", "eth0", "clsact")
		}
		if after := target.nft(t, "list", "ruleset"); after != before {
			t.Errorf("by hand this is left: %s", after)
		}
		if after := target.qdiscs(t); after != qdiscs {
			t.Errorf("queueing disciplines %s, before the cut %s", after, qdiscs)
		}
		target.reaches(t, target4, node4, 443)
	})
}

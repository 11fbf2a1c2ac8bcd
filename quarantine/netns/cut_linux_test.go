package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

func eachWay(t *testing.T, f func(t *testing.T, way egress)) {
	for _, way := range ways() {
		t.Run(string(way), func(t *testing.T) { t.Parallel(); f(t, way) })
	}
}

func TestCutStopsWhatStoodAndWhatIsNew(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", 9090)
		peer.serve(t, "", 443)
		var standing []net.Conn
		for _, v := range [][2]string{{target4, node4}, {target6, node6}, {target4, beyond4}, {target6, beyond6}} {
			c, err := target.dial(v[0], 0, v[1], 443, trust)
			if err != nil {
				t.Fatalf("before the cut %s does not reach %s: %v", v[0], v[1], err)
			}
			standing = append(standing, c)
		}
		in, err := peer.dial(node4, 0, target4, 9090, trust)
		if err != nil {
			t.Fatal(err)
		}
		r := target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		t.Logf("the cut took %s", r.Took)
		if !slices.Contains(r.Hooks, string(way)) || !slices.Contains(r.Hooks, "inet") || !slices.Contains(r.Hooks, "netdev-ingress") ||
			!slices.Equal(r.Devices, []string{"eth0"}) || len(r.Weak) > 0 || len(r.Uncovered) > 0 || r.Installed.IsZero() {
			t.Errorf("report: %+v", r)
		}
		for _, c := range append(standing, in) {
			if err := echo(c, patience); err == nil {
				t.Errorf("the flow %s to %s lives on", c.LocalAddr(), c.RemoteAddr())
			}
		}
		target.doesNotReach(t, target4, node4, 443)
		target.doesNotReach(t, target6, node6, 443)
		target.doesNotReach(t, target4, beyond4, 443)
		peer.doesNotReach(t, node4, target4, 9090)
		peer.doesNotReach(t, node6, target6, 9090)
		var moving []evidence.Flow
		target.must(t, func() (err error) { moving, _, err = Settle(t.Context(), patience); return err })
		if len(moving) > 0 {
			t.Errorf("flows move after the cut: %+v", moving)
		}
		r = target.report(t)
		if r.DroppedIn == 0 || r.DroppedOut == 0 {
			t.Errorf("nothing was counted as dropped: %+v", r)
		}
		target.must(t, func() error { return Lift(t.Context(), theCase) })
		target.reaches(t, target4, node4, 443)
		peer.reaches(t, node6, target6, 9090)
	})
}

func TestSettleSeesAFlowThatMoves(t *testing.T) {
	target, peer := wire(t)
	peer.serve(t, "", 443)
	c, err := target.dial(target4, 0, node4, 443, trust)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				_ = echo(c, trust)
			}
		}
	}()
	var moving, flows []evidence.Flow
	target.must(t, func() (err error) { moving, flows, err = Settle(t.Context(), patience); return err })
	close(stop)
	<-stopped
	is := func(f evidence.Flow) bool { return f.Local.String() == c.LocalAddr().String() }
	if !slices.ContainsFunc(moving, is) || !slices.ContainsFunc(flows, is) {
		t.Errorf("moving %+v, flows %+v: want %s in both", moving, flows, c.LocalAddr())
	}
}

func TestProbesLive(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", probePort)
		target.serve(t, "", 9090)
		peer.serve(t, "", 443)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		// The neighbour tables of both sides are emptied: resolution must work too.
		for _, s := range []*space{target, peer} {
			s.must(t, forgetNeighbours)
		}
		for range 10 {
			peer.reaches(t, node4, target4, probePort)
			peer.reaches(t, node6, target6, probePort)
		}
		peer.doesNotReach(t, node4, target4, 9090)
		peer.doesNotReach(t, stranger4, target4, probePort)
		peer.doesNotReach(t, stranger6, target6, probePort)
		// From the port of the hole the target itself gets nowhere.
		for _, v := range [][2]string{{target4, node4}, {target6, node6}} {
			c, err := target.dialReusing(v[0], probePort, v[1], 443, patience)
			mustBeSilence(t, c, err)
		}
		r := target.report(t)
		if len(r.Holes) != 2 {
			t.Fatalf("holes: %+v", r.Holes)
		}
		for _, h := range r.Holes {
			if h.PacketsIn < 40 || h.PacketsOu < 20 || h.BytesIn == 0 || h.BytesOut == 0 || h.Why != "node address" {
				t.Errorf("hole counts: %+v", h)
			}
		}
	})
}

// The kernel would let the node's connection to the probe port live on through the hole;
// whoever stood on it before the cut might be anyone.
func TestFlowThatStoodOnTheHoleIsDropped(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", probePort)
		peer.serve(t, "", 443)
		in, err := peer.dial(node4, 0, target4, probePort, trust)
		if err != nil {
			t.Fatal(err)
		}
		in6, err := peer.dial(node6, 0, target6, probePort, trust)
		if err != nil {
			t.Fatal(err)
		}
		out, err := target.dialReusing(target4, probePort, node4, 443, trust)
		if err != nil {
			t.Fatal(err)
		}
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		for _, c := range []net.Conn{in, in6, out} {
			if err := echo(c, patience); err == nil {
				t.Errorf("the flow %s to %s lives on through the hole", c.LocalAddr(), c.RemoteAddr())
			}
		}
		peer.reaches(t, node4, target4, probePort)
	})
}

func TestAllowedHostIsReachedBothWays(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", 7000)
		target.serve(t, "", 9090)
		peer.serve(t, "", 7000)
		peer.serve(t, "", 443)
		allow := []evidence.Allow{
			{Prefix: netip.MustParsePrefix("10.9.0.3/32"), Port: 7000, Proto: "tcp"},
			{Prefix: netip.MustParsePrefix("fd00:77::/64")},
		}
		r := target.cutHere(t, agent.Cut{Case: theCase, Allow: allow}, way)
		if !slices.Equal(r.Allowed, allow) {
			t.Errorf("allowed: %+v", r.Allowed)
		}
		for _, s := range []*space{target, peer} {
			s.must(t, forgetNeighbours)
		}
		target.reaches(t, target4, stranger4, 7000)
		peer.reaches(t, stranger4, target4, 7000)
		target.reaches(t, target6, beyond6, 443)
		peer.reaches(t, beyond6, target6, 9090)
		target.doesNotReach(t, target4, stranger4, 443)
		target.doesNotReach(t, target4, node4, 7000)
		peer.doesNotReach(t, stranger4, target4, 9090)
		target.doesNotReach(t, target6, node6, 443)
	})
}

func TestAttemptsAreKept(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, _ := wire(t)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		target.doesNotReach(t, target4, beyond4, 4444)
		target.doesNotReach(t, target6, beyond6, 4444)
		target.do(func() {
			for _, to := range []string{beyond4, beyond6} {
				if c, err := net.Dial("udp", join2(to, 53)); err == nil {
					_, _ = c.Write([]byte("question"))
					c.Close()
				}
			}
		})
		target.ping(t, target4, stranger4, 0)
		r := target.report(t)
		for _, want := range []evidence.Attempt{
			{Proto: 6, Addr: ip(beyond4), Port: 4444}, {Proto: 6, Addr: ip(beyond6), Port: 4444},
			{Proto: 17, Addr: ip(beyond4), Port: 53}, {Proto: 17, Addr: ip(beyond6), Port: 53},
			{Proto: 1, Addr: ip(stranger4)},
		} {
			if !slices.ContainsFunc(r.Attempts, func(a evidence.Attempt) bool {
				return a.Proto == want.Proto && a.Addr == want.Addr && a.Port == want.Port && a.Packets > 0
			}) {
				t.Errorf("attempt %+v is not kept: %+v", want, r.Attempts)
			}
		}
		if slices.ContainsFunc(r.Attempts, func(a evidence.Attempt) bool { return a.Addr.IsMulticast() }) {
			t.Errorf("the kernel's own chatter is among the attempts: %+v", r.Attempts)
		}
	})
}

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

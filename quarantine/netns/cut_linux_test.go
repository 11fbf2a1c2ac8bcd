package netns

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

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
		defer runtime.KeepAlive(&standing) // a collected connection would be closed
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

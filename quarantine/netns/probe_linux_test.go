package netns

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// resolve answers DNS questions on an address with a refusal, which is an answer.
func (s *space) resolve(t *testing.T, addr string) {
	t.Helper()
	s.must(t, func() error {
		c, err := net.ListenPacket("udp", join2(addr, 53))
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 1500)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				stray := append([]byte(nil), b[:n]...)
				stray[0] ^= 0xff
				stray[2] |= 0x80
				_, _ = c.WriteTo(stray, from) // another's answer first
				b[2], b[3] = b[2]|0x80, 5
				_, _ = c.WriteTo(b[:n], from)
			}
		}()
		return nil
	})
}

func probeOf(proto, addr string, port int) evidence.Probe {
	return evidence.Probe{Name: proto + " " + addr, Proto: proto, Addr: netip.AddrPortFrom(ip(addr), uint16(port))}
}

func (s *space) probe(t *testing.T, limit time.Duration, probes ...evidence.Probe) []evidence.ProbeResult {
	t.Helper()
	var rs []evidence.ProbeResult
	s.do(func() { rs = Probe(t.Context(), probes, limit) })
	if len(rs) != len(probes) {
		t.Fatalf("%d results of %d probes", len(rs), len(probes))
	}
	return rs
}

func TestProbeTellsAnswersFromTheRest(t *testing.T) {
	target, peer := wire(t)
	peer.serve(t, "", 443)
	peer.resolve(t, node4)
	peer.resolve(t, node6)
	peer.nft(t, "add", "table", "inet", "fence")
	peer.nft(t, "add", "chain", "inet", "fence", "in", "{ type filter hook input priority 0 ; }")
	peer.nft(t, "add", "rule", "inet", "fence", "in", "tcp", "dport", "1001", "reject", "with", "icmpx", "port-unreachable")
	peer.nft(t, "add", "rule", "inet", "fence", "in", "tcp", "dport", "1002", "drop")
	cases := []struct {
		probe    evidence.Probe
		answered bool
		says     string
	}{
		{probeOf("tcp", node4, 443), true, ""},
		{probeOf("tcp", node6, 443), true, ""},
		{probeOf("tcp", node4, 444), true, "reset"},
		{probeOf("tcp", node6, 444), true, "reset"},
		{probeOf("tcp", node4, 1001), false, "ICMP"},
		{probeOf("tcp", node6, 1001), false, "ICMP"},
		{probeOf("tcp", node4, 1002), false, "no answer"},
		{probeOf("tcp", "10.200.0.1", 443), false, "unreachable"},
		{probeOf("udp", node4, 53), true, ""},
		{probeOf("udp", node6, 53), true, ""},
		{probeOf("udp", node4, 54), false, "ICMP"},
		{probeOf("udp", node6, 54), false, "ICMP"},
		{probeOf("sctp", node4, 54), false, "tcp or udp"},
		{evidence.Probe{Proto: "tcp"}, false, "address"},
		{evidence.Probe{Proto: "tcp", Addr: netip.MustParseAddrPort("10.9.0.1:443"), Inbound: true}, false, "outside"},
	}
	var probes []evidence.Probe
	for _, c := range cases {
		probes = append(probes, c.probe)
	}
	for i, r := range target.probe(t, time.Second, probes...) {
		c := cases[i]
		if r.Probe != c.probe || r.Answered != c.answered || !strings.Contains(r.Error, c.says) || c.says == "" && r.Error != "" {
			t.Errorf("probe %s %s: answered %v, %q; want %v, %q", c.probe.Proto, c.probe.Addr, r.Answered, r.Error, c.answered, c.says)
		}
		if r.At.IsZero() {
			t.Errorf("probe %s has no time", c.probe.Addr)
		}
	}
	var left []evidence.Flow
	target.must(t, func() (err error) { left, err = Flows(t.Context()); return err })
	if len(left) > 0 {
		t.Errorf("the probes left %+v", left)
	}
}

func TestProbeAfterTheCutHearsNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		peer.serve(t, "", 443)
		peer.resolve(t, node4)
		probes := []evidence.Probe{probeOf("tcp", node4, 443), probeOf("tcp", node6, 444), probeOf("udp", node4, 53)}
		for _, r := range target.probe(t, time.Second, probes...) {
			if !r.Answered {
				t.Fatalf("before the cut: %+v", r)
			}
		}
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		for _, r := range target.probe(t, patience, probes...) {
			if r.Answered || r.Error == "" || r.Pinhole {
				t.Errorf("after the cut: %+v", r)
			}
		}
	})
}

func TestPinholeLetsOneFiveTupleThroughAndClosesByItself(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		peer.serve(t, "", 443)
		peer.resolve(t, node6)
		holes := append(probeHoles(), evidence.Hole{Peer: ip(stranger4), Port: probePort, Why: "default gateway"})
		target.cutHere(t, agent.Cut{Case: theCase, Holes: holes}, way)
		target.must(t, forgetNeighbours)
		probes := []evidence.Probe{probeOf("tcp", node4, 443), probeOf("tcp", beyond4, 443), probeOf("tcp", beyond6, 443),
			probeOf("tcp", stranger4, 444), probeOf("udp", node6, 53)}
		before := target.report(t)
		var rs []evidence.ProbeResult
		target.must(t, func() (err error) {
			rs, err = ProbeThroughPinhole(t.Context(), theCase, probes, 900*time.Millisecond)
			return err
		})
		for _, r := range rs {
			if !r.Answered || !r.Pinhole {
				t.Errorf("through the pinhole: %+v", r)
			}
		}
		target.doesNotReach(t, target4, node4, 443)
		time.Sleep(pinholeFor + 200*time.Millisecond)
		if open := target.nft(t, "list", "set", "inet", prefix+theCase, "pin4"); strings.Contains(open, "elements") {
			t.Errorf("the pinhole is still there: %s", open)
		}
		after := target.report(t)
		if len(after.Weak) > 0 || len(after.Holes) != len(before.Holes) {
			t.Errorf("after the pinhole: %+v", after)
		}
	})
}

// A connection opened through a pinhole must not outlive it.
func TestPinholeClosesOnTheConnectionToo(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		target.serve(t, "", 9090)
		target.serve(t, "", 9091)
		target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, way)
		peer.doesNotReach(t, node4, target4, 9090)
		target.must(t, func() error {
			return errors.Join(OpenInbound(t.Context(), theCase, agent.Inbound{Peer: ip(node4), Port: 9090}),
				OpenInbound(t.Context(), theCase, agent.Inbound{Peer: ip(node6), Port: 9090}))
		})
		c4, err := peer.dial(node4, 0, target4, 9090, 900*time.Millisecond)
		if err != nil {
			t.Fatalf("through the inbound pinhole: %v", err)
		}
		c6, err := peer.dial(node6, 0, target6, 9090, 900*time.Millisecond)
		if err != nil {
			t.Errorf("through the inbound pinhole: %v", err)
		}
		time.Sleep(pinholeFor + 200*time.Millisecond)
		for _, c := range []net.Conn{c4, c6} {
			if c != nil && echo(c, patience) == nil {
				t.Errorf("the flow from %s outlives the pinhole", c.LocalAddr())
			}
		}
		peer.doesNotReach(t, node4, target4, 9090)
		peer.doesNotReach(t, node4, target4, 9091)
		if r := target.report(t); len(r.Weak) > 0 {
			t.Errorf("after the pinhole: %v", r.Weak)
		}
	})
}

// What keeps a probe from its answer must be the policy outside, never the cut's own
// silence about whose address belongs to what card.
func TestPinholeResolvesWhoIsNoPeer(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, peer := wire(t)
		peer.serve(t, "", 443)
		target.serve(t, "", 9090)
		target.cutHere(t, agent.Cut{Case: theCase}, way)
		for _, s := range []*space{target, peer} {
			s.must(t, forgetNeighbours)
		}
		probes := []evidence.Probe{probeOf("tcp", beyond4, 443), probeOf("tcp", beyond6, 443), probeOf("tcp", stranger4, 443), probeOf("tcp", stranger6, 443)}
		var rs []evidence.ProbeResult
		target.must(t, func() (err error) {
			rs, err = ProbeThroughPinhole(t.Context(), theCase, probes, 900*time.Millisecond)
			return err
		})
		for _, r := range rs {
			if !r.Answered {
				t.Errorf("through the pinhole: %+v", r)
			}
		}
		time.Sleep(pinholeFor + 200*time.Millisecond)
		for _, s := range []*space{target, peer} {
			s.must(t, forgetNeighbours)
		}
		target.must(t, func() error { return OpenInbound(t.Context(), theCase, agent.Inbound{Peer: ip(stranger4), Port: 9090}) })
		c, err := peer.dial(stranger4, 0, target4, 9090, 900*time.Millisecond)
		if err != nil {
			t.Fatalf("through the inbound pinhole: %v", err)
		}
		c.Close()
	})
}

func TestPinholesNeedACut(t *testing.T) {
	target, _ := wire(t)
	target.do(func() {
		if _, err := ProbeThroughPinhole(t.Context(), theCase, []evidence.Probe{probeOf("tcp", node4, 443)}, time.Second); !errors.Is(err, ErrNoCut) {
			t.Errorf("pinhole without a cut: %v", err)
		}
		if err := OpenInbound(t.Context(), theCase, agent.Inbound{Peer: ip(node4), Port: 1}); !errors.Is(err, ErrNoCut) {
			t.Errorf("inbound pinhole without a cut: %v", err)
		}
		if err := OpenInbound(t.Context(), theCase, agent.Inbound{}); err == nil || errors.Is(err, ErrNoCut) {
			t.Errorf("inbound pinhole for nobody: %v", err)
		}
	})
}

func TestAFXDPSocketIsNamed(t *testing.T) {
	target, _ := wire(t)
	target.do(func() {
		if weak, err := Weak(t.Context(), 0); err != nil || len(weak) > 0 {
			t.Errorf("weak: %v, %v", weak, err)
		}
		fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Logf("no AF_XDP socket may be opened, so that none is looked for: %v", err)
			return
		}
		defer unix.Close(fd)
		if weak, err := Weak(t.Context(), 0); err != nil || len(weak) != 1 || !strings.Contains(weak[0], "AF_XDP") {
			t.Errorf("weak: %v, %v; want the AF_XDP socket named", weak, err)
		}
	})
}

// The test itself stands for a target with every capability.
func TestTargetWithNetAdminIsNamed(t *testing.T) {
	target, _ := wire(t)
	child := target.sleeper(t)
	target.do(func() {
		weak, err := Weak(t.Context(), child)
		if err != nil || len(weak) != 1 || !strings.Contains(weak[0], "NET_ADMIN") {
			t.Errorf("weak: %v, %v; want process %d named for NET_ADMIN", weak, err, child)
		}
		if weak, err := Weak(t.Context(), 0); err != nil || len(weak) > 0 {
			t.Errorf("our own child counts as the target's: %v, %v", weak, err)
		}
	})
	if os.Getpid() == child {
		t.Fatal("the child is the test")
	}
}

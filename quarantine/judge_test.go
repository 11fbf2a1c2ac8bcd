package quarantine_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

var t0 = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

func probe(name, addr string) evidence.Probe {
	return evidence.Probe{Name: name, Proto: "tcp", Addr: netip.MustParseAddrPort(addr)}
}

func inbound() evidence.Probe {
	p := probe("inbound", "10.0.0.7:8080")
	p.Inbound = true
	return p
}

func result(p evidence.Probe, ms int, ok bool) evidence.ProbeResult {
	r := evidence.ProbeResult{Probe: p, At: at(ms), Answered: ok}
	if !ok {
		r.Error = "i/o timeout"
	}
	return r
}

// comparison is a try of the probe pod's that was answered.
func comparison(p evidence.Probe, ms int) evidence.ProbeResult {
	r := result(p, ms, true)
	r.Compared = true
	return r
}

func flow(local, remote, state string) evidence.Flow {
	return evidence.Flow{Proto: "tcp", Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote), State: state}
}

var (
	api  = probe("api-server", "10.96.0.1:443")
	dns  = probe("dns-tcp", "10.96.0.10:53")
	node = probe("node", "192.0.2.1:10250")
	c2   = flow("10.0.0.7:40000", "198.51.100.5:4444", "ESTABLISHED")
)

// contained is a measurement in which everything held; rows below spoil it.
func contained() quarantine.Measurements {
	s := quarantine.Scene{Target: target(), CNI: quarantine.CNI{Name: "cilium", Enforces: quarantine.Enforces}, Pod: *pod("")}
	m := quarantine.Measurements{Scene: s, Case: "c-1", Started: t0, Ended: at(40000),
		Applied:     []quarantine.Applied{{Layer: "netns", At: at(250)}, {Layer: "label", At: at(100)}, {Layer: "netpol", At: at(120)}, {Layer: "detach", At: at(300)}, {Layer: "cordon", Error: "not allowed"}},
		Cut:         &evidence.CutReport{Installed: at(250), Holes: []evidence.Hole{{Peer: netip.MustParseAddr("192.0.2.1"), Port: 8080, PacketsIn: 40, BytesIn: 4000, PacketsOu: 40, BytesOut: 9000}}},
		FlowsBefore: []evidence.Flow{c2, flow("0.0.0.0:8080", "0.0.0.0:0", "LISTEN")},
	}
	for _, p := range []evidence.Probe{api, dns, node} {
		m.Baseline = append(m.Baseline, result(p, 50, true))
		m.After = append(m.After, result(p, 400, false))
		m.PinholeOut = append(m.PinholeOut, result(p, 1000, true), result(p, 9000, true), result(p, 12000, false), result(p, 15000, false))
	}
	m.OutsideBefore = []evidence.ProbeResult{result(inbound(), 60, true)}
	m.OutsideAfter = []evidence.ProbeResult{result(inbound(), 500, false)}
	m.PinholeIn = []evidence.ProbeResult{result(inbound(), 1000, true), result(inbound(), 12500, false)}
	return m
}

func without(m *quarantine.Measurements, layer string) {
	for i := range m.Applied {
		if m.Applied[i].Layer == layer {
			m.Applied[i].Error = "refused"
		}
	}
	if layer == quarantine.LayerNetns {
		m.Cut, m.PinholeIn, m.PinholeOut = nil, nil, nil
	}
}

func TestJudge(t *testing.T) {
	allowAll := policy(t, "podSelector: {}\npolicyTypes: [Ingress, Egress]\ningress: [{}]\negress: [{}]\n")
	allowAll.Name = "allow-all"
	const C, N, P, U, F = evidence.Contained, evidence.ContainedNewOnly, evidence.Partial, evidence.Unverified, evidence.Failed
	yes, no := true, false
	for name, c := range map[string]struct {
		spoil    func(*quarantine.Measurements)
		all      evidence.State
		out, in  evidence.State
		enforced *bool
		says     string
	}{
		"everything held": {func(*quarantine.Measurements) {}, C, C, C, &yes, "held by netns"},
		"no network layer": {func(m *quarantine.Measurements) {
			without(m, "netns")
			without(m, "netpol")
		}, F, F, F, nil, "no layer that stops traffic"},
		"host network": {func(m *quarantine.Measurements) { m.Scene.Pod.Spec.HostNetwork = true }, F, F, F, &yes, "node's network"},
		"one target still answers": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.After[0].Answered = true
		}, P, P, C, nil, "api-server tcp/10.96.0.1:443"},
		"every target still answers": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			for i := range m.After {
				m.After[i].Answered = true
			}
		}, F, F, C, nil, "still works"},
		"nothing had answered before": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered = false
			}
		}, U, U, C, nil, "silence proves nothing"},
		"nothing had answered, but a flow that moved stopped": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			m.Baseline, m.MovedBefore = nil, []evidence.Flow{c2}
		}, C, C, C, nil, "nothing that answered"},
		"nothing had answered, and the flow goes on": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			m.Baseline, m.MovedBefore, m.Moving = nil, []evidence.Flow{c2}, []evidence.Flow{c2}
		}, U, U, C, nil, "still moves"},
		"an established flow goes on": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.Moving = []evidence.Flow{c2}
		}, N, N, C, nil, "198.51.100.5:4444"},
		"an established flow towards us goes on": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.Moving = []evidence.Flow{flow("10.0.0.7:8080", "10.0.0.8:5000", "ESTABLISHED")}
		}, N, C, N, nil, "still moves"},
		"the kubelet's probe through its hole is no flow": {func(m *quarantine.Measurements) {
			m.Moving = []evidence.Flow{flow("10.0.0.7:8080", "192.0.2.1:5000", "ESTABLISHED")}
		}, C, C, C, &yes, "held by"},
		"loopback is no flow": {func(m *quarantine.Measurements) {
			m.Moving = []evidence.Flow{flow("127.0.0.1:8080", "127.0.0.1:5000", "ESTABLISHED")}
		}, C, C, C, &yes, "held by"},
		"no probe pod": {func(m *quarantine.Measurements) { m.OutsideBefore, m.OutsideAfter, m.PinholeIn = nil, nil, nil }, P, C, P, &yes, "were not measured"},
		"inbound still works": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.OutsideAfter[0].Answered = true
		}, F, C, F, nil, "inbound: still works"},
		"no look from outside before, but a pinhole let it through": {func(m *quarantine.Measurements) { m.OutsideBefore = nil }, C, C, C, &yes, "held by netns"},
		"no look from outside before, and the port listened": {func(m *quarantine.Measurements) {
			m.OutsideBefore, m.PinholeIn = nil, []evidence.ProbeResult{result(inbound(), 1000, false)}
			m.Reachable = []evidence.ProbeResult{result(dns, 900, true)}
		}, C, C, C, &yes, "held by netns"},
		"the port listened, but the probe pod reaches nobody": {func(m *quarantine.Measurements) {
			m.OutsideBefore, m.PinholeIn = nil, []evidence.ProbeResult{result(inbound(), 1000, false)}
			m.Reachable = []evidence.ProbeResult{result(dns, 900, false), result(api, 900, true)}
		}, P, C, P, &yes, "were not measured"},
		"the port listened, but policies kept the probe pod out before": {func(m *quarantine.Measurements) {
			m.OutsideBefore, m.PinholeIn = nil, []evidence.ProbeResult{result(inbound(), 1000, false)}
			m.Reachable = []evidence.ProbeResult{result(dns, 900, true)}
			m.Scene.Policies = []networkingv1.NetworkPolicy{policy(t, "podSelector: {}\npolicyTypes: [Ingress]\n")}
		}, P, C, P, &yes, "were not measured"},
		"nothing listened on the port": {func(m *quarantine.Measurements) {
			m.OutsideBefore, m.PinholeIn = nil, []evidence.ProbeResult{result(inbound(), 1000, false)}
			m.Reachable = []evidence.ProbeResult{result(dns, 900, true)}
			m.FlowsBefore = []evidence.Flow{flow("127.0.0.1:8080", "0.0.0.0:0", "LISTEN")}
		}, P, C, P, &yes, "were not measured"},
		"a closed port that refuses tells too": {func(m *quarantine.Measurements) {
			m.OutsideBefore[0].Answered, m.OutsideBefore[0].Error = false, "connect: connection refused"
		}, C, C, C, &yes, "held by"},
		"a closed port that still refuses": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeIn = nil
			m.OutsideBefore[0].Answered, m.OutsideBefore[0].Error = false, "connect: connection refused"
			m.OutsideAfter[0].Error = "connect: connection refused"
		}, F, C, F, nil, "still works"},
		"a refusal after an answer is a stop": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.After[0].Error = "connect: connection refused"
		}, C, C, C, nil, "held by"},
		"a cut that the target can undo, no policy": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.Cut.Weak = []string{"container web has NET_ADMIN"}
		}, P, P, P, nil, "only a brake"},
		"a cut that the target can undo, and a policy that holds": {func(m *quarantine.Measurements) {
			m.Cut.Weak = []string{"container web has NET_ADMIN"}
		}, N, N, C, &yes, "not measured"},
		"a policy that the target can delete, alone": {func(m *quarantine.Measurements) {
			without(m, "netns")
			m.Undoes = map[string]string{"netpol": "its account may delete it"}
		}, P, P, P, &yes, "its account may delete it"},
		"policy alone holds": {func(m *quarantine.Measurements) { without(m, "netns") }, C, C, C, &yes, "held by netpol"},
		"policy alone, established goes on": {func(m *quarantine.Measurements) {
			without(m, "netns")
			m.Moving = []evidence.Flow{c2}
		}, N, N, C, &yes, "still moves"},
		"policy alone, someone's allow stands": {func(m *quarantine.Measurements) {
			without(m, "netns")
			m.Scene.Policies = []networkingv1.NetworkPolicy{allowAll}
		}, P, P, P, &yes, "policy allow-all still lets through"},
		"cut holds, someone's allow stands": {func(m *quarantine.Measurements) {
			m.Scene.Policies = []networkingv1.NetworkPolicy{allowAll}
		}, C, C, C, &yes, "held by netns"},
		"policy is not enforced, the cut holds": {func(m *quarantine.Measurements) {
			m.Scene.CNI = quarantine.CNI{Enforces: quarantine.Unknown}
			for i := range m.PinholeOut {
				m.PinholeOut[i].Answered = true
				m.PinholeOut[i].At = m.PinholeOut[i].At.Add(5 * time.Second)
			}
			m.PinholeIn[1].Answered = true
		}, C, C, C, &no, "what holds instead is the cut"},
		"policy is not enforced and alone": {func(m *quarantine.Measurements) {
			without(m, "netns")
			m.Scene.CNI = quarantine.CNI{Enforces: quarantine.Unknown}
			for i := range m.After {
				m.After[i].Answered, m.After[i].At = true, at(20000)
			}
			m.OutsideAfter[0].Answered = true
		}, F, F, F, &no, "is not enforced"},
		"policy was not measured for long enough to say": {func(m *quarantine.Measurements) {
			for i := range m.PinholeOut {
				m.PinholeOut[i].Answered = true
			}
			m.PinholeIn[1].Answered = true
		}, C, C, C, nil, "held by netns"},
		"only the node passes the policy": {func(m *quarantine.Measurements) {
			for i := range m.PinholeOut {
				if m.PinholeOut[i].Name == "node" {
					m.PinholeOut[i].Answered = true
				}
			}
		}, C, C, C, &yes, "held by netns"},
		"the policy without its label": {func(m *quarantine.Measurements) {
			without(m, "netns")
			without(m, "label")
		}, F, F, F, nil, "does not carry the label"},
		"a layer held before the baseline: what the probe pod reaches counts": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(200)
			}
			m.Reachable = []evidence.ProbeResult{result(api, 30000, true)}
		}, C, C, C, nil, "held by netns"},
		"nothing held before the baseline: what the probe pod reaches does not count": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(20)
			}
			m.Reachable = []evidence.ProbeResult{result(api, 30000, true)}
		}, U, U, C, nil, "silence proves nothing"},
		"what policies forbade before does not count": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			m.Scene.Policies = []networkingv1.NetworkPolicy{policy(t, "podSelector: {}\npolicyTypes: [Egress]\n")}
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(200)
			}
			m.Reachable = []evidence.ProbeResult{result(api, 30000, true)}
		}, U, U, C, nil, "silence proves nothing"},
		"a layer held before the baseline: what an earlier run's probe pod reached counts": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(200)
			}
			m.Known = []evidence.ProbeResult{comparison(api, 300)}
		}, C, C, C, nil, "held by netns"},
		"nothing held before the baseline: what an earlier run's probe pod reached does not count": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(20)
			}
			m.Known = []evidence.ProbeResult{comparison(api, 300)}
		}, U, U, C, nil, "silence proves nothing"},
		"what an earlier run saw work that is not tried now proves nothing": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(200)
			}
			m.Known = []evidence.ProbeResult{comparison(probe("sibling", "10.0.0.8:80"), 300)}
		}, U, U, C, nil, "silence proves nothing"},
		"what answered an earlier run through a pinhole counts, whenever it was": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.PinholeOut = nil
			for i := range m.Baseline {
				m.Baseline[i].Answered, m.Baseline[i].At = false, at(20)
			}
			r := result(api, 300, true)
			r.Pinhole = true
			m.Known = []evidence.ProbeResult{r}
		}, C, C, C, nil, "held by netns"},
		"inwards, an earlier run's probe pod tells nothing of what it reaches now": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.OutsideBefore, m.PinholeIn = nil, nil
			m.Known = []evidence.ProbeResult{comparison(dns, 300)}
		}, P, C, P, nil, "inbound"},
		"inwards, what this run's probe pod reaches does": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.OutsideBefore, m.PinholeIn = nil, nil
			m.Reachable = []evidence.ProbeResult{comparison(dns, 300)}
		}, C, C, C, nil, "held by netns"},
		"something else uses a hole": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.Cut.Holes[0].BytesOut = 50 << 20
		}, P, P, P, nil, "something else uses it"},
		"--allow leaves something reachable": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.Cut.Allowed = []evidence.Allow{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}
		}, P, P, P, nil, "203.0.113.0/24"},
		"the hand reported no cut": {func(m *quarantine.Measurements) {
			without(m, "netpol")
			m.Cut = nil
		}, F, F, F, nil, "reported no cut"},
		"a restart is told": {func(m *quarantine.Measurements) { m.Restarts = []string{"web"} }, C, C, C, &yes, "restarted"},
		"nothing at all":    {func(m *quarantine.Measurements) { *m = quarantine.Measurements{} }, F, F, F, nil, "no layer"},
	} {
		t.Run(name, func(t *testing.T) {
			m := contained()
			c.spoil(&m)
			v := quarantine.Judge(m)
			if v.State != c.all || v.Outbound != c.out || v.Inbound != c.in {
				t.Errorf("%s, outbound %s, inbound %s; want %s, %s, %s\n%s", v.State, v.Outbound, v.Inbound, c.all, c.out, c.in, strings.Join(v.Why, "\n"))
			}
			if (v.PolicyEnforced == nil) != (c.enforced == nil) || (c.enforced != nil && *v.PolicyEnforced != *c.enforced) {
				t.Errorf("policy enforced: %v, want %v", show(v.PolicyEnforced), show(c.enforced))
			}
			if !strings.Contains(strings.Join(v.Why, "\n"), c.says) {
				t.Errorf("does not say %q:\n%s", c.says, strings.Join(v.Why, "\n"))
			}
		})
	}
}

func show(b *bool) string {
	switch {
	case b == nil:
		return "not known"
	case *b:
		return "yes"
	}
	return "no"
}

func TestJudgeTellsWhenItTurned(t *testing.T) {
	v := quarantine.Judge(contained())
	for name, c := range map[string]struct {
		got  *time.Time
		want time.Time
	}{"established": {v.EstablishedStopped, at(250)}, "new": {v.NewStopped, at(400)}, "policy": {v.PolicyHeld, at(12500)}} {
		if c.got == nil || !c.got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// Whatever is taken away from a measurement, the verdict does not get better.
func TestLessEvidenceIsNeverABetterVerdict(t *testing.T) {
	full := quarantine.Judge(contained())
	for mask := range 1 << 7 {
		m := contained()
		for i, drop := range []func(){
			func() { m.Baseline = nil }, func() { m.After = nil }, func() { m.PinholeOut = nil }, func() { m.PinholeIn = nil },
			func() { m.OutsideBefore = nil }, func() { m.OutsideAfter = nil }, func() { m.Cut = nil },
		} {
			if mask&(1<<i) != 0 {
				drop()
			}
		}
		v := quarantine.Judge(m)
		if v.State != full.State && evidence.Better(v.State, full.State) == v.State {
			t.Errorf("mask %b: %s is better than %s", mask, v.State, full.State)
		}
		noOut := m.After == nil && m.PinholeOut == nil || m.Baseline == nil && m.PinholeOut == nil
		if v.State == evidence.Contained && (noOut || m.OutsideBefore == nil && m.PinholeIn == nil || m.OutsideAfter == nil && m.PinholeIn == nil) {
			t.Errorf("mask %b: CONTAINED without measurement", mask)
		}
	}
}

func TestProbes(t *testing.T) {
	s, _, _ := scene(t, pod(""), pod("", func(p *corev1.Pod) {
		p.Name, p.UID, p.Status.PodIPs = "db-0", "db", []corev1.PodIP{{IP: "10.0.0.8"}}
	}))
	got := quarantine.Probes(s)
	want := []string{"api-server tcp 10.96.0.1:443", "dns-udp udp 10.96.0.10:53", "dns-tcp tcp 10.96.0.10:53", "node tcp 192.0.2.1:10250", "metadata tcp 169.254.169.254:80", "sibling tcp 10.0.0.8:8080"}
	var names []string
	for _, p := range got.Inside {
		names = append(names, p.Name+" "+p.Proto+" "+p.Addr.String())
	}
	if strings.Join(names, "\n") != strings.Join(want, "\n") {
		t.Errorf("inside:\n%s\nwant:\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	if len(got.Outside) != 1 || got.Outside[0] != inbound() {
		t.Errorf("outside: %+v", got.Outside)
	}
}

func TestListeningPortsAreTriedFromOutside(t *testing.T) {
	s := quarantine.Scene{Target: target(), Pod: *pod("")}
	flows := []evidence.Flow{flow("0.0.0.0:8080", "0.0.0.0:0", "LISTEN"), flow("[::]:31337", "[::]:0", "LISTEN"), flow("127.0.0.1:6060", "0.0.0.0:0", "LISTEN"), c2}
	got := quarantine.Probes(s).Listening(s, flows).Outside
	if len(got) != 2 || got[1].Addr.String() != "10.0.0.7:31337" || !got[1].Inbound {
		t.Errorf("%+v", got)
	}
	for p := range 5000 {
		flows = append(flows, flow(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(p+1)).String(), "0.0.0.0:0", "LISTEN"))
	}
	if got := quarantine.Probes(s).Listening(s, flows).Outside; len(got) > 16 {
		t.Errorf("%d tries", len(got))
	}
}

// A policy that held before the hand came is timed by the first silence, though nothing
// answered in the baseline: the probe pod reaches what the target does not.
func TestJudgeTimesAPolicyThatHeldFirst(t *testing.T) {
	m := contained()
	m.PinholeOut, m.PinholeIn = nil, nil
	for i := range m.Baseline {
		m.Baseline[i].Answered, m.Baseline[i].At = false, at(200)
	}
	for _, p := range []evidence.Probe{api, dns} {
		m.Reachable = append(m.Reachable, result(p, 900, true))
		m.PinholeOut = append(m.PinholeOut, result(p, 1500, false))
	}
	v := quarantine.Judge(m)
	if v.NewStopped == nil || !v.NewStopped.Equal(at(200)) {
		t.Errorf("new stopped %v, want the baseline's time", v.NewStopped)
	}
	if v.PolicyHeld == nil || v.PolicyHeld.Before(at(200)) || v.PolicyEnforced == nil || !*v.PolicyEnforced {
		t.Errorf("policy held %v, enforced %v", v.PolicyHeld, v.PolicyEnforced)
	}
	if v.State != evidence.Contained {
		t.Errorf("%s: %q", v.State, v.Why)
	}
}

// A Service's address that answered before the cut, and cannot be tried through a pinhole,
// neither proves nor disproves the policy alone.
func TestJudgeLeavesUntriedAnswersAside(t *testing.T) {
	m := contained()
	service := probe("api-server", "10.96.0.99:443")
	m.Baseline = append(m.Baseline, result(service, 50, true))
	m.After = append(m.After, result(service, 400, false))
	v := quarantine.Judge(m)
	if v.PolicyHeld == nil || !v.PolicyHeld.Equal(at(12500)) || v.State != evidence.Contained {
		t.Errorf("%s, policy held %v: %q", v.State, v.PolicyHeld, v.Why)
	}
}

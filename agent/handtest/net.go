package handtest

import (
	"net/netip"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Net is the network of one pod, as its hands see it. Everything answers that neither the
// cut nor the policy stops.
type Net struct {
	Pod, Probe netip.Addr // the pod's address and the probe pod's
	// Policy says whether the policy stops traffic by itself, now; it is told whether the cut
	// stands. Nil: it never does.
	Policy func(cut bool) bool
	// Deaf are the probes, by name, that nobody ever answers.
	Deaf  []string
	Flows []evidence.Flow // before the cut
	Now   func() time.Time

	mu     sync.Mutex
	cut    *agent.Cut
	report *evidence.CutReport
	before []evidence.ProbeResult
	hole   *agent.Inbound // open for the next knock
	cuts   int
}

// New is a network in which nothing is stopped.
func New() *Net {
	return &Net{Pod: netip.MustParseAddr("10.0.0.7"), Probe: netip.MustParseAddr("10.0.0.99"), Now: time.Now}
}

// Cut says whether the cut stands, and how often it was made.
func (n *Net) Cut() (stands bool, made int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut != nil, n.cuts
}

// Opened makes the opening move without a hand.
func (n *Net) Opened(o agent.Opening) agent.Opened {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := agent.Opened{Read: n.Now(), Flows: n.Flows, Again: n.cut != nil}
	if n.cut == nil {
		n.before = n.try(o.Baseline, func(p evidence.Probe) bool { return !n.stops() })
		n.cut, n.cuts = o.Cut, n.cuts+1
		if o.Cut != nil {
			n.report = &evidence.CutReport{Installed: n.Now(), Hooks: []string{"netdev-ingress", "netdev-egress"}, Holes: o.Cut.Holes}
		}
	}
	out.Baseline, out.Cut = n.before, n.report
	out.After = n.try(o.Baseline, func(evidence.Probe) bool { return n.cut == nil && !n.stops() })
	return out
}

func (n *Net) lift(caseID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut != nil && n.cut.Case == caseID {
		n.cut, n.report = nil, nil
	}
}

func (n *Net) measure(m agent.Measurement, outside bool) agent.Measured {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := agent.Measured{At: n.Now(), Cut: n.report}
	switch {
	case m.Inbound != nil:
		n.hole = m.Inbound
	case outside:
		out.Cut = nil
		out.Probes = n.try(m.Probes, func(p evidence.Probe) bool { return p.Addr.Addr() != n.Pod || n.lets(p.Addr) })
		n.hole = nil
	default:
		out.Probes = n.try(m.Probes, func(evidence.Probe) bool { return (n.cut == nil || m.Pinhole) && !n.stops() })
		for i := range out.Probes {
			out.Probes[i].Pinhole = m.Pinhole
		}
	}
	return out
}

// lets: a connection from the probe pod gets in.
func (n *Net) lets(to netip.AddrPort) bool {
	hole := n.hole != nil && n.hole.Peer == n.Probe && n.hole.Port == to.Port()
	return (n.cut == nil || hole) && !n.stops()
}

func (n *Net) stops() bool { return n.Policy != nil && n.Policy(n.cut != nil) }

func (n *Net) try(probes []evidence.Probe, answers func(evidence.Probe) bool) []evidence.ProbeResult {
	var out []evidence.ProbeResult
	for _, p := range probes {
		r := evidence.ProbeResult{Probe: p, At: n.Now(), Answered: answers(p)}
		for _, d := range n.Deaf {
			r.Answered = r.Answered && p.Name != d
		}
		if !r.Answered {
			r.Error = "timeout"
		}
		out = append(out, r)
	}
	return out
}

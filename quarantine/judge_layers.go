package quarantine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// tally is what the tries of one direction say of what counts.
type tally struct {
	counted int                    // probes that worked before
	passing []evidence.ProbeResult // those that still work: their last try
	held    *time.Time             // since when none worked; set when none does
	over    []family               // over which one counted
}

// count weighs the last try of every probe that counts. A refusal is an answer only where
// it was one before: some plugins refuse what they stop.
func count(before map[evidence.Probe]evidence.ProbeResult, series []evidence.ProbeResult) tally {
	byProbe := map[evidence.Probe][]evidence.ProbeResult{}
	for _, r := range series {
		if _, ok := before[r.Probe]; ok {
			byProbe[r.Probe] = append(byProbe[r.Probe], r)
		}
	}
	t := tally{counted: len(byProbe)}
	var held time.Time
	for p, tries := range byProbe {
		t.over = append(t.over, familyOf(p.Addr.Addr()))
		slices.SortStableFunc(tries, func(a, b evidence.ProbeResult) int { return a.At.Compare(b.At) })
		last := tries[len(tries)-1]
		if passes(before[p], last) {
			t.passing = append(t.passing, last)
			continue
		}
		since := last.At
		for i := len(tries) - 1; i >= 0 && !passes(before[p], tries[i]); i-- {
			since = tries[i].At
		}
		if since.After(held) {
			held = since
		}
	}
	slices.SortFunc(t.passing, func(a, b evidence.ProbeResult) int {
		return strings.Compare(a.Name+a.Addr.String(), b.Name+b.Addr.String())
	})
	if t.counted > 0 && len(t.passing) == 0 {
		t.held = &held
	}
	return t
}

func passes(before, now evidence.ProbeResult) bool {
	return now.Answered || (!before.Answered && refused(before) && refused(now))
}

// refused: the other end's kernel answered with a reset, so that packets got there.
func refused(r evidence.ProbeResult) bool { return strings.Contains(r.Error, "refused") }

// before are the probes of one direction that count: what worked before anything held, or
// through a pinhole since, in an earlier run of the case too. When a layer held already by then, also: outwards, what the probe
// pod reaches now and the scene's policies let the target reach; inwards, a port on which
// the target listened and to which those policies let the probe pod, as long as that
// reaches others now.
func (j *judge) before(inbound bool) map[evidence.Probe]evidence.ProbeResult {
	lists, out := [][]evidence.ProbeResult{j.m.Baseline, j.m.PinholeOut}, map[evidence.Probe]evidence.ProbeResult{}
	if inbound {
		lists = [][]evidence.ProbeResult{j.m.OutsideBefore, j.m.PinholeIn}
	}
	lists = append(lists, throughPinholes(j.m.Known, inbound))
	for _, list := range lists {
		for _, r := range list {
			if was, ok := out[r.Probe]; !was.Answered && (r.Answered || !ok && refused(r)) {
				out[r.Probe] = r
			}
		}
	}
	if inbound {
		j.listened(out)
		return out
	}
	for _, r := range append(slices.Clone(j.m.Reachable), compared(j.m.Known)...) {
		p := r.Probe
		p.Inbound = false
		if _, ok := out[p]; ok || !r.Answered || !j.heldBefore(j.m.Baseline) || !j.couldReach(p) {
			continue
		}
		r.Probe = p
		out[p] = r
	}
	return out
}

// listened adds the inbound probes that would have worked, by what else was seen.
func (j *judge) listened(out map[evidence.Probe]evidence.ProbeResult) {
	reaches := slices.ContainsFunc(j.m.Reachable, func(r evidence.ProbeResult) bool {
		return r.Answered && (r.Name == "sibling" || strings.HasPrefix(r.Name, "dns"))
	})
	if !reaches || !j.heldBefore(j.m.OutsideBefore) {
		return
	}
	for _, r := range j.m.OutsideAfter {
		_, ok := out[r.Probe]
		listens := slices.ContainsFunc(j.m.FlowsBefore, func(f evidence.Flow) bool {
			return f.State == "LISTEN" && f.Proto == r.Proto && f.Local.Port() == r.Addr.Port() && !f.Local.Addr().IsLoopback()
		})
		if ok || !listens || !j.couldBeReached(r.Addr.Port()) {
			continue
		}
		out[r.Probe] = evidence.ProbeResult{Probe: r.Probe, Answered: true}
	}
}

// couldBeReached asks the policies, as they stood before, about the probe pod.
func (j *judge) couldBeReached(port uint16) bool {
	s := j.m.Scene
	self := s.end()
	probe := reach.Endpoint{Pod: &reach.PodEnd{Namespace: cluster.SystemNamespace, NamespaceLabels: map[string]string{corev1.LabelMetadataName: cluster.SystemNamespace}}}
	ok, _ := s.policies(j.m.Case).Decide(reach.Endpoint{Pod: &self}, reach.Flow{Direction: networkingv1.PolicyTypeIngress, Peer: probe, Protocol: corev1.ProtocolTCP, Port: port})
	return ok == reach.Yes
}

// heldBefore: a layer stood before the first of these tries; with no try, before any. A
// policy of ours that selected the target when it was surveyed is one: an earlier run made
// it, and may have ended before it could say so.
func (j *judge) heldBefore(tries []evidence.ProbeResult) bool {
	var first time.Time
	for _, r := range tries {
		if first.IsZero() || r.At.Before(first) {
			first = r.At
		}
	}
	return slices.ContainsFunc(j.m.Applied, func(a Applied) bool {
		return a.Error == "" && (a.Layer == LayerNetpol || a.Layer == LayerLabel || a.Layer == LayerNetns) && (first.IsZero() || a.At.Before(first))
	}) || slices.ContainsFunc(j.m.Scene.Policies, func(p networkingv1.NetworkPolicy) bool {
		return ours(&p, j.m.Case) && reach.Selects(&p.Spec.PodSelector, j.m.Scene.Pod.Labels)
	})
}

// couldReach asks the policies as they stood before.
func (j *judge) couldReach(p evidence.Probe) bool {
	s := j.m.Scene
	self := s.end()
	peer := reach.Endpoint{IP: p.Addr.Addr()}
	for _, o := range s.Siblings {
		if !o.HostNet && slices.Contains(o.IPs, p.Addr.Addr()) {
			peer.Pod = &reach.PodEnd{Namespace: s.Target.Namespace, NamespaceLabels: s.Namespace.Labels, Labels: o.Labels, Ports: o.Ports}
		}
	}
	proto := corev1.ProtocolTCP
	if p.Proto == "udp" {
		proto = corev1.ProtocolUDP
	}
	ok, _ := s.policies(j.m.Case).Decide(reach.Endpoint{Pod: &self}, reach.Flow{Direction: networkingv1.PolicyTypeEgress, Peer: peer, Protocol: proto, Port: p.Addr.Port()})
	return ok == reach.Yes
}

// state turns a tally into words.
func state(t tally, way string) (evidence.State, []string) {
	switch {
	case t.counted == 0:
		return evidence.Unverified, []string{way + ": nothing that was tried had worked before"}
	case len(t.passing) == 0:
		return evidence.Contained, []string{fmt.Sprintf("%s: %d that worked before are silent", way, t.counted)}
	}
	names := []string{}
	for _, r := range t.passing {
		names = append(names, fmt.Sprintf("%s %s/%s", r.Name, r.Proto, r.Addr))
	}
	text := fmt.Sprintf("%s: still works: %s", way, listed(names))
	if len(t.passing) == t.counted {
		return evidence.Failed, []string{text}
	}
	return evidence.Partial, []string{text}
}

// netns judges the cut: what works with everything on, and what still moves.
func (j *judge) netns(l *evidence.LayerVerdict) {
	if j.m.Cut == nil {
		l.Why = append(l.Why, "the hand reported no cut")
		return
	}
	var why []string
	out := count(j.before(false), j.m.After)
	l.Out, why = state(out, "outbound")
	l.Why = append(l.Why, why...)
	in := count(j.before(true), j.m.OutsideAfter)
	l.In, why = state(in, "inbound")
	l.Why = append(l.Why, why...)
	j.flows(l)
	l.Out = j.unheard(l, l.Out, "outbound", append(out.over, j.stopped()...))
	l.In = j.unheard(l, l.In, "inbound", in.over)
	if l.Out == evidence.Contained || l.Out == evidence.ContainedNewOnly {
		t := j.m.Cut.Installed
		l.Held = &t
	}
	for _, a := range j.m.Cut.Allowed {
		l.Out, l.In = evidence.Worse(l.Out, evidence.Partial), evidence.Worse(l.In, evidence.Partial)
		l.Why = append(l.Why, "--allow leaves "+a.Prefix.String()+" reachable")
	}
	for _, h := range excess(j.m) {
		l.In = evidence.Worse(l.In, evidence.Partial)
		l.Out = evidence.Worse(l.Out, evidence.Partial)
		l.Why = append(l.Why, h)
	}
}

// flows lowers a direction in which something that stood before still moves, and lets
// flows that stopped count where no probe did.
func (j *judge) flows(l *evidence.LayerVerdict) {
	listening := map[uint16]bool{}
	for _, f := range j.m.FlowsBefore {
		if f.State == "LISTEN" {
			listening[f.Local.Port()] = true
		}
	}
	moving := map[string]bool{}
	for _, f := range j.m.Moving {
		if f.Remote.Addr().IsLoopback() || j.throughHole(f) {
			continue
		}
		moving[key(f)] = true
		at := &l.Out
		if listening[f.Local.Port()] {
			at = &l.In
		}
		*at = evidence.Worse(*at, evidence.ContainedNewOnly)
		l.Why = append(l.Why, fmt.Sprintf("still moves: %s %s to %s", f.Proto, f.Local, f.Remote))
	}
	stopped := 0
	for _, f := range j.m.MovedBefore {
		if moving[key(f)] || f.Remote.Addr().IsLoopback() {
			continue
		}
		stopped++
		if l.Out == evidence.Unverified && !listening[f.Local.Port()] {
			l.Out = evidence.Contained
		}
	}
	if stopped > 0 {
		l.Why = append(l.Why, fmt.Sprintf("%d connections that moved before stopped", stopped))
	}
}

func key(f evidence.Flow) string { return f.Proto + " " + f.Local.String() + " " + f.Remote.String() }

func (j *judge) throughHole(f evidence.Flow) bool {
	return j.m.Cut != nil && slices.ContainsFunc(j.m.Cut.Holes, func(h evidence.Hole) bool {
		return h.Port == f.Local.Port() && h.Peer == f.Remote.Addr().Unmap()
	})
}

// What one probe may move: a TCP handshake, a request, an answer of which the kubelet
// reads 10 KiB (k8s.io/kubernetes, pkg/probe/http), and the close, with room for TLS.
const (
	probePackets = 60
	probeBytes   = 48 << 10
)

// excess finds holes through which more moved than the declared probes explain.
func excess(m Measurements) []string {
	if m.Cut == nil {
		return nil
	}
	open := m.Ended.Sub(m.Cut.Installed)
	budget := map[uint16]uint64{}
	for _, u := range probes(&m.Scene.Pod.Spec) {
		if u.Port != 0 && u.Elsewhere == "" {
			budget[u.Port] += uint64(max(open, 0)/(time.Duration(u.Period)*time.Second)) + 3
		}
	}
	type sum struct{ packets, bytes uint64 }
	moved := map[uint16]sum{}
	var order []uint16
	for _, h := range m.Cut.Holes {
		if !slices.Contains(order, h.Port) {
			order = append(order, h.Port)
		}
		s := moved[h.Port]
		moved[h.Port] = sum{s.packets + h.PacketsIn + h.PacketsOu, s.bytes + h.BytesIn + h.BytesOut}
	}
	var out []string
	for _, p := range order {
		if s, n := moved[p], budget[p]; s.packets > n*probePackets || s.bytes > n*probeBytes {
			out = append(out, fmt.Sprintf("the hole to port %d moved %d packets and %d bytes, more than %d probes explain: something else uses it", p, s.packets, s.bytes, n))
		}
	}
	return out
}

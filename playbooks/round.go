package playbooks

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// quick bounds a probe that is expected to fail by being dropped.
const quick = 400 * time.Millisecond

// Round measures once: new connections from inside and outside, flows that still move,
// and, through pinholes where there is a cut, the policy alone. inside and outside may
// be nil; what they would have told is then not known. from are the addresses of outside, at
// most one of each family. An error of one hand does not keep the other from measuring.
func (w *Watch) Round(ctx context.Context, inside, outside agent.Hand, from []netip.Addr, targets quarantine.Targets) error {
	var insideErr, outsideErr error
	if inside != nil {
		insideErr = w.fromInside(ctx, inside, targets)
	}
	if outside != nil {
		outsideErr = w.fromOutside(ctx, inside, outside, from, targets)
	}
	if insideErr != nil {
		return insideErr
	}
	return outsideErr
}

func (w *Watch) fromInside(ctx context.Context, inside agent.Hand, targets quarantine.Targets) error {
	seen, err := inside.Measure(ctx, agent.Measurement{Case: w.cutCase(), Probes: targets.Inside, Limit: quick, Settle: quick})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.m.After = append(w.m.After, seen.Probes...)
	w.m.Moving, w.m.FlowsNow = seen.Moving, append([]evidence.Flow{}, seen.Flows...)
	w.m.Cut = seen.Cut // none: it is gone
	through := direct(w.answered(targets.Inside))
	cut := w.m.Cut != nil
	w.mu.Unlock()
	if !cut || len(through) == 0 || w.noHoles {
		return nil
	}
	seen, err = inside.Measure(ctx, agent.Measurement{Case: w.m.Case, Probes: through, Limit: quick, Pinhole: true})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.m.PinholeOut = append(w.m.PinholeOut, seen.Probes...)
	w.mu.Unlock()
	return nil
}

// cutCase is the case of a cut that is known to have stood; empty where none was made.
func (w *Watch) cutCase() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m.Cut == nil {
		return ""
	}
	return w.m.Case
}

// Glance reads the cut and the flows, and tries nothing.
func (w *Watch) Glance(ctx context.Context, inside agent.Hand) error {
	seen, err := inside.Measure(ctx, agent.Measurement{Case: w.m.Case})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Cut, w.m.FlowsNow = seen.Cut, append([]evidence.Flow{}, seen.Flows...)
	return nil
}

// answered are the probes that tell of a policy: those that answered before the cut, or,
// where something held already by then, that the probe pod sees answer.
func (w *Watch) answered(probes []evidence.Probe) []evidence.Probe {
	seen := w.m.Baseline
	if !slices.ContainsFunc(seen, func(r evidence.ProbeResult) bool { return r.Answered }) {
		seen = append(slices.Clone(w.m.Reachable), w.m.Known...)
	}
	var out []evidence.Probe
	for _, p := range probes {
		if slices.ContainsFunc(seen, func(r evidence.ProbeResult) bool { return r.Answered && r.Name == p.Name && r.Addr == p.Addr }) {
			out = append(out, p)
		}
	}
	return out
}

// direct leaves out addresses of Services where others are there to try: a plugin that
// translates them at the socket leaves nothing on the wire that a pinhole could know.
func direct(probes []evidence.Probe) []evidence.Probe {
	out := slices.DeleteFunc(slices.Clone(probes), func(p evidence.Probe) bool {
		return p.Name == "api-server" || p.Name == "dns-udp" || p.Name == "dns-tcp"
	})
	if len(out) == 0 {
		return probes
	}
	return out
}

func (w *Watch) fromOutside(ctx context.Context, inside, outside agent.Hand, from []netip.Addr, targets quarantine.Targets) error {
	reach, err := outside.Measure(ctx, agent.Measurement{Probes: targets.Inside, Limit: quick})
	if err != nil {
		return err
	}
	after, err := knock(ctx, outside, targets.Outside)
	if err != nil {
		return err
	}
	w.mu.Lock()
	for i := range reach.Probes {
		reach.Probes[i].Compared = true
	}
	w.m.Known = quarantine.KnownOf(append(slices.Clone(w.m.Known), w.m.Reachable...))
	w.m.Reachable = reach.Probes
	w.m.OutsideAfter = append(w.m.OutsideAfter, after...)
	cut := w.m.Cut != nil
	w.mu.Unlock()
	if !cut || inside == nil || w.noHoles {
		return nil
	}
	for _, p := range targets.Outside {
		same := slices.IndexFunc(from, func(a netip.Addr) bool { return a.Is4() == p.Addr.Addr().Is4() })
		if same < 0 {
			// Without an address of that family there is no hole to make for the probe pod:
			// its silence would be the cut's, and tell nothing of the policy.
			continue
		}
		hole := &agent.Inbound{Peer: from[same], Port: p.Addr.Port()}
		if _, err := inside.Measure(ctx, agent.Measurement{Case: w.m.Case, Inbound: hole}); err != nil {
			return err
		}
		through, err := knock(ctx, outside, []evidence.Probe{p})
		if err != nil {
			return err
		}
		for i := range through {
			through[i].Pinhole = true
		}
		w.mu.Lock()
		w.m.PinholeIn = append(w.m.PinholeIn, through...)
		w.mu.Unlock()
	}
	return nil
}

// knock tries the target from outside. To the hand there it is a probe like any other;
// that it is inbound is how it looks from the target.
func knock(ctx context.Context, outside agent.Hand, probes []evidence.Probe) ([]evidence.ProbeResult, error) {
	asked := slices.Clone(probes)
	for i := range asked {
		asked[i].Inbound = false
	}
	seen, err := outside.Measure(ctx, agent.Measurement{Probes: asked, Limit: quick})
	if err != nil {
		return nil, err
	}
	for i := range seen.Probes {
		seen.Probes[i].Inbound = true
	}
	return seen.Probes, nil
}

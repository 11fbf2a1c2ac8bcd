package playbooks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Site is what actions work with: one target, its surroundings as surveyed, and the
// session's only ways to write.
type Site struct {
	Conn    *cluster.Conn
	Look    Prospect // what was forecast and prepared
	Want    quarantine.Want
	Journal *Journal
	Hands   *Hands
	Gate    Gate // in front of every write but the mark's own
	Watch   *Watch
	Guard   *Guard // of what others do to it; nil: nobody looks
	Key     Key
	Order   Order
	Now     func() time.Time
	// Progress tells a person what is going on; it may be called from anywhere.
	Progress func(format string, args ...any)
	// Layers are those of quarantine, by name, bound to this session's hands.
	Layers map[string]quarantine.Layer

	have map[string]bool // collectors
}

// Disturbed holds what stands against what this session and those before it did.
func (s *Site) Disturbed(ctx context.Context) error {
	if s.Guard == nil {
		return nil
	}
	var done []quarantine.Done
	for _, c := range s.Look.Changes {
		if answer, did := s.Journal.answer(c.ID); did {
			done = append(done, quarantine.Done{Change: c, Data: answer})
		}
	}
	_, err := s.Guard.Look(ctx, done, s.Watch)
	return err
}

// Wants reports whether a layer is to be applied here.
func (s *Site) Wants(name string) bool {
	return slices.Contains(s.Want.Layers, name) && !slices.Contains(s.Look.Forecast.Refused, name)
}

// Restarts names the containers of the target that were restarted since the survey.
func (s *Site) Restarts(ctx context.Context) ([]string, error) {
	live, err := s.Conn.Live(ctx, s.Order.Target)
	if err != nil {
		return nil, err
	}
	before := map[string]int32{}
	for _, c := range slices.Concat(s.Order.Pod.Status.ContainerStatuses, s.Order.Pod.Status.InitContainerStatuses) {
		before[c.Name] = c.RestartCount
	}
	var names []string
	for _, c := range slices.Concat(live.Status.ContainerStatuses, live.Status.InitContainerStatuses) {
		if c.RestartCount > before[c.Name] {
			names = append(names, c.Name)
		}
	}
	return names, nil
}

// Alterations are what collecting and measuring could not leave as it was.
func (s *Site) Alterations() []evidence.Alteration {
	out := []evidence.Alteration{}
	for _, h := range s.Hands.Started() {
		out = append(out, h.Info().Alterations...)
	}
	m := s.Watch.Measurements()
	if holes := len(m.PinholeOut) + len(m.PinholeIn); holes > 0 {
		out = append(out, evidence.Alteration{What: fmt.Sprintf("%d holes in the cut, each for one connection and one second", holes), Why: "measure what the policy stops by itself"})
	}
	return out
}

// Captured reports whether an earlier run of this bundle took everything that this
// collector gives, whole.
func (s *Site) Captured(collector string) bool { return s.have[collector] }

// Took keeps a later step of this run from asking a collector again.
func (s *Site) Took(collector string) {
	if s.have == nil {
		s.have = map[string]bool{}
	}
	s.have[collector] = true
}

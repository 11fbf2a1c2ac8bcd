package actions

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// measure asks, again and again until the policy by itself holds or the time is
// over, what still passes; then it gives the verdict.
type measure struct {
	within time.Duration
}

func newMeasure(with *yaml.Node) (playbooks.Blueprint, []playbooks.Fault) {
	f := playbooks.FieldsOf(with, "measure")
	m := measure{within: f.Duration("within")}
	if m.within == 0 {
		m.within = time.Minute
	}
	return m, f.Rest()
}

func (m measure) Needs() playbooks.Needs { return playbooks.Needs{Hand: true, Probe: true} }

func (m measure) Build(s *playbooks.Site) playbooks.Action { return measuring{m, s} }

type measuring struct {
	measure
	site *playbooks.Site
}

func (m measuring) Run(ctx context.Context, _ evidence.Target, _ evidence.Sink) (playbooks.Outcome, error) {
	inside, insideErr := m.site.Hands.Cutter(ctx)
	outside, outsideErr := m.site.Hands.Probe(ctx)
	look := m.site.Look
	targets := look.Targets.Listening(look.Scene, m.site.Watch.Measurements().FlowsBefore)
	var from []netip.Addr
	if outsideErr == nil {
		from = outside.Info().Addrs
	}
	err := m.rounds(ctx, func() error {
		return m.site.Watch.Round(ctx, hand(inside, insideErr), hand(outside, outsideErr), from, targets)
	})
	if restarted, live := m.site.Restarts(ctx); live == nil {
		m.site.Watch.Restarted(restarted)
	}
	disturbed := m.site.Disturbed(ctx)
	v := m.site.Watch.Judge(m.site.Now())
	note := m.site.Journal.Measured(ctx, v, insideErr, outsideErr, err, disturbed)
	return playbooks.Outcome{Summary: "verdict " + string(v.State)}, errors.Join(err, note)
}

// rounds measures until there is nothing more to learn, or the time is over.
func (m measuring) rounds(ctx context.Context, round func() error) error {
	began := m.site.Now()
	within, told := min(m.within, quarantine.Patience(m.site.Look.Scene)), began
	for {
		if err := round(); err != nil {
			return err
		}
		now := m.site.Now()
		if m.site.Watch.Settled() || !m.site.Watch.Tells() || !m.site.Wants(quarantine.LayerNetpol) && !m.site.Wants(quarantine.LayerDeny) || now.Sub(began) >= within {
			return nil
		}
		if now.Sub(told) >= 5*time.Second {
			told = now
			m.site.Progress("measuring: the policy by itself still lets traffic pass (%d s of at most %d)", int(now.Sub(began).Seconds()), int(within.Seconds()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// hand turns a hand that could not be had into none at all.
func hand(h playbooks.Hand, err error) agent.Hand {
	if err != nil {
		return nil
	}
	return h
}

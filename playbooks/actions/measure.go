package actions

import (
	"context"
	"fmt"
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

func (m measuring) Run(ctx context.Context, t evidence.Target, _ evidence.Sink) (playbooks.Outcome, error) {
	inside, insideErr := m.site.Hands.Cutter(ctx)
	outside, outsideErr := m.site.Hands.Probe(ctx)
	targets, from := m.site.Look.Targets, ""
	if outsideErr == nil {
		from = outside.Info().Addr
	}
	began := m.site.Now()
	within := min(m.within, quarantine.Patience(m.site.Look.Scene))
	told := began
	var err error
	for {
		err = m.site.Watch.Round(ctx, hand(inside, insideErr), hand(outside, outsideErr), from, targets)
		if err != nil || m.site.Watch.Settled() || !m.site.Watch.Tells() || !m.site.Wants(quarantine.LayerNetpol) || m.site.Now().Sub(began) >= within {
			break
		}
		if now := m.site.Now(); now.Sub(told) >= 5*time.Second {
			told = now
			m.site.Progress("measuring: the policy by itself still lets traffic pass (%d s of at most %d)", int(now.Sub(began).Seconds()), int(within.Seconds()))
		}
		select {
		case <-ctx.Done():
			return playbooks.Outcome{}, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	if restarted, live := m.site.Restarts(ctx); live == nil {
		m.site.Watch.Restarted(restarted)
	}
	v := m.site.Watch.Judge(m.site.Now())
	if note := m.site.Journal.Note(context.WithoutCancel(ctx), evidence.Record{
		Action: evidence.ActMeasured, Result: string(v.State), Note: fmt.Sprint(v.Why),
	}); note != nil {
		return playbooks.Outcome{}, note
	}
	return playbooks.Outcome{Summary: "verdict " + string(v.State)}, err
}

// hand turns a hand that could not be had into none at all.
func hand(h agent.Hand, err error) agent.Hand {
	if err != nil {
		return nil
	}
	return h
}

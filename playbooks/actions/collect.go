package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/collectors/logs"
	"irkit.dev/irkit/collectors/objects"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// Kinds of artifacts. What is read beside the target is asked of the hand of each
// regular container; the others come through the API server.
var (
	besideKinds = []string{"processes", "connections", "environment", "open-files", "mounts", "recovered", "persistence", "filesystem"}
	otherKinds  = []string{"objects", "logs"}
)

// collect takes artifacts, in the order in which they fade.
type collect struct {
	artifacts []string
}

func newCollect(with *yaml.Node) (playbooks.Blueprint, []playbooks.Fault) {
	f := playbooks.FieldsOf(with, "collect")
	all := append(slices.Clone(besideKinds), otherKinds...)
	c := collect{f.Words("artifacts", all...)}
	if c.artifacts == nil {
		c.artifacts = all
	}
	return c, f.Rest()
}

func (c collect) Needs() playbooks.Needs {
	n := playbooks.Needs{Artifacts: c.artifacts}
	for _, k := range c.artifacts {
		switch k {
		case "objects":
			n.Rules = append(n.Rules, objects.NewEvents(objects.Options{}).Traits().Rules...)
			n.Rules = append(n.Rules, objects.New(objects.Options{}).Traits().Rules...)
		case "logs":
			n.Rules = append(n.Rules, logs.New(logs.Options{}).Traits().Rules...)
		default:
			n.Hand = true
		}
	}
	return n
}

func (c collect) Build(s *playbooks.Site) playbooks.Action { return &collecting{collect: c, site: s} }

type collecting struct {
	collect
	site *playbooks.Site
}

func (c *collecting) Run(ctx context.Context, t evidence.Target, sink evidence.Sink) (playbooks.Outcome, error) {
	counted := &counting{Sink: sink}
	var errs []error
	for _, one := range c.plan(ctx) {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		name := one.Traits().Name
		c.site.Progress("collecting %s", name)
		if err := one.Collect(ctx, t, counted); err != nil {
			errs = append(errs, fmt.Errorf("collect %s: %w", name, err))
		}
	}
	return playbooks.Outcome{
		Summary: fmt.Sprintf("%d entries, %d bytes%s", counted.entries, counted.bytes, counted.lacking()),
		Missing: counted.missing,
	}, errors.Join(errs...)
}

// plan lists the collectors in order of volatility. A hand that cannot be had becomes
// entries that say so, one for each artifact that it would have given.
func (c *collecting) plan(ctx context.Context) []collectors.Collector {
	var out []collectors.Collector
	for _, name := range c.site.Hands.Containers() {
		out = append(out, c.beside(ctx, name)...)
	}
	if slices.Contains(c.artifacts, "objects") && !c.site.Collected("pod", "pod") {
		o := objects.Options{Dynamic: c.site.Conn.Dynamic, HMACKey: c.site.Key.For("values"), Before: c.site.Order.Pod}
		out = append(out, objects.NewEvents(o), objects.New(o))
	}
	if slices.Contains(c.artifacts, "logs") {
		out = append(out, logs.New(logs.Options{Client: c.site.Conn.Client, Ours: c.site.Hands.Ours}))
	}
	slices.SortStableFunc(out, func(a, b collectors.Collector) int { return a.Traits().Volatility - b.Traits().Volatility })
	return out
}

func (c *collecting) beside(ctx context.Context, container string) []collectors.Collector {
	ordinal := c.site.Hands.Ordinal(container)
	var kinds []string
	for _, k := range c.artifacts {
		if slices.Contains(besideKinds, k) && !c.site.Collected(k, ordinal) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	var out []collectors.Collector
	hand, err := c.site.Hands.Beside(ctx, container)
	if err != nil {
		for _, k := range kinds {
			out = append(out, absent{kind: k, container: container, ordinal: ordinal, why: err})
		}
		return out
	}
	info := hand.Info()
	for _, k := range kinds {
		r := agent.Request{
			Kind: k, HMACKey: c.site.Key.For("values"), Values: c.site.Order.Values,
			SkipMounts: c.site.SkipMounts(container),
		}
		if info.SharedPIDs {
			r.ContainerID = c.site.ContainerID(container)
		}
		one, err := beside.New(beside.Options{Hand: hand, Container: container, Ordinal: ordinal, Image: info.Image, Request: r})
		if err != nil {
			out = append(out, absent{kind: k, container: container, ordinal: ordinal, why: err})
			continue
		}
		out = append(out, one)
	}
	return out
}

// absent files an entry for what no hand could give.
type absent struct {
	kind, container, ordinal string
	why                      error
}

func (a absent) Traits() collectors.Traits {
	return collectors.Traits{Name: a.kind + "-" + a.ordinal, Volatility: rankOf(a.kind), Profile: collectors.ReadHand}
}

func (a absent) Collect(ctx context.Context, _ evidence.Target, sink evidence.Sink) error {
	section := evidence.Volatile
	if a.kind == "filesystem" || a.kind == "persistence" {
		section = evidence.Filesystem
	}
	_, err := sink.Add(ctx, evidence.Artifact{
		Kind: a.kind, Section: section, Container: a.container, Ordinal: a.ordinal, Ext: "bin", Volatility: rankOf(a.kind),
		Trust: evidence.TrustDebugger, Class: evidence.Internal, Source: evidence.Source{How: "agent"},
		Absent: &evidence.Absence{Status: evidence.Impossible, Reason: "no hand beside the container: " + a.why.Error()},
	}, nil)
	return err
}

func rankOf(kind string) int {
	switch kind {
	case "processes", "connections":
		return collectors.RankMemory
	case "recovered":
		return collectors.RankRecovered
	case "persistence":
		return collectors.RankPlaces
	case "filesystem":
		return collectors.RankFilesystem
	}
	return collectors.RankProcess
}

// counting is a sink that counts what passes.
type counting struct {
	evidence.Sink
	mu               sync.Mutex
	entries, missing int
	bytes            int64
	why              []string
}

func (c *counting) note(e evidence.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries++
	c.bytes += e.Size
	if e.Status == evidence.Truncated || e.Status == evidence.Impossible {
		c.missing++
		c.why = append(c.why, e.Kind)
	}
}

func (c *counting) lacking() string {
	if c.missing == 0 {
		return ""
	}
	slices.Sort(c.why)
	return fmt.Sprintf("; not whole or not to be had: %s", strings.Join(slices.Compact(c.why), ", "))
}

// Add implements evidence.Sink.
func (c *counting) Add(ctx context.Context, a evidence.Artifact, r io.Reader) (evidence.Entry, error) {
	e, err := c.Sink.Add(ctx, a, r)
	if e.ID != "" {
		c.note(e)
	}
	return e, err
}

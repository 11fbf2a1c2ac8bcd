package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/collectors/logs"
	"irkit.dev/irkit/collectors/objects"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// Kinds of artifacts that come through the API server. Those of package beside are asked of
// the hand of each regular container.
const (
	kindObjects = "objects"
	kindLogs    = "logs"
)

// collect takes artifacts, in the order in which they fade.
type collect struct {
	artifacts []string
	memory    string        // of kind memory: whose
	window    time.Duration // of kind packets: how long
	files     string        // of kind filesystem: drift or whole
}

func newCollect(with *yaml.Node) (playbooks.Blueprint, []playbooks.Fault) {
	f := playbooks.FieldsOf(with, "collect")
	all := append(beside.Kinds(), kindObjects, kindLogs)
	c := collect{
		artifacts: f.Words("artifacts", slices.Concat(all, beside.OptIn())...), memory: f.String("memory"), window: f.Duration("packets"),
		files: f.Enum("filesystem", drifting, entire),
	}
	if c.artifacts == nil {
		c.artifacts = all
	}
	faults := f.Rest()
	switch n := f.Node("memory"); {
	case n == nil:
	case !MemoryWord(c.memory):
		faults = append(faults, playbooks.At(n, "memory: %q is none of all, anon-exec or a process's number", c.memory))
	case !slices.Contains(c.artifacts, kindMemory):
		c.artifacts = append(slices.Clone(c.artifacts), kindMemory)
	}
	if c.window > 0 && !slices.Contains(c.artifacts, kindPackets) {
		c.artifacts = append(slices.Clone(c.artifacts), kindPackets)
	}
	return c, faults
}

func (c collect) Needs() playbooks.Needs {
	n := playbooks.Needs{Artifacts: c.artifacts}
	for _, k := range c.artifacts {
		switch k {
		case kindObjects:
			n.Rules = append(n.Rules, objects.NewEvents(objects.Options{}).Traits().Rules...)
			n.Rules = append(n.Rules, objects.New(objects.Options{}).Traits().Rules...)
		case kindLogs:
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
	site   *playbooks.Site
	images *library
}

func (c *collecting) Run(ctx context.Context, t evidence.Target, sink evidence.Sink) (playbooks.Outcome, error) {
	var all tally
	c.images = &library{sources: c.site.Order.Images}
	plan, errs := c.plan(ctx)
	for _, one := range plan {
		name := one.Traits().Name
		if c.site.Captured(name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		c.site.Progress("collecting %s", name)
		counted := &counting{Sink: sink}
		err := one.Collect(ctx, t, counted)
		if err != nil {
			errs = append(errs, fmt.Errorf("collect %s: %w", name, err))
		}
		errs = append(errs, c.site.Journal.Captured(ctx, name, counted.entries, counted.missing, err))
		all.add(counted.tally)
	}
	errs = append(errs, c.images.close())
	return playbooks.Outcome{
		Summary: fmt.Sprintf("%d entries, %d bytes%s", all.entries, all.bytes, all.lacking()),
		Missing: all.missing,
	}, errors.Join(errs...)
}

// plan lists the collectors in order of volatility. A hand that cannot be had is an error,
// and becomes entries that say so, one for each artifact that it would have given.
func (c *collecting) plan(ctx context.Context) (out []collectors.Collector, errs []error) {
	for _, name := range c.site.Hands.Containers() {
		beside, err := c.beside(ctx, name)
		out, errs = append(out, beside...), append(errs, err)
	}
	if slices.Contains(c.artifacts, kindObjects) {
		o := objects.Options{Dynamic: c.site.Conn.Dynamic, HMACKey: c.site.Key.For("values"), Before: c.site.Order.Pod}
		out = append(out, objects.NewEvents(o), objects.New(o))
	}
	if slices.Contains(c.artifacts, kindLogs) {
		out = append(out, logs.New(logs.Options{Client: c.site.Conn.Client, Ours: c.site.Hands.Ours}))
	}
	slices.SortStableFunc(out, func(a, b collectors.Collector) int { return a.Traits().Volatility - b.Traits().Volatility })
	return out, errs
}

func (c *collecting) beside(ctx context.Context, container string) ([]collectors.Collector, error) {
	ordinal := c.site.Hands.Ordinal(container)
	var kinds []string
	for _, k := range c.wanted() {
		if k == kindPackets { // once, of the pod: its containers share one network
			if container == c.site.Hands.Containers()[0] && !c.site.Captured(k+"-pod") {
				kinds = append(kinds, k)
			}
			continue
		}
		if (slices.Contains(beside.Kinds(), k) || slices.Contains(beside.OptIn(), k)) && !c.site.Captured(k+"-"+ordinal) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return nil, nil
	}
	var out []collectors.Collector
	named := func(k string) (name, at string) {
		if k == kindPackets {
			return "", "pod"
		}
		return container, ordinal
	}
	hand, err := c.site.Hands.Beside(ctx, container)
	if err != nil {
		for _, k := range kinds {
			name, at := named(k)
			out = append(out, absent{kind: k, container: name, ordinal: at, why: err})
		}
		return out, fmt.Errorf("no hand beside container %s: %w", container, err)
	}
	info := hand.Info()
	for _, k := range kinds {
		r := agent.Request{
			Kind: k, HMACKey: c.site.Key.For("values"), Values: c.site.Order.Values,
			SkipMounts: c.site.SkipMounts(container), MaxBytes: c.site.Order.MaxBytes,
		}
		if k == kindMemory {
			r.Memory = cmp.Or(c.memory, c.site.Order.Memory)
		}
		if info.SharedPIDs {
			r.ContainerID = c.site.ContainerID(container)
		}
		name, at := named(k)
		if k == kindPackets {
			r.Window = cmp.Or(c.window, c.site.Order.Packets)
			if c.site.Order.Pod.Spec.HostNetwork {
				out = append(out, absent{kind: k, container: name, ordinal: at, leftOut: "the pod is in its node's network: what passes there is not the target's alone"})
				continue
			}
		}
		some, err := c.through(beside.Options{Hand: hand, Container: name, Ordinal: at, Image: info.Image, Trust: info.Trust(), Request: r})
		if err != nil {
			out = append(out, absent{kind: k, container: name, ordinal: at, why: err})
			continue
		}
		out = append(out, some...)
	}
	return out, nil
}

// absent files an entry for what no hand could give.
type absent struct {
	kind, container, ordinal string
	why                      error
	leftOut                  string // instead: why it was not asked for
}

func (a absent) Traits() collectors.Traits {
	return collectors.Traits{Name: a.kind + "-" + a.ordinal, Volatility: rankOf(a.kind), Profile: collectors.ReadHand}
}

func (a absent) Collect(ctx context.Context, _ evidence.Target, sink evidence.Sink) error {
	section := evidence.Volatile
	if a.kind == "filesystem" || a.kind == "persistence" {
		section = evidence.Filesystem
	}
	gap := evidence.Absence{Status: evidence.LeftOut, Reason: a.leftOut}
	if a.leftOut == "" {
		gap = evidence.Absence{Status: evidence.Impossible, Reason: "no hand beside the container: " + a.why.Error()}
	}
	_, err := sink.Add(ctx, evidence.Artifact{
		Kind: a.kind, Section: section, Container: a.container, Ordinal: a.ordinal, Ext: "bin", Volatility: rankOf(a.kind),
		Trust: evidence.TrustDebugger, Class: evidence.Internal, Source: evidence.Source{How: "agent"},
		Absent: &gap,
	}, nil)
	return err
}

func rankOf(kind string) int {
	switch kind {
	case "processes", "connections":
		return collectors.RankMemory
	case "recovered", kindMemory:
		return collectors.RankRecovered
	case kindPackets:
		return collectors.RankRecovered + 1
	case "persistence":
		return collectors.RankPlaces
	case "filesystem":
		return collectors.RankFilesystem
	}
	return collectors.RankProcess
}

// tally is what collectors brought in.
type tally struct {
	entries, missing int
	bytes            int64
	why              []string // kinds that are missing or not whole
}

func (a *tally) add(b tally) {
	a.entries, a.missing, a.bytes = a.entries+b.entries, a.missing+b.missing, a.bytes+b.bytes
	a.why = append(a.why, b.why...)
}

func (a tally) lacking() string {
	if a.missing == 0 {
		return ""
	}
	slices.Sort(a.why)
	return fmt.Sprintf("; not whole or not to be had: %s", strings.Join(slices.Compact(a.why), ", "))
}

// counting is a sink that counts what passes.
type counting struct {
	evidence.Sink
	mu sync.Mutex
	tally
}

func (c *counting) note(e evidence.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := tally{entries: 1, bytes: e.Size}
	if e.Status == evidence.Truncated || e.Status == evidence.Impossible {
		one.missing, one.why = 1, []string{e.Kind}
	}
	c.add(one)
}

// Add implements evidence.Sink.
func (c *counting) Add(ctx context.Context, a evidence.Artifact, r io.Reader) (evidence.Entry, error) {
	e, err := c.Sink.Add(ctx, a, r)
	if e.ID != "" {
		c.note(e)
	}
	return e, err
}

// Package beside collects through a hand: it asks the worker beside the target for one
// kind of artifact, and files each that comes. What the worker says of an artifact is
// the target's word or near to it: it names no file, chooses no section, and cannot
// raise its own trust.
package beside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Options say through which hand, and for which container.
type Options struct {
	Hand      agent.Hand
	Container string         // its name; empty: the pod
	Ordinal   string         // c0, i0, e0, or pod
	Image     string         // of the hand's container
	Trust     evidence.Trust // of this hand, as its host knows it; a header can only lower it
	Request   agent.Request
}

// kind is where a kind of request belongs, and which kinds of artifact answer it.
type kind struct {
	section evidence.Section
	rank    int
	answers []string
}

func kinds() map[string]kind {
	return map[string]kind{
		"processes":   {evidence.Volatile, collectors.RankMemory, []string{"processes"}},
		"connections": {evidence.Volatile, collectors.RankMemory, []string{"connections", "network"}},
		"environment": {evidence.Volatile, collectors.RankProcess, []string{"environment"}},
		"open-files":  {evidence.Volatile, collectors.RankProcess, []string{"open-files"}},
		"mounts":      {evidence.Volatile, collectors.RankProcess, []string{"mounts"}},
		"recovered":   {evidence.Volatile, collectors.RankRecovered, []string{"recovered-index", "recovered"}},
		"memory":      {evidence.Volatile, collectors.RankRecovered, []string{"memory"}},
		"packets":     {evidence.Volatile, collectors.RankRecovered + 1, []string{"packets"}},
		"persistence": {evidence.Filesystem, collectors.RankPlaces, []string{"persistence", "persistence-index"}},
		"filesystem":  {evidence.Filesystem, collectors.RankFilesystem, []string{"filesystem", "filesystem-index"}},
	}
}

// OptIn are the requests that New takes and that are made only where somebody asked for
// them: memory
// holds whatever the target held, secrets too; packets take time.
func OptIn() []string { return []string{"memory", "packets"} }

// Kinds are the other requests that New takes, most volatile first: what is collected when
// nobody said what.
func Kinds() []string {
	all := kinds()
	for _, k := range OptIn() {
		delete(all, k)
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if d := all[a].rank - all[b].rank; d != 0 {
			return d
		}
		return strings.Compare(order(a), order(b))
	})
}

// order puts equal ranks as the design has them.
func order(k string) string {
	return fmt.Sprint(slices.Index([]string{"processes", "connections", "environment", "open-files", "mounts"}, k))
}

// Collector collects one kind through a hand.
type Collector struct {
	o Options
	k kind
}

// New makes a collector; the request's kind must be one of Kinds.
func New(o Options) (*Collector, error) {
	k, ok := kinds()[o.Request.Kind]
	if !ok {
		return nil, fmt.Errorf("collect beside the target: no kind %q", o.Request.Kind)
	}
	if o.Hand == nil || o.Ordinal == "" {
		return nil, fmt.Errorf("collect %s: hand and ordinal are needed", o.Request.Kind)
	}
	if o.Trust == "" {
		o.Trust = evidence.TrustDebugger
	}
	return &Collector{o, k}, nil
}

// Traits are those of the kind; permissions for the hand itself are its host's.
func (c *Collector) Traits() collectors.Traits {
	profile := collectors.ReadHand
	if c.o.Request.Kind == "connections" {
		profile = collectors.AnyHand
	}
	return collectors.Traits{Name: c.o.Request.Kind + "-" + c.o.Ordinal, Volatility: c.k.rank, Profile: profile}
}

// Collect implements collectors.Collector. A stream that broke leaves its artifact
// truncated and is an error; a hand that is gone before anything came leaves an entry
// that says so, and is an error too where the context did not end.
func (c *Collector) Collect(ctx context.Context, _ evidence.Target, sink evidence.Sink) error {
	came := 0
	var lost []error
	err := c.o.Hand.Collect(ctx, c.o.Request, func(h agent.Header, r io.Reader) error {
		came++
		a := c.artifact(h)
		if a.Absent != nil {
			r = nil
		} else {
			r = &noted{Reader: r, notes: c.notes(h)}
		}
		e, err := sink.Add(ctx, a, r)
		if err != nil && e.ID != "" && errors.Is(err, agent.ErrTruncated) && ctx.Err() == nil {
			lost = append(lost, err) // it is filed as truncated; the next may still come whole
			return nil
		}
		return err
	})
	if err == nil && came == 0 {
		err = errors.New("the worker gave nothing at all")
	}
	if err != nil && came == 0 && ctx.Err() == nil {
		a := c.artifact(agent.Header{Kind: c.o.Request.Kind})
		a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: err.Error()}
		if _, e := sink.Add(ctx, a, nil); e != nil {
			err = errors.Join(err, e)
		} else if !errors.Is(err, agent.ErrGone) && !errors.Is(err, agent.ErrTruncated) {
			err = nil // it was refused, and the entry says so
		}
	}
	if err = errors.Join(append(lost, err)...); err != nil {
		return fmt.Errorf("collect %s of %s: %w", c.o.Request.Kind, c.o.Ordinal, err)
	}
	return ctx.Err()
}

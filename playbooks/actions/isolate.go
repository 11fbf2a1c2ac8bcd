// Package actions holds the verbs of the playbook language. It is the only room that
// knows both wings: what reads and what changes.
package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// Standard lists every verb.
func Standard() []playbooks.Kind {
	return []playbooks.Kind{
		{Name: "isolate", New: newIsolate},
		{Name: "collect", New: newCollect},
		{Name: "measure", New: newMeasure},
		{Name: "snapshot", New: newSnapshot},
		{Name: "revoke", New: newRevoke},
	}
}

// isolate applies layers of quarantine. All wait, for a moment, for the mark that keeps two
// irkits apart; else none waits for another, but that labels are stripped, and the pod is
// protected, only after the quarantine label is on.
type isolate struct {
	layers []string
}

func newIsolate(with *yaml.Node) (playbooks.Blueprint, []playbooks.Fault) {
	f := playbooks.FieldsOf(with, "isolate")
	layers := f.Words("layers", quarantine.LayerNetns, quarantine.LayerNetpol, quarantine.LayerDeny, quarantine.LayerDetach, quarantine.LayerProtect, quarantine.LayerCordon)
	if layers == nil {
		layers = []string{quarantine.LayerNetns, quarantine.LayerNetpol, quarantine.LayerDeny, quarantine.LayerDetach, quarantine.LayerProtect, quarantine.LayerCordon}
	}
	if slices.ContainsFunc([]string{quarantine.LayerNetpol, quarantine.LayerDeny, quarantine.LayerDetach, quarantine.LayerProtect}, func(l string) bool { return slices.Contains(layers, l) }) {
		layers = append(layers, quarantine.LayerLabel)
	}
	// The plan tells them in the order of their effect, however they were written.
	order := quarantine.DefaultLayers()
	slices.SortStableFunc(layers, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	return isolate{layers}, f.Rest()
}

func (i isolate) Needs() playbooks.Needs {
	return playbooks.Needs{Layers: i.layers, Hand: slices.Contains(i.layers, quarantine.LayerNetns), Probe: true}
}

func (i isolate) Build(s *playbooks.Site) playbooks.Action { return &isolating{isolate: i, site: s} }

type isolating struct {
	isolate
	site *playbooks.Site

	mu   sync.Mutex
	errs []error
	held []string
}

func (i *isolating) Run(ctx context.Context, t evidence.Target, _ evidence.Sink) (playbooks.Outcome, error) {
	if i.wants(quarantine.LayerLabel) {
		i.site.Gate.Shut()
	}
	var all sync.WaitGroup
	all.Go(func() {
		// The probe pod is for measuring only; what it cannot tell is then unknown.
		if _, err := i.site.Hands.Probe(ctx); err != nil {
			i.site.Progress("no probe pod: %v", err)
		}
	})
	all.Go(func() {
		if i.wants(quarantine.LayerNetns) {
			// Asked for ahead, since what can be tried of a hand need not wait; the cut
			// says what became of it.
			_, _ = i.site.Hands.Cutter(ctx)
		}
		i.behind(ctx, quarantine.LayerNetns)
	})
	all.Go(func() { i.behind(ctx, quarantine.LayerCordon) })
	all.Go(func() {
		var labels sync.WaitGroup
		marked := true
		labels.Go(func() { i.behind(ctx, quarantine.LayerNetpol) })
		labels.Go(func() { i.behind(ctx, quarantine.LayerDeny) })
		labels.Go(func() { marked = i.layer(ctx, quarantine.LayerLabel) })
		labels.Wait()
		if marked {
			i.behind(ctx, quarantine.LayerDetach)
			i.behind(ctx, quarantine.LayerProtect) // after it: both patch the pod
		} else {
			i.became(quarantine.LayerDetach, false, errUnmarked)
			i.became(quarantine.LayerProtect, false, errUnmarked)
		}
	})
	all.Wait()
	slices.Sort(i.held)
	return playbooks.Outcome{Summary: "applied: " + strings.Join(i.held, ", ")}, errors.Join(i.errs...)
}

var errUnmarked = errors.New("not tried: the quarantine label is not on")

// layer applies one layer's changes in order, each through the journal, and says whether
// nothing went wrong.
func (i *isolating) layer(ctx context.Context, name string) bool {
	layer := i.site.Layers[name]
	if !i.wants(name) || layer == nil {
		return true
	}
	wrote, err := i.apply(ctx, layer, i.site.Look.ChangesOf(name))
	if name == quarantine.LayerLabel {
		i.site.Gate.Open(err)
	}
	return i.became(name, wrote, err)
}

// behind is layer behind the gate: nothing is intended where another case holds the target.
func (i *isolating) behind(ctx context.Context, name string) {
	if err := i.site.Gate.Pass(ctx); err != nil {
		i.became(name, false, err)
		return
	}
	i.layer(ctx, name)
}

// wants: this step asks for the layer, and the order and the scene let it be.
func (i *isolating) wants(name string) bool {
	return slices.Contains(i.layers, name) && i.site.Wants(name)
}

// became keeps what became of a layer, and tells it. A layer for which nothing was
// written holds since an earlier run wrote it.
func (i *isolating) became(name string, wrote bool, err error) bool {
	if !i.wants(name) {
		return true
	}
	applied := quarantine.Applied{Layer: name, At: i.site.Now()}
	if since, held := i.site.Watch.Held(name); held && !wrote {
		applied.At = since
	}
	if err != nil {
		applied.Error = err.Error()
	}
	i.site.Watch.Applied(applied)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err == nil:
		i.held = append(i.held, name)
		i.site.Progress("%s holds", name)
	case slices.Contains([]string{quarantine.LayerCordon, quarantine.LayerDeny, quarantine.LayerProtect}, name): // optional: the lack of it warns
		i.site.Progress("%s: %v", name, err)
	default:
		i.errs = append(i.errs, fmt.Errorf("layer %s: %w", name, err))
	}
	return err == nil
}

// apply makes a layer's changes; wrote says that one of them was not made before.
func (i *isolating) apply(ctx context.Context, layer quarantine.Layer, changes []evidence.Change) (wrote bool, err error) {
	for _, c := range changes {
		made := false
		answer, err := i.site.Journal.Do(ctx, c, func(ctx context.Context) (json.RawMessage, error) {
			made = true
			r, err := layer.Apply(ctx, c)
			if err != nil {
				return nil, err
			}
			i.opened(r)
			return json.Marshal(r)
		})
		if err != nil {
			return wrote, err
		}
		wrote = wrote || made
		if !made {
			if err := i.again(ctx, layer, c, answer); err != nil {
				return wrote, err
			}
		}
	}
	return wrote, nil
}

func (i *isolating) opened(r quarantine.Result) {
	if r.Opened != nil {
		i.site.Watch.Opened(*r.Opened)
	}
}

// again takes over what an earlier run did: the baseline that it saw, and, since a hand
// may have ended and a cut with it never does, the cut is asked for once more, which
// does nothing where it stands. A cut that nobody can ask about is not said to hold.
func (i *isolating) again(ctx context.Context, layer quarantine.Layer, c evidence.Change, answer json.RawMessage) error {
	var r quarantine.Result
	if err := json.Unmarshal(answer, &r); err == nil {
		i.opened(r)
	}
	if layer.Traits().Name != quarantine.LayerNetns {
		return nil
	}
	if _, err := layer.Apply(ctx, c); err != nil {
		return fmt.Errorf("asked for again: %w", err)
	}
	return nil
}

package playbooks

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Answer is what admission said of one change that was tried with dryRun=All.
type Answer struct {
	Change   string   `json:"change"`
	OK       bool     `json:"ok"`
	Text     string   `json:"text,omitempty"`
	Warnings []string `json:"warnings,omitempty"` // of the API server (RFC 7234, section 5.5)
}

// trial gathers answers.
type trial struct {
	answers []Answer
}

// of tries one change.
func (t *trial) of(ctx context.Context, change string, try func(context.Context) (string, error)) {
	ctx, warned := cluster.WithWarnings(ctx)
	text, err := try(ctx)
	a := Answer{Change: change, OK: err == nil, Text: text, Warnings: warned()}
	if err != nil {
		a.Text = err.Error()
	}
	t.answers = append(t.answers, a)
}

// Try has the API server check every change of a plan with dryRun=All, admission included.
// What is no write to the API server, as the cut, is not tried.
func (e *Engine) Try(ctx context.Context, o Order, p Prospect) []Answer {
	var t trial
	layers := e.layers(nil, p.Want, nil)
	containers := handContainers(o)
	for _, c := range p.Changes {
		switch c.Layer {
		case "hand":
			if nodepod.Is(c) {
				t.of(ctx, c.ID, func(ctx context.Context) (string, error) {
					return "where no hand that can cut is admitted beside the target",
						nodepod.Try(ctx, nodepod.Options{Host: e.host(o, Key{}, nobody{}), Target: o.Target}, o.Pod)
				})
				continue
			}
			if len(containers) == 0 {
				continue
			}
			container := containerOf(c, containers)
			t.of(ctx, c.ID, func(ctx context.Context) (string, error) {
				choice, err := debugger.Choose(ctx, debugger.Options{Host: e.host(o, e.keyIfThere(o), nobody{}), Target: o.Target, Container: container, Profiles: debugger.All()})
				return choiceText(choice), err
			})
		case "probe":
			t.of(ctx, c.ID, func(ctx context.Context) (string, error) {
				return "", debugger.TryProbePod(ctx, debugger.ProbeOptions{Host: e.host(o, Key{}, nobody{})})
			})
		case csi.Layer:
			t.of(ctx, c.ID, func(ctx context.Context) (string, error) {
				_, err := e.storage().Create(ctx, c, true)
				return "", err
			})
		default:
			if dry, ok := layers[c.Layer].(quarantine.DryRunner); ok {
				t.of(ctx, c.ID, func(ctx context.Context) (string, error) { return "", dry.ApplyDry(ctx, c) })
			}
		}
	}
	return t.answers
}

func choiceText(c debugger.Choice) string {
	if c.Profile == "" {
		return ""
	}
	text := "profile " + string(c.Profile)
	if c.Inconclusive {
		text += ", but a webhook takes no part in dry runs: its word shows only at the write itself"
	}
	for _, r := range c.Refused {
		text += fmt.Sprintf("; %s was refused: %s", r.Profile, r.Reason)
	}
	return text
}

// handContainers are those beside which a hand is started, in spec order.
func handContainers(o Order) []string {
	names := containersOf(o.Pod)
	if sharesPIDs(o.Pod) && len(names) > 1 {
		return names[:1]
	}
	return names
}

// containerOf is the container that a hand's change is for, as its reason names it.
func containerOf(c evidence.Change, containers []string) string {
	i := slices.IndexFunc(containers, func(name string) bool { return strings.HasSuffix(c.Why, " container "+name) })
	return containers[max(i, 0)]
}

// footholds are the hands and the probe pod that a session would start, for the plan. The
// hand's own start makes the exact change, once admission has said which profile it takes.
// A hand that stands already is no change.
func (e *Engine) footholds(o Order, p Prospect, missing []cluster.Missing) ([]evidence.Change, error) {
	n := p.Needs
	if o.Image == "" && o.DebugImage == "" {
		return nil, nil
	}
	var out []evidence.Change
	fromNode := p.Scene.NodePods.Ready && quarantine.NeedsNodePod(p.Scene) != ""
	if n.Hand && fromNode {
		c, err := nodepod.Draft(nodepod.Options{Host: e.host(o, Key{}, nobody{}), Target: o.Target}, o.Pod)
		if err != nil {
			return nil, fmt.Errorf("plan the node pod: %w", err)
		}
		out = append(out, c)
	}
	if n.Hand && !fromNode {
		for _, name := range handContainers(o) {
			c, ok, err := debugger.Draft(debugger.Options{Host: e.host(o, e.keyIfThere(o), nobody{}), Target: o.Target, Container: name}, o.Pod)
			if err != nil {
				return nil, fmt.Errorf("plan the hand beside container %s: %w", name, err)
			}
			if ok {
				out = append(out, c)
			}
		}
	}
	if n.Probe && !slices.ContainsFunc(missing, isProbe) {
		c, err := debugger.DraftProbePod(debugger.ProbeOptions{Host: e.host(o, Key{}, nobody{})})
		if err != nil {
			return nil, fmt.Errorf("plan the probe pod: %w", err)
		}
		out = append(out, c)
	}
	return out, nil
}

func isProbe(m cluster.Missing) bool { return m.Rule.Scope == evidence.InSystem }

// keyIfThere is the case's key where the case is here; a plan makes none.
func (e *Engine) keyIfThere(o Order) Key {
	key, err := readKey(filepath.Clean(e.Cases.Dir(o.Case)))
	if err != nil {
		return Key{}
	}
	return key
}

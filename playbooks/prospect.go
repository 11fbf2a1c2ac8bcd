package playbooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/cordon"
	"irkit.dev/irkit/quarantine/revoke"
)

// Prospect is what an order would do: the scene as surveyed, the forecast, and every
// change before the first of them is made. It is a plain value.
type Prospect struct {
	Scene    quarantine.Scene   `json:"-"`
	Case     string             `json:"case"`
	Playbook string             `json:"playbook"`
	Forecast evidence.Forecast  `json:"forecast"`
	Changes  []evidence.Change  `json:"changes"`
	Missing  []cluster.Missing  `json:"missing_permissions"`
	Answers  []Answer           `json:"admission,omitempty"`     // of a server-side dry run
	Guard    string             `json:"guard,omitempty"`         // why acting here needs force, which was not given
	Admin    bool               `json:"cluster_admin,omitempty"` // who asks may do everything
	Targets  quarantine.Targets `json:"probes"`
	Rules    []evidence.Rule    `json:"-"`
	Steps    []string           `json:"steps"`
	Volumes  []csi.Volume       `json:"volumes,omitempty"` // how the content of each can be had
	Hints    []revoke.Hint      `json:"cloud,omitempty"`   // what is to be done in a cloud, by a person
	Want     quarantine.Want    `json:"-"`
	Needs    Needs              `json:"-"`
}

// ChangesOf are the changes of one layer, in order.
func (p Prospect) ChangesOf(layer string) []evidence.Change {
	var out []evidence.Change
	for _, c := range p.Changes {
		if c.Layer == layer {
			out = append(out, c)
		}
	}
	return out
}

// Blocked says which required permissions are missing.
func (p Prospect) Blocked() []cluster.Missing {
	var out []cluster.Missing
	for _, m := range p.Missing {
		if m.Rule.Required {
			out = append(out, m)
		}
	}
	return out
}

// Look surveys, forecasts and prepares, and writes nothing.
func (e *Engine) Look(ctx context.Context, o Order) (Prospect, error) {
	p := Prospect{Case: o.Case, Playbook: o.Plan.Name}
	for i, b := range o.Plan.Blueprints {
		p.Needs = join(p.Needs, b.Needs())
		p.Steps = append(p.Steps, o.Plan.Steps[i].ID)
	}
	p.Want = quarantine.Want{Layers: without(p.Needs.Layers, o.Skip), Case: o.Case, KeepOwner: o.KeepOwner, Hold: o.Hold, Allow: o.Allow, AllowDNS: o.AllowDNS, Force: o.Force, Sign: e.sign}
	if o.Pod != nil && !hasClaims(o.Pod) {
		p.Needs.Snapshots = nil
	}
	layers := e.layers(nil, p.Want, nil)
	p.Rules = Rules(p.Needs, layers)
	// Side by side: every round trip is time in which the target goes on.
	var surveyed sync.WaitGroup
	var surveyErr, volumesErr error
	nodeSpace := false
	surveyed.Go(func() { p.Scene, surveyErr = quarantine.Survey(ctx, e.Conn, o.Target) })
	if p.Needs.Hand {
		p.Rules = append(p.Rules, nodepod.Rules()...) // never of AllRules: a group of their own
		surveyed.Go(func() { nodeSpace = e.nodeSpace(ctx) })
	}
	surveyed.Go(func() { p.Volumes, volumesErr = e.surveyVolumes(ctx, o, p.Needs.Snapshots) })
	surveyed.Go(func() { p.Admin, _ = e.Conn.Admin(ctx) }) // only for a warning
	missing, err := e.Conn.Check(ctx, o.Target, p.Rules)
	surveyed.Wait()
	if err != nil {
		return p, fmt.Errorf("ask what we may do: %w", err)
	}
	p.Missing = missing
	if len(p.Blocked()) > 0 {
		return p, nil
	}
	if err := cmp.Or(surveyErr, volumesErr); err != nil {
		return p, err
	}
	if p.Needs.Hand {
		p.Scene.NodePods = nodePods(nodeSpace, missing)
	}
	p.Targets = quarantine.Probes(p.Scene)
	p.Targets.Inside = append(p.Targets.Inside, o.Canaries...)
	p.Forecast = quarantine.Forecast(p.Scene, o.Target, p.Want)
	if len(p.Needs.Layers) == 0 {
		p.Forecast = evidence.Forecast{Target: o.Target}
	}
	p.guard(o)
	if p.Changes, err = e.footholds(o, p, missing); err != nil {
		return p, err
	}
	for _, name := range p.Want.Layers {
		if slices.Contains(p.Forecast.Refused, name) || layers[name] == nil {
			continue
		}
		changes, err := layers[name].Prepare(p.Scene, o.Target)
		if errors.Is(err, quarantine.ErrUnsuited) {
			p.Forecast.Refused = append(p.Forecast.Refused, name)
			p.Forecast.Findings = append(p.Forecast.Findings, evidence.Finding{Severity: evidence.Refused, Code: "layer-unsuited", Layer: name, Text: err.Error()})
			continue
		}
		if err != nil {
			return p, fmt.Errorf("prepare layer %s: %w", name, err)
		}
		p.Changes = append(p.Changes, changes...)
	}
	shots, err := snapshotChanges(o, p.Volumes)
	if err != nil {
		return p, err
	}
	p.Changes = append(p.Changes, shots...)
	err = e.lookRevoke(ctx, o, &p)
	return p, err
}

// layers are all layers by name. hands is nil while only Prepare is called.
func (e *Engine) layers(hands quarantine.Hands, w quarantine.Want, baseline []evidence.Probe) map[string]quarantine.Layer {
	all := map[string]quarantine.Layer{
		quarantine.LayerNetns:   quarantine.NewNetns(hands, w, baseline, 0),
		quarantine.LayerLabel:   quarantine.NewLabel(e.Conn, w),
		quarantine.LayerNetpol:  quarantine.NewNetpol(e.Conn, w),
		quarantine.LayerDeny:    quarantine.NewDeny(e.Conn, w),
		quarantine.LayerDetach:  quarantine.NewDetach(e.Conn, w),
		quarantine.LayerProtect: quarantine.NewProtect(e.Conn, w),
		quarantine.LayerCordon:  cordon.New(e.Conn),
	}
	maps.Copy(all, revoke.Layers(e.Conn))
	return all
}

// Rules are the permissions that needs come to.
func Rules(n Needs, layers map[string]quarantine.Layer) []evidence.Rule {
	rules := append(quarantine.SurveyRules(), n.Rules...)
	for _, name := range n.Layers {
		if l := layers[name]; l != nil {
			rules = append(rules, l.Traits().Rules...)
		}
	}
	if n.Hand {
		rules = append(rules, debugger.Rules()...)
	}
	if n.Probe {
		rules = append(rules, debugger.ProbeRules()...)
	}
	if n.Snapshots != nil {
		rules = append(rules, csi.Rules()...)
	}
	return rules
}

// AllRules are the permissions that a plan may need on any target, for `irkit rbac`.
func (e *Engine) AllRules(p *Plan) []evidence.Rule {
	var n Needs
	for _, b := range p.Blueprints {
		n = join(n, b.Needs())
	}
	rules := Rules(n, e.layers(nil, quarantine.Want{}, nil))
	for _, name := range n.Revoke { // of a plan at hand the scene says which of them
		if l := revoke.Layers(nil)[name]; l != nil {
			rules = append(rules, l.Traits().Rules...)
		}
	}
	if len(n.Layers) == 0 {
		return rules // nothing is to be released
	}
	return append(rules, quarantine.ReleaseRules(quarantine.DeletePod)...)
}

func join(a, b Needs) Needs {
	for _, l := range b.Layers {
		if !slices.Contains(a.Layers, l) {
			a.Layers = append(a.Layers, l)
		}
	}
	a.Hand, a.Probe = a.Hand || b.Hand, a.Probe || b.Probe
	a.Rules = append(a.Rules, b.Rules...)
	a.Artifacts = append(a.Artifacts, b.Artifacts...)
	a.Revoke = append(a.Revoke, b.Revoke...)
	if a.Snapshots == nil || a.Snapshots.Class == "" && b.Snapshots != nil {
		a.Snapshots = cmp.Or(b.Snapshots, a.Snapshots)
	}
	return a
}

func without(all, skip []string) []string {
	var out []string
	for _, s := range all {
		if !slices.Contains(skip, s) {
			out = append(out, s)
		}
	}
	return out
}

package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/revoke"
)

// revoking takes credentials of the target's service account away. No playbook that irkit
// ships has it: `irkit revoke` makes one of what a person chose.
type revoking struct {
	steps []string
}

// RevokePlaybook is what `irkit revoke` runs.
func RevokePlaybook(steps []string) []byte {
	return fmt.Appendf(nil, "# What `irkit revoke` was asked for.\napiVersion: irkit.dev/v1alpha1\nkind: Playbook\nmetadata:\n  name: revoke\n  description: take credentials of the target's service account away\nsteps:\n  - id: revoke\n    revoke:\n      steps: [%s]\n", strings.Join(steps, ", "))
}

func newRevoke(with *yaml.Node) (playbooks.Blueprint, []playbooks.Fault) {
	f := playbooks.FieldsOf(with, "revoke")
	r := revoking{steps: f.Words("steps", revoke.Steps()...)}
	faults := f.Rest()
	if len(r.steps) == 0 && len(faults) == 0 {
		faults = append(faults, playbooks.Fault{Text: "revoke: no steps given (there are " + strings.Join(revoke.Steps(), ", ") + ")"})
	}
	return r, faults
}

func (r revoking) Needs() playbooks.Needs {
	return playbooks.Needs{Revoke: r.steps, Rules: quarantine.SecretRules()}
}

func (r revoking) Build(s *playbooks.Site) playbooks.Action { return doRevoke{r, s} }

type doRevoke struct {
	revoking
	site *playbooks.Site
}

// Run applies the layers one after the other: what can be taken back first. What fails does
// not keep the rest from being done.
func (d doRevoke) Run(ctx context.Context, _ evidence.Target, _ evidence.Sink) (playbooks.Outcome, error) {
	var errs []error
	done, tried := 0, 0
	for _, name := range revoke.Steps() {
		if !slices.Contains(d.steps, name) {
			continue
		}
		layer := d.site.Layers[name]
		for _, c := range d.site.Look.ChangesOf(name) {
			tried++
			answer, err := d.site.Journal.Do(ctx, c, func(ctx context.Context) (json.RawMessage, error) {
				r, err := layer.Apply(ctx, c)
				if err != nil {
					return nil, err
				}
				return json.Marshal(r)
			})
			if err != nil {
				errs = append(errs, err)
				continue
			}
			done++
			d.tell(c, answer)
		}
	}
	return playbooks.Outcome{Summary: fmt.Sprintf("%d of %d revocations stand", done, tried)}, errors.Join(errs...)
}

func (d doRevoke) tell(c evidence.Change, answer json.RawMessage) {
	d.site.Progress("%s: %s %s", c.Layer, c.Op, c.Object)
	var r quarantine.Result
	if json.Unmarshal(answer, &r) == nil {
		for _, n := range r.Notes {
			d.site.Progress("%s", n)
		}
	}
}

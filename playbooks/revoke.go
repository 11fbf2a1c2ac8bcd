package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/revoke"
)

// lookRevoke adds to a prospect what the steps of revoking that it needs would do.
func (e *Engine) lookRevoke(ctx context.Context, o Order, p *Prospect) error {
	steps := slices.DeleteFunc(revoke.Steps(), func(l string) bool { return !slices.Contains(p.Needs.Revoke, l) })
	if len(steps) == 0 {
		return nil
	}
	if err := quarantine.SurveySecrets(ctx, e.Conn, &p.Scene); err != nil {
		return err
	}
	findings, refused := revoke.Forecast(p.Scene, steps, o.Force)
	p.Forecast.Layers = append(p.Forecast.Layers, steps...)
	p.Forecast.Refused = append(p.Forecast.Refused, refused...)
	p.Forecast.Findings = append(append(p.Forecast.Findings, findings...), quarantine.IdentityFindings(p.Scene)...)
	p.Hints = revoke.Hints(p.Scene)
	layers := revoke.Layers(e.Conn)
	var writes []evidence.Change
	for _, l := range steps {
		if slices.Contains(refused, l) {
			continue
		}
		changes, err := layers[l].Prepare(p.Scene, o.Target)
		if half := e.halfway(o, l); errors.Is(err, quarantine.ErrUnsuited) && len(half) > 0 {
			changes, err = half, nil
		}
		if errors.Is(err, quarantine.ErrUnsuited) {
			p.Forecast.Refused = append(p.Forecast.Refused, l)
			p.Forecast.Findings = append(p.Forecast.Findings, evidence.Finding{Severity: evidence.Refused, Code: "layer-unsuited", Layer: l, Text: err.Error()})
			continue
		}
		if err != nil {
			return fmt.Errorf("prepare %s: %w", l, err)
		}
		writes = append(writes, changes...)
	}
	p.Changes = append(p.Changes, writes...)
	missing, err := e.Conn.Check(ctx, o.Target, revoke.RulesOf(o.Target, writes))
	if err != nil {
		return fmt.Errorf("ask what we may do: %w", err)
	}
	p.Missing = append(p.Missing, missing...)
	return nil
}

// halfway are the changes of a layer that an earlier run of the case began and of which no
// answer is there: a service account may have been deleted and not made, and is then in no
// survey.
func (e *Engine) halfway(o Order, layer string) []evidence.Change {
	h, err := e.Cases.History(o.Case)
	if err != nil && len(h.Records) == 0 || h.Target.UID != o.Target.UID {
		return nil
	}
	var out []evidence.Change
	for _, d := range begun(h.Records) {
		if d.Change.Layer == layer && d.Data == nil {
			out = append(out, d.Change)
		}
	}
	return out
}

// apart divides what stands into containment and credentials.
func apart(all []quarantine.Done) (contained, credentials []quarantine.Done) {
	for _, d := range all {
		if isCredential(d) {
			credentials = append(credentials, d)
		} else {
			contained = append(contained, d)
		}
	}
	return contained, credentials
}

// isCredential tells the changes that release leaves alone: credentials are given back only
// by who asks for that.
func isCredential(d quarantine.Done) bool { return revoke.Is(d.Change.Layer) }

// LookUnrevoke says what giving the case's credentials back would do, from its custody log.
// It writes nothing; Engine.Release carries it out.
func (e *Engine) LookUnrevoke(caseID string) (Parole, error) {
	h, err := e.Cases.History(caseID)
	if err != nil {
		return Parole{}, err
	}
	p := Parole{Case: caseID, Target: h.Target, History: h, Plan: quarantine.ReleasePlan{Mode: quarantine.Credentials, Steps: []quarantine.Step{}, Residue: []string{}, Kept: []string{}}}
	last, _ := h.Last()
	p.Sealed = last.Sealed
	var writes []evidence.Change
	for _, d := range slices.Backward(begun(h.Records)) {
		if !isCredential(d) {
			continue
		}
		c := d.Change
		if d.Data != nil {
			var r quarantine.Result
			if err := json.Unmarshal(d.Data, &r); err != nil {
				return p, fmt.Errorf("read the record of %s: %w", c.ID, err)
			}
			c = quarantine.Merge(c, r)
		}
		if c.Irreversible != "" {
			p.Plan.Residue = append(p.Plan.Residue, c.Object.String()+": "+c.Irreversible)
			continue
		}
		w := evidence.Change{ID: "release/" + c.ID, Layer: c.Layer, Op: c.Op, Object: c.Object, Before: c.After, After: c.Before, Why: "give back what was taken: " + c.Object.String()}
		if c.Op == evidence.OpDelete {
			w.Op = evidence.OpCreate
		}
		writes = append(writes, w)
		p.Plan.Steps = append(p.Plan.Steps, quarantine.Step{Kind: quarantine.StepUndo, Layer: c.Layer, Change: &w, Undo: &c, Why: w.Why})
	}
	p.Rules = revoke.RulesOf(h.Target, writes)
	return p, nil
}

// Revoking finds the newest case that holds credentials back of the target that is meant.
func (c Cases) Revoking(meant func(evidence.Target) bool) (caseID string, ok bool, err error) {
	return c.newest(func(h History) bool {
		return h.Target.UID != "" && meant(h.Target) && slices.ContainsFunc(begun(h.Records), isCredential)
	})
}

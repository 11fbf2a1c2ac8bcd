package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/quarantine"
)

// Parole is what a release would do, before anything is done.
type Parole struct {
	Case    string                 `json:"case"`
	Target  evidence.Target        `json:"target"`
	Note    *Note                  `json:"annotation,omitempty"` // nil: from the custody log
	History History                `json:"-"`
	Live    *corev1.Pod            `json:"-"` // nil: gone or replaced
	Plan    quarantine.ReleasePlan `json:"plan"`
	Rules   []evidence.Rule        `json:"-"`
	Sealed  bool                   `json:"sealed"`
	Answers []Answer               `json:"admission,omitempty"` // of a server-side dry run
}

// ReleaseResult is what a release came to.
type ReleaseResult struct {
	Case    string          `json:"case"`
	Target  evidence.Target `json:"target"`
	Mode    quarantine.Mode `json:"mode"`
	Note    *Note           `json:"annotation,omitempty"` // it was released by this
	Done    []string        `json:"done"`
	Residue []string        `json:"residue"`
	Kept    []string        `json:"kept"`
	Failed  []string        `json:"failed"`
}

// LookRelease says what a release of the case would do, from its custody log and the
// live pod. It writes nothing.
func (e *Engine) LookRelease(ctx context.Context, caseID string, mode quarantine.Mode) (Parole, error) {
	h, err := e.Cases.History(caseID)
	if err != nil {
		return Parole{}, err
	}
	p := Parole{Case: caseID, Target: h.Target, History: h, Rules: quarantine.ReleaseRules(mode)}
	last, _ := h.Last()
	p.Sealed = last.Sealed
	p.Live, err = e.Conn.Live(ctx, h.Target)
	if err != nil && !errors.Is(err, cluster.ErrReplaced) {
		return p, e.Conn.Explain("read the target", err)
	}
	contained, credentials := apart(begun(h.Records))
	p.Plan, err = quarantine.PlanRelease(p.Live, h.Target, contained, mode)
	for _, d := range credentials {
		p.Plan.Residue = append(p.Plan.Residue, fmt.Sprintf("%s stays revoked (%s): irkit revoke --undo gives back what can be", d.Change.Object, d.Change.Layer))
	}
	return p, err
}

// Release carries a parole out. An unsealed case must be sealed first (see Reseal); one that
// is not here gets a small case folder of its own, with its custody log. What
// fails is told and the rest is still tried, but for labels, which come last and only
// when the pod is ready or ask says so.
func (e *Engine) Release(ctx context.Context, o Order, p Parole, ask func(string) bool) (ReleaseResult, error) {
	out := ReleaseResult{Case: p.History.Case, Target: p.History.Target, Mode: p.Plan.Mode, Note: p.Note,
		Done: []string{}, Residue: p.Plan.Residue, Kept: p.Plan.Kept, Failed: []string{}}
	o.Case, o.Target, o.Pod = p.History.Case, p.History.Target, p.Live
	dir := e.Cases.Dir(p.History.Case)
	lock, err := custody.LockCase(dir)
	if err != nil {
		return out, err
	}
	defer lock.Unlock()
	key, err := LoadKey(dir)
	if err != nil {
		return out, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return out, fmt.Errorf("open case %s: %w", p.History.Case, err)
	}
	defer root.Close()
	if p.Note != nil {
		if err := e.adopt(ctx, root, p.Note); err != nil {
			return out, fmt.Errorf("open case %s to release by the undo annotation: %w", p.Note.Case, err)
		}
		if p.History, err = e.Cases.History(p.Note.Case); err != nil {
			return out, err
		}
	}
	last, _ := p.History.Last()
	log, err := custody.Continue(root, custody.Options{Bundle: last.ID, Case: p.History.Case, Clock: e.Now})
	if err != nil {
		return out, err
	}
	defer log.Close()
	journal := NewJournal(log, p.History.Records, cluster.WithAudit)
	journal.Actor = &e.Actor
	r := &releasing{Engine: e, parole: p, ask: ask, out: &out, journal: journal.Releasing(p.History.Records)}
	r.endProbe, r.endNode = e.starter(o, key, journal).EndProbe, e.starter(o, key, journal).EndNode
	if p.Live != nil {
		r.hands = e.hands(o, key, journal)
	}
	r.layers = e.layers(r, quarantine.Want{Case: p.History.Case, Sign: e.sign}, nil)
	r.name()
	r.run(ctx)
	return out, r.end(ctx)
}

// name gives each step's write an ID of its own. A change that is undone in several
// steps counts as released with the last of them.
func (r *releasing) name() {
	left := map[string]int{}
	for _, s := range r.parole.Plan.Steps {
		if s.Undo != nil {
			left[s.Undo.ID]++
		}
	}
	r.ids = make([]string, len(r.parole.Plan.Steps))
	for i, s := range r.parole.Plan.Steps {
		if s.Undo == nil {
			continue
		}
		r.ids[i] = undoPrefix + s.Undo.ID
		if left[s.Undo.ID]--; left[s.Undo.ID] > 0 {
			r.ids[i] += fmt.Sprintf("%s%d", undoPart, left[s.Undo.ID])
		}
	}
}

type releasing struct {
	*Engine
	ids     []string // of the steps' writes
	parole  Parole
	journal *Journal
	hands   *Hands
	layers  map[string]quarantine.Layer
	ask     func(string) bool
	out     *ReleaseResult
	// endProbe takes away the probe pod that a session which was killed left.
	endProbe func(context.Context) error
	endNode  func(context.Context) error // the same for the node pod
}

func (r *releasing) run(ctx context.Context) {
	for i, step := range r.parole.Plan.Steps {
		if ctx.Err() != nil {
			r.out.Failed = append(r.out.Failed, "interrupted")
			return
		}
		r.Progress("%s", step.Why)
		goOn, err := r.step(ctx, step, r.ids[i])
		switch {
		case err != nil:
			r.out.Failed = append(r.out.Failed, fmt.Sprintf("%s: %v", step.Why, err))
		case goOn:
			r.out.Done = append(r.out.Done, step.Why)
		}
		if !goOn {
			return
		}
	}
}

func (r *releasing) step(ctx context.Context, step quarantine.Step, id string) (goOn bool, err error) {
	target := r.parole.History.Target
	switch step.Kind {
	case quarantine.StepWaitReady:
		ready, err := quarantine.Ready(ctx, r.Conn, target, step.Limit)
		if err != nil || ready {
			return err == nil, err
		}
		if r.ask("the pod is not ready; a ReplicaSet would delete it first when it comes back to service. Go on?") {
			return true, nil
		}
		return false, fmt.Errorf("not ready after %s", step.Limit.Round(time.Second))
	case quarantine.StepDelete:
		_, err := r.journal.Do(ctx, *step.Change, func(ctx context.Context) (json.RawMessage, error) {
			return nil, quarantine.DeleteTarget(ctx, r.Conn, target)
		})
		return err == nil, err
	}
	layer := r.layers[step.Layer]
	if layer == nil {
		return true, fmt.Errorf("layer %q is not known here", step.Layer)
	}
	write := *step.Change
	write.ID = id
	_, err = r.journal.Do(ctx, write, func(ctx context.Context) (json.RawMessage, error) {
		result, err := layer.Release(ctx, *step.Undo)
		if errors.Is(err, agent.ErrGone) {
			r.out.Residue = append(r.out.Residue, "the cut in the pod's network namespace: no hand could be had to lift it (docs/cut.md says how to from the node)")
		}
		r.out.Kept = append(r.out.Kept, result.Notes...)
		if err != nil {
			return nil, err
		}
		return json.Marshal(result)
	})
	if err != nil && step.Layer == quarantine.LayerNetns && r.parole.Plan.Mode == quarantine.ToService {
		// A pod that is back in its Services and still cut off answers nobody.
		return r.ask("the cut could not be lifted; back in service the pod would answer nobody. Go on?"), err
	}
	return true, err
}

// end writes what the release came to, and ends the hands.
func (r *releasing) end(ctx context.Context) error {
	ctx, done := detached(ctx, time.Minute)
	defer done()
	if r.hands != nil {
		if err := r.hands.Close(ctx, false); err != nil {
			r.Progress("end hands: %v", err)
		}
	}
	if probing(r.parole.History.Records) != "" {
		if err := r.endProbe(ctx); err != nil {
			r.out.Failed = append(r.out.Failed, fmt.Sprintf("take the probe pod away: %v", err))
		}
	} else if r.parole.Note != nil {
		// Whether the containment left one is not known here; it ends by itself.
		if err := r.endProbe(ctx); err != nil {
			r.out.Residue = append(r.out.Residue, fmt.Sprintf("a probe pod in irkit-system, if one was left, until its deadline: %v", err))
		}
	}
	data := map[string]any{"residue": r.out.Residue, "kept": r.out.Kept}
	if n := r.parole.Note; n != nil {
		maps.Copy(data, n.data())
	}
	if nodePodLeft(r.parole.History.Records) != "" {
		if err := r.endNode(ctx); err != nil {
			r.out.Failed = append(r.out.Failed, fmt.Sprintf("take the node pod away: %v", err))
		}
	}
	if err := r.journal.Rest(ctx, r.Conn.Sent()); err != nil {
		r.out.Failed = append(r.out.Failed, err.Error())
	}
	rec := evidence.Record{Action: evidence.ActReleased, Target: &r.parole.History.Target, Result: "ok", Errors: r.out.Failed,
		Note: string(r.parole.Plan.Mode), Data: data}
	if r.parole.Plan.Mode == quarantine.Credentials { // the pod itself was not released
		rec.Action = evidence.ActRevoked
	}
	if len(r.out.Failed) > 0 {
		rec.Result = "partial"
	}
	return r.journal.Note(ctx, rec)
}

// probing names the probe pod that a session began to make, and had not taken away
// again when it ended; empty: there is none.
func probing(records []evidence.Record) (left string) {
	for _, r := range records {
		if r.Change == nil || r.Change.Layer != "probe" {
			continue
		}
		switch {
		case r.Change.Op == evidence.OpCreate, r.Phase != evidence.Did:
			left = r.Change.Object.Namespace + "/" + r.Change.Object.Name
		case r.Change.Op == evidence.OpDelete:
			left = ""
		}
	}
	return left
}

// Open implements quarantine.Hands; a release never cuts.
func (r *releasing) Open(context.Context, evidence.Target, agent.Opening) (agent.Opened, error) {
	return agent.Opened{}, errors.New("a release makes no cut")
}

// Lift implements quarantine.Hands.
func (r *releasing) Lift(ctx context.Context, t evidence.Target, caseID string) error {
	if r.hands == nil {
		return nil // the pod is gone, and its network namespace with it
	}
	return r.hands.Lift(ctx, t, caseID)
}

package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Standing is what can be said of one case: from its custody log always, and from the
// cluster where that can be reached.
type Standing struct {
	Case     string              `json:"case"`
	Target   evidence.Target     `json:"target"`
	Bags     []BagStanding       `json:"bundles"`
	Changes  []string            `json:"changes_standing"`      // made, and not released
	Unsure   []string            `json:"changes_unsure"`        // made or undone perhaps: it was begun, and no answer is there
	Revoked  []string            `json:"revoked,omitempty"`     // credentials, also where the pod was released
	Left     []string            `json:"left,omitempty"`        // what irkit made for itself, and has perhaps not taken away
	Released bool                `json:"released"`              // as a whole
	LastStep string              `json:"last_record,omitempty"` // what the log says last
	LastTime time.Time           `json:"last_time,omitzero"`
	Faults   []string            `json:"faults,omitempty"` // of the log itself
	Live     string              `json:"live"`             // running, gone, replaced, unknown
	Drift    []string            `json:"drift,omitempty"`  // where cluster and log do not agree
	Hand     string              `json:"hand"`             // answers, gone, none, unknown
	Cut      *evidence.CutReport `json:"cut,omitempty"`
	Verdict  *evidence.Verdict   `json:"verdict,omitempty"` // measured anew
	// Disturbed is what others did to it, as it stands.
	Disturbed []evidence.Disturbance `json:"disturbed,omitempty"`
	Before    string                 `json:"verdict_before,omitempty"` // as the log has it
}

// BagStanding is one bundle of a case.
type BagStanding struct {
	ID     string `json:"id"`
	Sealed bool   `json:"sealed"`
}

// Recall says what the custody log of a case tells, without the cluster.
func (c Cases) Recall(caseID string) (Standing, error) {
	h, err := c.History(caseID)
	s := Standing{Case: caseID, Target: h.Target, Released: h.Released(), Live: "unknown", Hand: "unknown"}
	if err != nil && len(h.Bags) == 0 {
		return s, err
	}
	if err != nil {
		s.Faults = append(s.Faults, err.Error())
	}
	for _, b := range h.Bags {
		s.Bags = append(s.Bags, BagStanding{ID: b.ID, Sealed: b.Sealed})
	}
	did := StandingChanges(h.Records)
	stand, credentials := apart(begun(h.Records))
	for _, d := range credentials { // no release gives these back
		s.Revoked = append(s.Revoked, d.Change.Layer+": "+d.Change.Object.String())
	}
	if s.Released { // also by the pod's end: what was on it is gone with it
		stand = nil
	}
	for _, d := range stand {
		said := d.Change.Layer + ": " + d.Change.Object.String()
		if _, sure := did[d.Change.ID]; sure {
			s.Changes = append(s.Changes, said)
		} else {
			s.Unsure = append(s.Unsure, said)
		}
	}
	if pod := probing(h.Records); pod != "" {
		s.Left = append(s.Left, "probe pod "+pod)
	}
	if pod := nodePodLeft(h.Records); pod != "" {
		s.Left = append(s.Left, "node pod "+pod)
	}
	for _, r := range h.Records {
		if r.Action == evidence.ActMeasured {
			s.Before = r.Result
		}
	}
	if n := len(h.Records); n > 0 {
		last := h.Records[n-1]
		s.LastTime, s.LastStep = last.Time, string(last.Action)
		if last.Phase != "" {
			s.LastStep += " " + string(last.Phase)
		}
	}
	return s, nil
}

// Measure completes a standing from the cluster: is the pod still the one, do our
// marks stand, does the hand answer, and what passes now. It writes nothing to the cluster: a
// hand that is gone is not replaced. Without a probe pod inbound is not measured. The streams
// to the hand are a custody record of a case that is sealed, and that nobody else holds.
func (e *Engine) Measure(ctx context.Context, s *Standing) error { return e.measure(ctx, s, false) }

// MeasureWithProbe is Measure with a probe pod, whose start and end are custody records
// of the case; a case that is not sealed is measured without.
func (e *Engine) MeasureWithProbe(ctx context.Context, s *Standing) error {
	return e.measure(ctx, s, true)
}

func (e *Engine) measure(ctx context.Context, s *Standing, probe bool) error {
	live, err := e.Conn.Live(ctx, s.Target)
	switch {
	case errors.Is(err, cluster.ErrReplaced):
		s.Live = "gone or replaced"
		s.Hand = "gone with the pod"
		return nil
	case err != nil:
		return e.Conn.Explain("read the target", err)
	}
	s.Live = string(live.Status.Phase)
	marked := live.Labels[evidence.LabelQuarantine]
	labelled := slices.ContainsFunc(s.Changes, func(id string) bool { return strings.HasPrefix(id, quarantine.LayerLabel+":") })
	switch {
	case labelled && marked != s.Case:
		s.Drift = append(s.Drift, "the log says that the quarantine label is on; the pod does not have it")
	case !labelled && marked == s.Case && len(s.Unsure) == 0:
		s.Drift = append(s.Drift, "the pod has the quarantine label; the log does not say so")
	}
	scene, err := quarantine.Survey(ctx, e.Conn, s.Target)
	if err != nil {
		return err
	}
	h, err := e.Cases.History(s.Case)
	if err != nil && len(h.Records) == 0 {
		return err
	}
	defer e.noted(ctx, s.Case)
	watch := NewWatch(scene, s.Case, e.Now())
	watch.Recall(h.Records)
	guard := &Guard{Conn: e.Conn, Target: s.Target, Notes: nobody{}, Now: e.Now, Progress: func(string, ...any) {}, Restarts: h.restarts()}
	stand, _ := apart(begun(h.Records))
	if s.Released {
		stand = nil
	}
	if s.Disturbed, err = guard.Look(ctx, stand, watch); err != nil {
		return e.Conn.Explain("look at what stands", err)
	}
	hand, err := e.standing(ctx, h, &scene.Pod)
	if err != nil || hand == nil {
		s.Hand = "gone"
		if cutFromNode(h.Records) {
			s.Hand = "none: the cut was made from a node pod, which ends with its session; it stands by itself, and what passes now was not measured"
			return nil
		}
		if err != nil {
			s.Hand = "gone: " + err.Error()
		}
		return nil
	}
	s.Hand = "answers"
	defer hand.Close(context.WithoutCancel(ctx), false)
	outside, from, end := e.outside(ctx, h, &scene.Pod, probe)
	defer end()
	targets := quarantine.Probes(scene).Listening(scene, watch.Measurements().FlowsBefore)
	if err := watch.Round(ctx, hand, outside, from, targets); err != nil {
		return err
	}
	v := watch.Judge(e.Now())
	s.Verdict, s.Cut = &v, watch.Measurements().Cut
	return nil
}

// outside starts a probe pod, as recorded writes. Without one, what it would have told is
// not known.
func (e *Engine) outside(ctx context.Context, h History, pod *corev1.Pod, asked bool) (hand agent.Hand, from []netip.Addr, end func()) {
	none := func() {}
	key, err := readKey(h.Dir)
	if !asked || err != nil {
		return nil, nil, none
	}
	order := Order{Case: h.Case, Target: h.Target, Pod: pod}
	h.HandOf(&order)
	hands := e.hands(order, key, later{e, h.Case})
	probe, err := hands.Probe(ctx)
	if err != nil {
		e.Progress("no probe pod: %v", err)
		return nil, nil, none
	}
	return probe, probe.Info().Addrs, func() {
		ctx, done := detached(ctx, time.Minute)
		defer done()
		if err := hands.Close(ctx, true); err != nil {
			e.Progress("take the probe pod away: %v", err)
		}
	}
}

// noted records the streams that a look opened. It looks at cases in which another irkit
// may be at work, or was killed: that they cannot be recorded then is told, and the look
// counts all the same.
func (e *Engine) noted(ctx context.Context, caseID string) {
	ctx, done := detached(ctx, 10*time.Second)
	defer done()
	if err := (later{e, caseID}).rest(ctx); err != nil {
		e.Progress("the streams of this look stand in the API server's audit log alone: %v", err)
	}
}

// standing attaches to the first hand that stands beside the target; nil when none does.
func (e *Engine) standing(ctx context.Context, h History, pod *corev1.Pod) (Hand, error) {
	key, err := readKey(h.Dir)
	if err != nil {
		return nil, err
	}
	order := Order{Case: h.Case, Target: h.Target, Pod: pod}
	h.HandOf(&order)
	hands := e.hands(order, key, nobody{})
	var errs []error
	for _, name := range hands.Containers() {
		hand, err := hands.starter.Standing(ctx, name)
		if hand != nil {
			return hand, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// nobody is the recorder where nothing may be written.
type nobody struct{}

func (nobody) Do(context.Context, evidence.Change, func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	return nil, errors.New("this command writes nothing")
}

// Note implements Noter: what is seen here is not recorded.
func (nobody) Note(context.Context, evidence.Record) error { return nil }

package quarantine

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

type label struct {
	conn *cluster.Conn
	want Want
}

// NewLabel is the layer that marks the target: the quarantine label, which the policy
// selects on, and the undo annotation, in one patch that tests that no other case's
// mark is there. That test is the lock between two irkits: the same case joins, another
// fails with ErrForeign (unless Want.Force).
func NewLabel(conn *cluster.Conn, w Want) Layer { return &label{conn: conn, want: w} }

// Traits implements Layer.
func (l *label) Traits() Traits {
	return Traits{Name: LayerLabel, Rules: podRules("mark the target, so that the quarantine policy selects it")}
}

func podRules(why string) []evidence.Rule {
	return []evidence.Rule{{Resource: "pods", Verbs: []string{"get", "patch"}, Scope: evidence.InTarget, Required: true, Why: why}}
}

// Prepare implements Layer.
func (l *label) Prepare(s Scene, t evidence.Target) ([]evidence.Change, error) {
	if err := prepared(s, t, l.want, LayerLabel); err != nil {
		return nil, err
	}
	if h := s.Quarantine; h != nil && h.Case != l.want.Case && !l.want.Force {
		return nil, fmt.Errorf("mark %s for case %s: case %q holds it: %w", t, l.want.Case, h.Case, ErrForeign)
	}
	u := Undo{V: 1, Case: l.want.Case, Target: t, Labels: s.Pod.Labels, Owners: s.Pod.OwnerReferences, Changes: []evidence.Change{}}
	for _, make := range []func(Scene, evidence.Target, Want) []evidence.Change{netnsChange, policyChanges, denyChanges, detachChange, protectChanges} {
		u.Changes = append(u.Changes, make(s, t, l.want)...)
	}
	text, err := undoText(u, l.want.Sign)
	if err != nil {
		return nil, err
	}
	if h := s.Quarantine; h != nil && h.Case == l.want.Case && h.Original != "" {
		text = h.Original // what the first run of this case wrote is the older truth
	}
	return []evidence.Change{labelChange(t, l.want.Case, s.Quarantine, text)}, nil
}

func labelChange(t evidence.Target, caseID string, was *Held, text string) evidence.Change {
	before := podFields{podMeta{
		Labels:      map[string]*string{evidence.LabelQuarantine: nil},
		Annotations: map[string]*string{evidence.AnnotationOriginal: nil},
	}}
	if was != nil && was.Case != caseID { // taken over: release puts that mark back
		before.Metadata.Labels[evidence.LabelQuarantine] = some(was.Label)
		before.Metadata.Annotations[evidence.AnnotationOriginal] = some(was.Original)
	}
	return evidence.Change{
		ID: LayerLabel + "/patch/pod/" + t.Namespace + "/" + t.Pod + "/" + t.UID, Layer: LayerLabel, Op: evidence.OpPatch, Object: podObject(t),
		Before: encode(before),
		After: encode(podFields{podMeta{
			Labels:      map[string]*string{evidence.LabelQuarantine: &caseID},
			Annotations: map[string]*string{evidence.AnnotationOriginal: &text},
		}}),
		Why: "mark the pod as held by case " + caseID + ", so that the quarantine policy selects it, and keep what release needs",
	}
}

func some(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Apply implements Layer.
func (l *label) Apply(ctx context.Context, c evidence.Change) (Result, error) {
	return l.apply(ctx, c, false)
}

// ApplyDry implements DryRunner.
func (l *label) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, true)
	return err
}

func (l *label) apply(ctx context.Context, c evidence.Change, dry bool) (Result, error) {
	t, err := podTarget(c)
	if err != nil {
		return Result{}, err
	}
	after, err := decodeFields(c.After)
	if err != nil {
		return Result{}, err
	}
	before, err := decodeFields(c.Before)
	if err != nil {
		return Result{}, err
	}
	var res Result
	e, err := patchPod(ctx, l.conn, t, "mark pod "+t.String(), dry, func(live *corev1.Pod) (edit, error) {
		e := edit{labels: map[string]*string{}, annotations: map[string]*string{}}
		note, wantNote := value(live.Annotations, evidence.AnnotationOriginal), after.Metadata.Annotations[evidence.AnnotationOriginal]
		mark, wantMark := value(live.Labels, evidence.LabelQuarantine), after.Metadata.Labels[evidence.LabelQuarantine]
		free := note == nil || same(note, before.Metadata.Annotations[evidence.AnnotationOriginal])
		if !free && !same(note, wantNote) {
			// The same case may have been here from another laptop: its note stays.
			u, _, _, err := ParseUndo(*note)
			if err != nil || u.Case != l.want.Case || u.Target.UID != t.UID {
				return e, fmt.Errorf("mark pod %s: case %q holds it, by annotation %s: %w", t, held(live).Case, evidence.AnnotationOriginal, ErrForeign)
			}
			wantNote = note
		}
		if mark != nil && !same(mark, wantMark) && !same(mark, before.Metadata.Labels[evidence.LabelQuarantine]) {
			return e, fmt.Errorf("mark pod %s: it is held by case %q: %w", t, *mark, ErrForeign)
		}
		if !same(mark, wantMark) {
			e.labels[evidence.LabelQuarantine] = wantMark
		}
		if !same(note, wantNote) {
			e.annotations[evidence.AnnotationOriginal] = wantNote
		}
		return e, nil
	})
	res.UID, res.Already = t.UID, err == nil && e.nothing()
	return res, err
}

// Release implements Layer. A change whose After holds only one of the two fields takes only
// that one off.
func (l *label) Release(ctx context.Context, c evidence.Change) (Result, error) {
	return undoPod(ctx, l.conn, c, "take the mark off", false)
}

// ReleaseDry implements DryReleaser.
func (l *label) ReleaseDry(ctx context.Context, _ evidence.Target, c evidence.Change) (Result, error) {
	return undoPod(ctx, l.conn, c, "take the mark off", true)
}

// undoPod reverts a change of a pod's labels and annotations.
func undoPod(ctx context.Context, conn *cluster.Conn, c evidence.Change, did string, dry bool) (Result, error) {
	t, err := podTarget(c)
	if err != nil {
		return Result{}, err
	}
	var res Result
	e, err := patchPod(ctx, conn, t, did+" pod "+t.String(), dry, func(live *corev1.Pod) (e edit, err error) {
		e, res.Notes, err = revert(live, c)
		return e, err
	})
	if gone(err) {
		return Result{Already: true, Notes: []string{"the pod is gone: there is nothing to put back"}}, nil
	}
	res.UID, res.Already = t.UID, err == nil && e.nothing()
	return res, err
}

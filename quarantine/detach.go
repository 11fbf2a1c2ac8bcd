package quarantine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

type detach struct {
	conn *cluster.Conn
	want Want
}

// NewDetach is the layer that takes the target out of service and away from its
// controller: labels stripped and the controller's ownerReference dropped, in one patch. Its
// labels alone would leave a moment in which the controller's end takes the pod along;
// the reference alone would have it adopted again.
func NewDetach(conn *cluster.Conn, w Want) Layer { return &detach{conn: conn, want: w} }

// Traits implements Layer.
func (l *detach) Traits() Traits {
	rules := podRules("take the target out of service and away from its controller")
	return Traits{Name: LayerDetach, Rules: append(rules, evidence.Rule{Resource: "pods", Verbs: []string{"delete"}, Scope: evidence.InTarget,
		Why: "drop the owner where OwnerReferencesPermissionEnforcement is on; never used to delete"})}
}

// Prepare implements Layer. Labels that are gone already, and a target that has nothing to
// strip, give no change.
func (l *detach) Prepare(s Scene, t evidence.Target) ([]evidence.Change, error) {
	if err := prepared(s, t, l.want, LayerDetach); err != nil {
		return nil, err
	}
	return detachChange(s, t, l.want), nil
}

func detachChange(s Scene, t evidence.Target, w Want) []evidence.Change {
	if _, why := unsuited(s, LayerDetach); why != "" || !w.wants(LayerDetach) {
		return nil
	}
	before, after := podMeta{Labels: map[string]*string{}}, podMeta{Labels: map[string]*string{}}
	for _, k := range stripped(s) {
		before.Labels[k], after.Labels[k] = value(s.Pod.Labels, k), nil
	}
	why := "take the pod out of service: strip the labels that Services, policies and controllers select on"
	if keep, _ := keepOwner(s, w); !keep {
		had, left := slices.Clone(s.Pod.OwnerReferences), withoutController(s.Pod.OwnerReferences)
		before.OwnerReferences, after.OwnerReferences = &had, &left
		ref := s.controller()
		why += ", and drop its owner " + ref.Kind + "/" + ref.Name + ", so that it is not scaled or cleaned away"
	}
	if len(after.Labels) == 0 && after.OwnerReferences == nil {
		return nil
	}
	return []evidence.Change{{
		ID: LayerDetach + "/patch/pod/" + t.Namespace + "/" + t.Pod + "/" + t.UID, Layer: LayerDetach, Op: evidence.OpPatch, Object: podObject(t),
		Before: encode(podFields{before}), After: encode(podFields{after}), Why: why,
	}}
}

// withoutController drops the managing owner and keeps the others, which no controller
// would write again.
func withoutController(refs []metav1.OwnerReference) []metav1.OwnerReference {
	out := []metav1.OwnerReference{}
	for _, r := range refs {
		if r.Controller == nil || !*r.Controller {
			out = append(out, r)
		}
	}
	return out
}

// Apply implements Layer. Where dropping the owner is forbidden, labels are stripped
// alone, and the controller releases the pod by itself; the result says so.
func (l *detach) Apply(ctx context.Context, c evidence.Change) (Result, error) {
	return l.apply(ctx, c, false)
}

// ApplyDry implements DryRunner.
func (l *detach) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, true)
	return err
}

func (l *detach) apply(ctx context.Context, c evidence.Change, dry bool) (Result, error) {
	t, err := podTarget(c)
	if err != nil {
		return Result{}, err
	}
	want, err := decodeFields(c.After)
	if err != nil {
		return Result{}, err
	}
	did, owners := "detach pod "+t.String(), want.Metadata.OwnerReferences != nil
	var live podMeta
	plan := func(p *corev1.Pod) (edit, error) {
		var e edit
		e, live = stripEdit(p, want.Metadata, owners)
		return e, nil
	}
	e, err := patchPod(ctx, l.conn, t, did, dry, plan)
	res := Result{UID: t.UID}
	if owners && apierrors.IsForbidden(err) {
		owners = false
		res.Notes = append(res.Notes, "the owner could not be dropped (not allowed): labels alone are stripped, and the controller releases the pod by itself unless it is being deleted")
		e, err = patchPod(ctx, l.conn, t, did, dry, plan)
	}
	if err != nil {
		return Result{}, err
	}
	res.Already = e.nothing()
	if !res.Already {
		record(&res, c, live, want.Metadata, owners)
	}
	return res, nil
}

// stripEdit is what of the change is still to be done on the live pod, and what stood there.
func stripEdit(p *corev1.Pod, want podMeta, owners bool) (edit, podMeta) {
	e, was := edit{labels: map[string]*string{}}, podMeta{Labels: map[string]*string{}}
	for k := range want.Labels {
		if now := value(p.Labels, k); now != nil {
			e.labels[k], was.Labels[k] = nil, now
		}
	}
	if left := withoutController(p.OwnerReferences); owners && len(left) < len(p.OwnerReferences) {
		had := slices.Clone(p.OwnerReferences)
		e.owners, was.OwnerReferences = &left, &had
	}
	return e, was
}

// record says what stood at the write itself, where that was not as planned.
func record(res *Result, c evidence.Change, was, want podMeta, owners bool) {
	planned, err := decodeFields(c.Before)
	if err != nil {
		return
	}
	// A label that is not there now was stripped by an earlier try of ours, or taken away by
	// someone in the moments since the survey: for release, what was planned counts.
	full := podMeta{Labels: planned.Metadata.Labels, OwnerReferences: planned.Metadata.OwnerReferences}
	differs := false
	for k, v := range was.Labels {
		if !same(v, planned.Metadata.Labels[k]) {
			full.Labels[k], differs = v, true
		}
	}
	if want.OwnerReferences != nil && !owners {
		left := podMeta{Labels: want.Labels}
		res.After, differs = encode(podFields{left}), true
	}
	if differs {
		res.Before = encode(podFields{full})
	}
}

// Release implements Layer. The labels go back; ownerReferences are never written: the
// controller adopts the pod by itself.
func (l *detach) Release(ctx context.Context, c evidence.Change) (Result, error) {
	return undoPod(ctx, l.conn, c, "put the labels back on", false)
}

// ReleaseDry implements DryReleaser.
func (l *detach) ReleaseDry(ctx context.Context, _ evidence.Target, c evidence.Change) (Result, error) {
	return undoPod(ctx, l.conn, c, "put the labels back on", true)
}

func listed(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}

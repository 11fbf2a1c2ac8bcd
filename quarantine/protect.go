package quarantine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// Annotations that keep others' hands off a pod.
const (
	// annotationAutoscaler is read by Cluster Autoscaler (its FAQ, "What types of pods can
	// prevent CA from removing a node?").
	annotationAutoscaler = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	// annotationKarpenter is read by Karpenter (karpenter.sh, "Disruption", pod-level controls).
	annotationKarpenter = "karpenter.sh/do-not-disrupt"
	// annotationDescheduler is read by the descheduler; its value does not matter.
	annotationDescheduler = "descheduler.alpha.kubernetes.io/prefer-no-eviction"
	// annotationCost is read by the ReplicaSet controller when it scales down.
	annotationCost = corev1.PodDeletionCost
)

// highestCost is the largest number that both a deletion cost and a budget can hold.
const highestCost = 1<<31 - 1

type protect struct {
	conn *cluster.Conn
	want Want
}

// NewProtect is the layer that keeps the evidence from those who make room: annotations
// that autoscalers and deschedulers heed, and a PodDisruptionBudget, one for each case and
// namespace, that lets no pod of the case be evicted. With Want.Hold a finalizer too: a
// DELETE then leaves the API object, Terminating, until release; the kubelet ends the
// containers all the same, so that it keeps what the API says of the pod and nothing else.
func NewProtect(conn *cluster.Conn, w Want) Layer { return &protect{conn: conn, want: w} }

// Traits implements Layer. Lack of permission for budgets leaves the budget out.
func (l *protect) Traits() Traits {
	return Traits{Name: LayerProtect, Rules: []evidence.Rule{
		{Resource: "pods", Verbs: []string{"get", "patch"}, Scope: evidence.InTarget, Why: "tell autoscalers and deschedulers to leave the target alone, and hold its object where asked"},
		{Group: "policy", Resource: "poddisruptionbudgets", Verbs: []string{"create", "get", "delete"}, Scope: evidence.InTarget, Why: "let no pod of the case be evicted, and take that away at release"},
		{Resource: "pods", Verbs: []string{"list"}, Scope: evidence.InTarget, Why: "see whether another pod still needs the budget"},
	}}
}

// Prepare implements Layer: the pod first, since lack of permission for budgets is no
// reason to leave the rest out.
func (l *protect) Prepare(s Scene, t evidence.Target) ([]evidence.Change, error) {
	if err := prepared(s, t, l.want, LayerProtect); err != nil {
		return nil, err
	}
	return protectChanges(s, t, l.want), nil
}

func protectChanges(s Scene, t evidence.Target, w Want) []evidence.Change {
	if _, why := unsuited(s, LayerProtect); why != "" || !w.wants(LayerProtect) {
		return nil
	}
	before, after := podMeta{Annotations: map[string]*string{}}, podMeta{Annotations: map[string]*string{}}
	keep := keepAnnotations(s)
	for _, k := range slices.Sorted(maps.Keys(keep)) {
		if v, was := keep[k], value(s.Pod.Annotations, k); was == nil || *was != v {
			before.Annotations[k], after.Annotations[k] = was, &v
		}
	}
	why := "tell autoscalers, Karpenter and deschedulers to leave the pod alone"
	if w.Hold && s.Pod.DeletionTimestamp == nil && !slices.Contains(s.Pod.Finalizers, evidence.Finalizer) {
		had, with := slices.Clone(s.Pod.Finalizers), append(slices.Clone(s.Pod.Finalizers), evidence.Finalizer)
		before.Finalizers, after.Finalizers = &had, &with
		why += ", and keep its API object after a DELETE (not its containers) until release"
	}
	var out []evidence.Change
	if len(after.Annotations) > 0 || after.Finalizers != nil {
		out = append(out, protectChange(t, podFields{before}, podFields{after}, why))
	}
	return append(out, budgetChange(t, w.Case))
}

func protectChange(t evidence.Target, before, after podFields, why string) evidence.Change {
	return evidence.Change{
		ID: LayerProtect + "/patch/pod/" + t.Namespace + "/" + t.Pod + "/" + t.UID, Layer: LayerProtect, Op: evidence.OpPatch, Object: podObject(t),
		Before: encode(before), After: encode(after), Why: why,
	}
}

// keepAnnotations are what the target is to say. A deletion cost says something only to a
// ReplicaSet.
func keepAnnotations(s Scene) map[string]string {
	out := map[string]string{annotationAutoscaler: "false", annotationKarpenter: "true", annotationDescheduler: "true"}
	if ref := s.controller(); ref != nil && ref.Kind == "ReplicaSet" {
		out[annotationCost] = strconv.Itoa(highestCost)
	}
	return out
}

// Apply implements Layer. A pod that is being deleted takes no finalizer any more; the
// result says so.
func (l *protect) Apply(ctx context.Context, c evidence.Change) (Result, error) {
	return l.apply(ctx, c, false)
}

// ApplyDry implements DryRunner.
func (l *protect) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, true)
	return err
}

func (l *protect) apply(ctx context.Context, c evidence.Change, dry bool) (Result, error) {
	if c.Op == evidence.OpCreate {
		return l.createBudget(ctx, c, dry)
	}
	t, err := podTarget(c)
	if err != nil {
		return Result{}, err
	}
	want, err := decodeFields(c.After)
	if err != nil {
		return Result{}, err
	}
	planned, err := decodeFields(c.Before)
	if err != nil {
		return Result{}, err
	}
	var was podMeta
	tooLate := false
	e, err := patchPod(ctx, l.conn, t, "protect pod "+t.String(), dry, func(live *corev1.Pod) (edit, error) {
		e := edit{annotations: map[string]*string{}}
		was = podMeta{Annotations: map[string]*string{}}
		for k, v := range want.Metadata.Annotations {
			if now := value(live.Annotations, k); !same(now, v) {
				e.annotations[k], was.Annotations[k] = v, now
			}
		}
		holds := slices.Contains(live.Finalizers, evidence.Finalizer)
		tooLate = holding(want.Metadata) && !holds && live.DeletionTimestamp != nil
		if holding(want.Metadata) && !holds && !tooLate {
			with := append(slices.Clone(live.Finalizers), evidence.Finalizer)
			e.finalizers = &with
		}
		return e, nil
	})
	if err != nil {
		return Result{}, err
	}
	res := Result{UID: t.UID, Already: e.nothing()}
	full := planned.Metadata
	differs := false
	for k, v := range was.Annotations {
		if !same(v, planned.Metadata.Annotations[k]) {
			full.Annotations[k], differs = v, true
		}
	}
	if differs && !res.Already {
		res.Before = encode(podFields{full})
	}
	if tooLate {
		res.After = encode(podFields{podMeta{Annotations: want.Metadata.Annotations}})
		res.Notes = append(res.Notes, "the pod is being deleted already: the API server takes no finalizer any more, and its object goes with its containers")
	}
	return res, nil
}

// unprotected says what of the pod's protection others took off since.
func unprotected(m Marks, c evidence.Change, add adder) {
	after, err := decodeFields(c.After)
	if err != nil {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(after.Metadata.Annotations)) {
		if now := value(m.Pod.Annotations, k); !same(now, after.Metadata.Annotations[k]) {
			state := "is gone"
			if now != nil {
				state = fmt.Sprintf("is %q now", short(*now))
			}
			add(c, evidence.Unprotected, c.Object.String(), writer(m.Pod.ManagedFields, "metadata", "annotations", k),
				fmt.Sprintf("the annotation %s %s: who makes room on nodes may take the pod away", k, state))
		}
	}
	if holding(after.Metadata) && !slices.Contains(m.Pod.Finalizers, evidence.Finalizer) {
		add(c, evidence.Unprotected, c.Object.String(), writer(m.Pod.ManagedFields, "metadata", "finalizers"),
			fmt.Sprintf("the finalizer %s is gone: a DELETE takes the pod's object along with its containers", evidence.Finalizer))
	}
}

// holding reports fields with our finalizer in them.
func holding(m podMeta) bool {
	return m.Finalizers != nil && slices.Contains(*m.Finalizers, evidence.Finalizer)
}

// Release implements Layer. The budget stays, with a note, as long as a pod of the namespace
// carries the label; a pod whose deletion only our finalizer held up is gone with it.
func (l *protect) Release(ctx context.Context, c evidence.Change) (Result, error) {
	return l.release(ctx, c, sending{})
}

// ReleaseDry implements DryReleaser.
func (l *protect) ReleaseDry(ctx context.Context, t evidence.Target, c evidence.Change) (Result, error) {
	return l.release(ctx, c, trying(t))
}

func (l *protect) release(ctx context.Context, c evidence.Change, how sending) (Result, error) {
	if c.Op == evidence.OpCreate {
		return l.deleteBudget(ctx, c, how)
	}
	return undoPod(ctx, l.conn, c, "take the protection off", how.dry)
}

// finalizerOps edits the list of finalizers, which others write too.
func finalizerOps(have, want []string, guards bool) []op {
	const path = "/metadata/finalizers"
	var out []op
	if guards {
		var was any // null: there is none
		if len(have) > 0 {
			was = have
		}
		out = append(out, op{"test", path, was})
	}
	switch {
	case len(want) > 0:
		return append(out, op{"add", path, want})
	case len(have) > 0:
		return append(out, op{"remove", path, nil})
	}
	return out
}

// revertFinalizer takes ours off and leaves everybody else's, where the change put it on.
func revertFinalizer(live *corev1.Pod, before, after podMeta) *[]string {
	if !holding(after) || holding(before) || !slices.Contains(live.Finalizers, evidence.Finalizer) {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == evidence.Finalizer })
	return &left
}

// ownProtection makes undo data's change of the pod anew: our annotations alone, each back to
// what the data says that it was; what of it is left out, or why it is not to be made at all.
func ownProtection(t evidence.Target, c evidence.Change) (own evidence.Change, left []string, why string) {
	said, err1 := decodeFields(c.Before)
	asked, err2 := decodeFields(c.After)
	if err1 != nil || err2 != nil {
		return own, nil, "what it wrote cannot be read"
	}
	before, after := podMeta{Annotations: map[string]*string{}}, podMeta{Annotations: map[string]*string{}}
	for k, v := range map[string]string{annotationAutoscaler: "false", annotationKarpenter: "true", annotationDescheduler: "true", annotationCost: strconv.Itoa(highestCost)} {
		set, was := asked.Metadata.Annotations[k], said.Metadata.Annotations[k]
		switch {
		case set == nil:
		case was != nil && len(*was) > 64:
			left = append(left, fmt.Sprintf("annotation %q is not put back: no value of it is that long", k))
		default:
			before.Annotations[k], after.Annotations[k] = was, &v
		}
	}
	slices.Sort(left)
	if holding(asked.Metadata) && !holding(said.Metadata) {
		before.Finalizers, after.Finalizers = &[]string{}, &[]string{evidence.Finalizer}
	}
	if len(after.Annotations) == 0 && after.Finalizers == nil {
		return own, left, "it names nothing that irkit writes there"
	}
	return protectChange(t, podFields{before}, podFields{after}, "keep the pod from eviction"), left, ""
}

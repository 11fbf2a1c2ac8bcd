package quarantine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// readyLimit is how long release waits for Ready before it asks.
const readyLimit = 60 * time.Second

// PlanRelease orders the undoing of what the journal says. Pure. live is the pod as it
// stands, nil when it is gone or replaced.
//
// To service: the cut, the quarantine label, the policies; then Ready, since a ReplicaSet
// that has one pod too many deletes what is not ready first; then the labels, the mark,
// the node. To delete: the policy that a successor of the same name would fall under; the
// pod, contained until it is gone; the rest.
func PlanRelease(live *corev1.Pod, t evidence.Target, done []Done, m Mode) (ReleasePlan, error) {
	r := releaser{plan: ReleasePlan{Mode: m, Steps: []Step{}, Residue: []string{}, Kept: []string{}}, t: t, live: live}
	if live != nil && string(live.UID) != t.UID {
		return r.plan, fmt.Errorf("plan the release of %s: its uid is %s, not %s: %w", t, live.UID, t.UID, cluster.ErrReplaced)
	}
	for _, d := range done {
		c := d.Change
		if d.Data != nil {
			var res Result
			if err := json.Unmarshal(d.Data, &res); err != nil {
				return r.plan, fmt.Errorf("plan the release of %s: read the record of %s: %w", t, c.ID, err)
			}
			c = Merge(c, res)
		}
		r.byLayer(c)
	}
	switch m {
	case ToService:
		r.toService()
	case DeletePod:
		r.deletePod()
	default:
		return r.plan, fmt.Errorf("plan the release of %s: mode %q is not known", t, m)
	}
	r.residue()
	return r.plan, nil
}

type releaser struct {
	plan                                      ReleasePlan
	t                                         evidence.Target
	live                                      *corev1.Pod
	cut, label, early, policy, detach, cordon []evidence.Change // policy: deny too
	protect, budget                           []evidence.Change
	other                                     []evidence.Change
}

func (r *releaser) byLayer(c evidence.Change) {
	at := map[string]*[]evidence.Change{LayerNetns: &r.cut, LayerLabel: &r.label, LayerNetpol: &r.policy, LayerDeny: &r.policy, LayerDetach: &r.detach, LayerProtect: &r.protect, LayerCordon: &r.cordon, "hand": nil, "probe": nil}
	list, ok := at[c.Layer]
	switch {
	case !ok:
		r.other = append(r.other, c)
	case list == nil: // the probe pod is gone with its session; a hand shows in the pod itself
	case c.Layer == LayerNetns && c.Op != evidence.OpCut: // pinholes close by themselves
	default:
		if Early(c) {
			list = &r.early
		} else if c.Layer == LayerProtect && c.Op == evidence.OpCreate {
			list = &r.budget
		}
		if !slices.ContainsFunc(*list, func(o evidence.Change) bool { return o.ID == c.ID }) {
			*list = append(*list, c)
		}
	}
}

func (r *releaser) toService() {
	if r.live == nil {
		r.plan.Residue = append(r.plan.Residue, "the pod is gone: only what irkit made around it is taken away")
		r.undo("", append(r.early, r.policy...), "take the quarantine policy away")
		r.undo("", r.budget, letEvict)
		r.undo("", r.cordon, "let the node take pods again")
		return
	}
	if r.heldUp() {
		r.plan.Residue = append(r.plan.Residue, "the pod is being deleted, and does not come back to service: its object, which irkit's finalizer kept, goes with this release")
	}
	if ended(r.live) {
		r.plan.Residue = append(r.plan.Residue, fmt.Sprintf("the pod has ended (%s): its network namespace, and a cut in it, went with it", phaseOf(r.live)))
	} else {
		r.undo("", r.cut, "lift the cut")
	}
	for _, c := range r.label {
		r.undo("label", []evidence.Change{only(c, true)}, "take the quarantine label off, so that no policy of ours selects the pod")
	}
	r.undo("", append(r.early, r.policy...), "take the quarantine policy away, unless another pod still needs it")
	r.undo("", r.budget, letEvict)
	if !ended(r.live) {
		r.plan.Steps = append(r.plan.Steps, Step{Kind: StepWaitReady, Limit: readyLimit,
			Why: "wait until the pod is Ready: a controller with one pod too many deletes what is not ready first"})
	}
	r.undo("", r.protect, "let autoscalers and whoever deletes the pod have it again")
	r.undo("", r.detach, "put the labels back: Services find the pod again, and its controller adopts it")
	for _, c := range r.label {
		r.undo("annotation", []evidence.Change{only(c, false)}, "take irkit's note off the pod")
	}
	r.undo("", r.cordon, "let the node take pods again")
	r.keep(slices.Concat(r.label, r.detach, r.protect))
}

const letEvict = "take the disruption budget away, unless another pod still needs it"

// holds reports a containment that put our finalizer on.
func (r *releaser) holds() bool {
	return slices.ContainsFunc(r.protect, func(c evidence.Change) bool {
		f, err := decodeFields(c.After)
		return err == nil && holding(f.Metadata)
	})
}

// heldUp reports a pod whose deletion waits for our finalizer.
func (r *releaser) heldUp() bool {
	return r.holds() && r.live.DeletionTimestamp != nil && slices.Contains(r.live.Finalizers, evidence.Finalizer)
}

func (r *releaser) deletePod() {
	r.undo("", r.early, "take away the policy that a successor of the same name would fall under")
	if r.live != nil && r.holds() {
		r.undo("", r.protect, "take irkit's finalizer off, which would keep the pod's object")
	}
	if r.live != nil {
		r.plan.Steps = append(r.plan.Steps, Step{Kind: StepDelete, Why: "delete the pod, which stays contained until it is gone",
			Change: &evidence.Change{ID: "release/delete/pod/" + r.t.Namespace + "/" + r.t.Pod + "/" + r.t.UID, Layer: "release", Op: evidence.OpDelete, Object: podObject(r.t),
				Before: encode(map[string]any{"metadata": map[string]any{"uid": r.t.UID}}), After: json.RawMessage("null"),
				Why: "delete the pod after its evidence is sealed", Irreversible: "the pod, its memory and its container layers are gone for ever"}})
	}
	r.undo("", r.policy, "take the quarantine policy away, unless another pod still needs it")
	r.undo("", r.budget, letEvict)
	r.undo("", r.cordon, "let the node take pods again")
}

// undo adds a step for each change, the last made first.
func (r *releaser) undo(part string, changes []evidence.Change, why string) {
	for i := len(changes) - 1; i >= 0; i-- {
		c := changes[i]
		id := "release/" + c.ID
		if part != "" {
			id += "/" + part
		}
		w := evidence.Change{ID: id, Layer: c.Layer, Op: c.Op, Object: c.Object, Before: c.After, After: c.Before, Why: why}
		if c.Op == evidence.OpCreate {
			w.Op = evidence.OpDelete
		}
		r.plan.Steps = append(r.plan.Steps, Step{Kind: StepUndo, Layer: c.Layer, Change: &w, Undo: &c, Why: why})
	}
}

// only keeps one half of the label layer's change: the label, or the annotation.
func only(c evidence.Change, labels bool) evidence.Change {
	before, err1 := decodeFields(c.Before)
	after, err2 := decodeFields(c.After)
	if err1 != nil || err2 != nil {
		return c
	}
	if labels {
		before.Metadata.Annotations, after.Metadata.Annotations = nil, nil
	} else {
		before.Metadata.Labels, after.Metadata.Labels = nil, nil
	}
	c.Before, c.After = encode(before), encode(after)
	return c
}

// keep names what others changed since.
func (r *releaser) keep(changes []evidence.Change) {
	for _, c := range changes {
		if _, kept, err := revert(r.live, c); err == nil {
			r.plan.Kept = append(r.plan.Kept, kept...)
		}
	}
}

// residue names what stays for ever.
func (r *releaser) residue() {
	add := func(format string, a ...any) { r.plan.Residue = append(r.plan.Residue, fmt.Sprintf(format, a...)) }
	for _, c := range r.other {
		add("change %s (%s) is not known to this irkit and is left", c.ID, c.Object)
	}
	if r.live == nil || r.plan.Mode == DeletePod {
		return
	}
	for _, name := range HandsIn(r.live) {
		add("ephemeral container %s stays in the pod's specification until the pod is deleted: the API takes none back", name)
	}
	for _, m := range r.live.ManagedFields {
		if m.Manager == FieldManager {
			add("managedFields of the pod name %s", FieldManager)
			break
		}
	}
	for _, c := range r.detach {
		if f, err := decodeFields(c.Before); err == nil && f.Metadata.OwnerReferences != nil {
			for _, o := range *f.Metadata.OwnerReferences {
				if o.Controller != nil && *o.Controller {
					add("%s/%s is not written back as owner: it adopts the pod by its labels, with an ownerReference of its own", o.Kind, o.Name)
				}
			}
		}
	}
}

// ReleaseRules are the permissions of a release beyond those of the layers.
func ReleaseRules(m Mode) []evidence.Rule {
	if m != DeletePod {
		return nil
	}
	return []evidence.Rule{{Resource: "pods", Verbs: []string{"delete"}, Scope: evidence.InTarget, Required: true, Why: "delete the target after its evidence is sealed"}}
}

// Ready waits until the target is Ready, and answers false when limit passed first. A
// target that is gone is cluster.ErrReplaced.
func Ready(ctx context.Context, conn *cluster.Conn, t evidence.Target, limit time.Duration) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := conn.Live(ctx, t)
		if err != nil && !cluster.Transient(err) {
			return false, err
		}
		if err == nil {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					return true, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-deadline.C:
			return false, nil
		case <-tick.C:
		}
	}
}

// Package cordon marks the target's node unschedulable, and back. It is the only room
// that knows k8s.io/kubectl, whose own helper makes the write.
package cordon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

type layer struct{ conn *cluster.Conn }

// New is the cordon: no new neighbours for the evidence. The node is never drained. A node
// that is cordoned already is left alone, now and at release; so is, at release, one
// where another pod is still held.
func New(conn *cluster.Conn) quarantine.Layer { return &layer{conn: conn} }

// fields is what of a node is touched.
type fields struct {
	Spec struct {
		Unschedulable *bool `json:"unschedulable"`
	} `json:"spec"`
}

func touched(v *bool) json.RawMessage {
	var f fields
	f.Spec.Unschedulable = v
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // a pointer to a bool
	}
	return b
}

// Traits implements quarantine.Layer. Lack of permission leaves the layer out.
func (l *layer) Traits() quarantine.Traits {
	return quarantine.Traits{Name: quarantine.LayerCordon, Rules: []evidence.Rule{
		{Resource: "nodes", Verbs: []string{"get", "patch"}, Scope: evidence.InCluster, Why: "keep new pods off the target's node"},
		{Resource: "pods", Verbs: []string{"list"}, Scope: evidence.InCluster, Why: "see whether another held pod still needs the cordon"},
	}}
}

// Prepare implements quarantine.Layer: no change where the node is cordoned already.
func (l *layer) Prepare(s quarantine.Scene, t evidence.Target) ([]evidence.Change, error) {
	if s.Target != t {
		return nil, fmt.Errorf("prepare cordon for %s: the scene is that of %s", t, s.Target)
	}
	if s.Node == nil || s.Node.UID == "" {
		return nil, fmt.Errorf("prepare cordon for %s: its node is not known: %w", t, quarantine.ErrUnsuited)
	}
	if s.Node.Unschedulable {
		return nil, nil
	}
	return []evidence.Change{change(s.Node.Name, s.Node.UID)}, nil
}

// Standing is the cordon on a target's node that irkit made, as the change to release: for
// who has no journal that tells. ok is false where the node is free, or cordoned by
// someone else, as managedFields tell, which no tenant can write.
func Standing(ctx context.Context, conn *cluster.Conn, t evidence.Target) (c evidence.Change, ok bool, err error) {
	n, err := conn.Client.CoreV1().Nodes().Get(ctx, t.Node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return c, false, nil
	}
	if err != nil || !n.Spec.Unschedulable || !byUs(n) {
		return c, false, conn.Explain("look whether node "+t.Node+" is cordoned", err)
	}
	return change(n.Name, string(n.UID)), true, nil
}

func change(node, uid string) evidence.Change {
	yes := true
	return evidence.Change{
		ID: quarantine.LayerCordon + "/patch/node/" + node, Layer: quarantine.LayerCordon, Op: evidence.OpPatch,
		Object: evidence.Object{APIVersion: "v1", Kind: "Node", Name: node, UID: uid},
		Before: touched(nil), After: touched(&yes), Why: "keep new pods off the target's node; nothing that runs there is moved",
	}
}

// Apply implements quarantine.Layer.
func (l *layer) Apply(ctx context.Context, c evidence.Change) (quarantine.Result, error) {
	return l.set(ctx, c, true, false)
}

// ApplyDry implements quarantine.DryRunner.
func (l *layer) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.set(ctx, c, true, true)
	return err
}

// Release implements quarantine.Layer.
func (l *layer) Release(ctx context.Context, c evidence.Change) (quarantine.Result, error) {
	return l.release(ctx, c, evidence.Target{}, false)
}

// ReleaseDry implements quarantine.DryReleaser.
func (l *layer) ReleaseDry(ctx context.Context, t evidence.Target, c evidence.Change) (quarantine.Result, error) {
	return l.release(ctx, c, t, true)
}

// release leaves a node cordoned as long as a held pod other than without is on it.
func (l *layer) release(ctx context.Context, c evidence.Change, without evidence.Target, dry bool) (quarantine.Result, error) {
	var before fields
	if err := json.Unmarshal(c.Before, &before); err != nil {
		return quarantine.Result{}, fmt.Errorf("read change %s: %w", c.ID, err)
	}
	if u := before.Spec.Unschedulable; u != nil && *u {
		return quarantine.Result{Already: true, Notes: []string{"node " + c.Object.Name + " was cordoned by someone else, and is left so"}}, nil
	}
	pods, err := l.conn.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		LabelSelector: evidence.LabelQuarantine, FieldSelector: "spec.nodeName=" + c.Object.Name, Limit: 10})
	if err == nil {
		for i := range pods.Items {
			p := &pods.Items[i]
			if p.Spec.NodeName == c.Object.Name && p.Labels[evidence.LabelQuarantine] != "" && p.Namespace+"/"+p.Name != without.String() {
				return quarantine.Result{Already: true, Notes: []string{fmt.Sprintf("node %s stays cordoned: pod %s/%s on it is held by case %q",
					c.Object.Name, p.Namespace, p.Name, p.Labels[evidence.LabelQuarantine])}}, nil
			}
		}
	} else if !apierrors.IsForbidden(err) {
		return quarantine.Result{}, l.conn.Explain("look for held pods on node "+c.Object.Name, err)
	}
	return l.set(ctx, c, false, dry)
}

// set makes the one write, and looks again where it is not known whether it was made.
func (l *layer) set(ctx context.Context, c evidence.Change, want, dry bool) (res quarantine.Result, err error) {
	err = cluster.Persist(ctx, func() error {
		res, err = l.try(ctx, c, want, dry)
		return err
	})
	return res, err
}

// try makes it once. kubectl's helper sends no field manager; the API server takes it
// from our user agent, whose first word is irkit.
func (l *layer) try(ctx context.Context, c evidence.Change, want, dry bool) (quarantine.Result, error) {
	did := map[bool]string{true: "cordon", false: "uncordon"}[want] + " node " + c.Object.Name
	n, err := l.conn.Client.CoreV1().Nodes().Get(ctx, c.Object.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && c.Object.UID != "" && string(n.UID) != c.Object.UID) {
		if !want {
			return quarantine.Result{Already: true, Notes: []string{"node " + c.Object.Name + " is gone or another one: nothing to put back"}}, nil
		}
		return quarantine.Result{}, fmt.Errorf("%s: the node is gone or another one: %w", did, cluster.ErrReplaced)
	}
	if err != nil {
		return quarantine.Result{}, l.conn.Explain(did, err)
	}
	res := quarantine.Result{UID: string(n.UID)}
	if done(n, want) {
		res.Already = true
		if want && !byUs(n) { // someone was faster than we: theirs to take back
			res.Before = touched(&want)
			res.Notes = append(res.Notes, "node "+n.Name+" was cordoned by someone else in between, and is left so at release")
		}
		return res, nil
	}
	h := drain.NewCordonHelper(n)
	h.UpdateIfRequired(want)
	err, patchErr := h.PatchOrReplaceWithContext(ctx, l.conn.Client, dry)
	if err == nil {
		err = patchErr
	}
	return res, l.conn.Explain(did, err)
}

func done(n *corev1.Node, want bool) bool {
	return !drain.NewCordonHelper(n).UpdateIfRequired(want)
}

// byUs reads from managedFields whether the cordon is irkit's own.
func byUs(n *corev1.Node) bool {
	for _, m := range n.ManagedFields {
		if m.Manager == quarantine.FieldManager && m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), []byte(`"f:unschedulable"`)) {
			return true
		}
	}
	return false
}

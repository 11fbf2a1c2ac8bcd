package quarantine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// Marks are what the cluster has now of what a containment wrote.
type Marks struct {
	At  time.Time
	Pod *corev1.Pod
	// Objects are those that changes created, and the node, by the change's ID; nil: gone.
	Objects map[string]*unstructured.Unstructured
	Gaps    []Gap // what could not be read: nothing is said of it
}

// ReadMarks reads the target and every object that the changes made. A target that is gone
// or replaced is cluster.ErrReplaced; any other object that cannot be read is a gap.
func ReadMarks(ctx context.Context, conn *cluster.Conn, t evidence.Target, done []Done, now time.Time) (Marks, error) {
	m := Marks{At: now, Objects: map[string]*unstructured.Unstructured{}}
	var err error
	if m.Pod, err = conn.Live(ctx, t); err != nil {
		return m, err
	}
	for _, d := range done {
		c := d.Change
		if c.Op != evidence.OpCreate && c.Layer != LayerCordon || slices.Contains([]string{"hand", "probe"}, c.Layer) {
			continue
		}
		got, err := readObject(ctx, conn, c.Object)
		switch {
		case apierrors.IsNotFound(err):
			m.Objects[c.ID] = nil
		case err != nil && ctx.Err() != nil:
			return m, ctx.Err()
		case err != nil:
			m.Gaps = append(m.Gaps, Gap{What: c.Object.String(), Why: err.Error()})
		default:
			m.Objects[c.ID] = got
		}
	}
	return m, nil
}

// readObject reads the kinds that the clientset knows with it, others by the name that
// their kind has by the API's conventions.
func readObject(ctx context.Context, conn *cluster.Conn, o evidence.Object) (*unstructured.Unstructured, error) {
	var typed any
	var err error
	switch o.Kind {
	case "NetworkPolicy":
		if !strings.HasPrefix(o.APIVersion, "networking.k8s.io/") {
			break
		}
		typed, err = conn.Client.NetworkingV1().NetworkPolicies(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	case "Node":
		typed, err = conn.Client.CoreV1().Nodes().Get(ctx, o.Name, metav1.GetOptions{})
	case "PodDisruptionBudget":
		typed, err = conn.Client.PolicyV1().PodDisruptionBudgets(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, err
	}
	if typed != nil {
		u := &unstructured.Unstructured{}
		return u, json.Unmarshal(encode(typed), &u.Object)
	}
	gv, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return nil, err
	}
	if conn.Dynamic == nil {
		return nil, errors.New("no client for it")
	}
	resource, _ := meta.UnsafeGuessKindToResource(gv.WithKind(o.Kind))
	if o.Namespace == "" {
		return conn.Dynamic.Resource(resource).Get(ctx, o.Name, metav1.GetOptions{})
	}
	return conn.Dynamic.Resource(resource).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
}

// writer names the field manager that wrote a field last, as managedFields have it;
// for a field that is gone, who wrote the object last. irkit itself is not named.
func writer(fields []metav1.ManagedFieldsEntry, path ...string) string {
	var best *metav1.ManagedFieldsEntry
	owns := false
	for i := range fields {
		m := &fields[i]
		if m.Manager == FieldManager || m.Subresource != "" || m.Time == nil {
			continue
		}
		has := len(path) > 0 && m.FieldsV1 != nil && hasField(m.FieldsV1.GetRawBytes(), path)
		if best == nil || has && !owns || has == owns && m.Time.After(best.Time.Time) {
			best, owns = m, has || owns
		}
	}
	if best == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", short(best.Manager), best.Time.UTC().Format(time.RFC3339))
}

func hasField(raw []byte, path []string) bool {
	var at map[string]json.RawMessage
	for _, p := range path {
		if json.Unmarshal(raw, &at) != nil {
			return false
		}
		next, ok := at["f:"+p]
		if !ok {
			return false
		}
		raw, at = next, nil
	}
	return true
}

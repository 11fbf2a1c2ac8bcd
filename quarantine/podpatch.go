package quarantine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// FieldManager names irkit in managedFields.
const FieldManager = "irkit"

// tries is how often a write is computed anew when its object changed underneath.
const tries = 5

// podFields are the fields of a pod that irkit touches, in the form of a JSON merge patch
// (RFC 7386): null is absent. Change.After is such a patch, Change.Before its inverse.
type podFields struct {
	Metadata podMeta `json:"metadata"`
}

type podMeta struct {
	Labels          map[string]*string       `json:"labels,omitempty"`
	Annotations     map[string]*string       `json:"annotations,omitempty"`
	OwnerReferences *[]metav1.OwnerReference `json:"ownerReferences,omitempty"`
	Finalizers      *[]string                `json:"finalizers,omitempty"`
}

func decodeFields(raw json.RawMessage) (podFields, error) {
	var f podFields
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("read fields of a change: %w", err)
	}
	return f, nil
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // only strings, maps and API values come here
	}
	return b
}

// op is one operation of a JSON patch (RFC 6902). A null value is written.
type op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// escape writes a key as a JSON pointer's token (RFC 6901, section 3).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// edit is what one patch makes of a pod's metadata.
type edit struct {
	labels      map[string]*string
	annotations map[string]*string
	owners      *[]metav1.OwnerReference // nil: left alone
	finalizers  *[]string                // nil: left alone
}

func (e edit) nothing() bool {
	return len(e.labels) == 0 && len(e.annotations) == 0 && e.owners == nil && e.finalizers == nil
}

// ops is the patch, each part of which stands on what was seen: the UID, all labels, and
// every annotation, owner and finalizer that it touches. Without guards only the UID is tested.
func (e edit) ops(live *corev1.Pod, guards bool) []op {
	out := []op{{"test", "/metadata/uid", live.UID}}
	if len(e.labels) > 0 {
		out = append(out, mapOps("/metadata/labels", live.Labels, e.labels, guards, true)...)
	} else if guards {
		out = append(out, op{"test", "/metadata/labels", orNull(live.Labels)})
	}
	if len(e.annotations) > 0 {
		out = append(out, mapOps("/metadata/annotations", live.Annotations, e.annotations, guards, false)...)
	}
	if e.owners != nil {
		if guards {
			out = append(out, op{"test", "/metadata/ownerReferences", live.OwnerReferences})
		}
		if len(*e.owners) == 0 {
			out = append(out, op{"remove", "/metadata/ownerReferences", nil})
		} else {
			out = append(out, op{"replace", "/metadata/ownerReferences", *e.owners})
		}
	}
	if e.finalizers != nil {
		out = append(out, finalizerOps(live.Finalizers, *e.finalizers, guards)...)
	}
	return out
}

func orNull(m map[string]string) any {
	if len(m) == 0 {
		return nil
	}
	return m
}

// mapOps edits one string map. whole tests the map as a whole, else each touched key.
func mapOps(path string, have map[string]string, want map[string]*string, guards, whole bool) []op {
	var out []op
	if len(have) == 0 {
		add := map[string]string{}
		for k, v := range want {
			if v != nil {
				add[k] = *v
			}
		}
		if guards {
			out = append(out, op{"test", path, nil})
		}
		if len(add) > 0 {
			out = append(out, op{"add", path, add})
		}
		return out
	}
	if guards && whole {
		out = append(out, op{"test", path, have})
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		v, at := want[k], path+"/"+escape(k)
		old, there := have[k]
		if guards && !whole {
			if there {
				out = append(out, op{"test", at, old})
			} else {
				out = append(out, op{"test", at, nil})
			}
		}
		switch {
		case v != nil:
			out = append(out, op{"add", at, *v})
		case there:
			out = append(out, op{"remove", at, nil})
		}
	}
	return out
}

// patchPod reads the live target, lets plan compute the edit, and makes it in one JSON
// patch; when the pod changed in between it reads and computes anew, at most five
// times, and then fails with ErrContended. An edit of nothing is not sent.
func patchPod(ctx context.Context, conn *cluster.Conn, t evidence.Target, did string, dry bool, plan func(*corev1.Pod) (edit, error)) (edit, error) {
	var last error
	for n := range tries {
		if err := pause(ctx, n); err != nil {
			return edit{}, fmt.Errorf("%s: %w", did, err)
		}
		live, err := conn.Live(ctx, t)
		if err != nil {
			if last = err; cluster.Transient(err) {
				continue
			}
			return edit{}, fmt.Errorf("%s: %w", did, err)
		}
		e, err := plan(live)
		if err != nil || e.nothing() {
			return e, err
		}
		o := metav1.PatchOptions{FieldManager: FieldManager}
		if dry {
			o.DryRun = []string{metav1.DryRunAll}
		}
		_, err = conn.Client.CoreV1().Pods(t.Namespace).Patch(ctx, t.Pod, types.JSONPatchType, encode(e.ops(live, !dry)), o)
		switch {
		case err == nil:
			return e, nil
		case apierrors.IsNotFound(err):
			return edit{}, fmt.Errorf("%s: %w", did, cluster.ErrReplaced)
		case !moved(err) && !cluster.Transient(err):
			return e, conn.Explain(did, err)
		}
		last = err
	}
	if moved(last) {
		return edit{}, fmt.Errorf("%s: tried %d times, last: %w: %w", did, tries, last, ErrContended)
	}
	return edit{}, conn.Explain(fmt.Sprintf("%s: tried %d times", did, tries), last)
}

// moved reports that the object was not as the patch expected: a failed test is 422 on the
// API server (k8s.io/apiserver, endpoints/handlers/patch.go), 409 is a lost race. That 422
// says nothing of the test; what validation refuses is told by its causes.
func moved(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) && apierrors.IsInvalid(err) && (status.Status().Details == nil || len(status.Status().Details.Causes) == 0) {
		return true
	}
	return apierrors.IsConflict(err) || strings.Contains(err.Error(), "test failed") ||
		strings.Contains(err.Error(), "error in test for path") || strings.Contains(err.Error(), "does not exist") && !apierrors.IsNotFound(err)
}

// pause waits a little longer before each further try.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(n*n) * 20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// podTarget is the target that a change of a pod names.
func podTarget(c evidence.Change) (evidence.Target, error) {
	t := evidence.Target{Namespace: c.Object.Namespace, Pod: c.Object.Name, UID: c.Object.UID}
	if c.Object.Kind != "Pod" || t.Namespace == "" || t.Pod == "" || t.UID == "" {
		return t, errors.New("change names no pinned pod")
	}
	return t, nil
}

func podObject(t evidence.Target) evidence.Object {
	return evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: t.Namespace, Name: t.Pod, UID: t.UID}
}

// revert computes the way back, key by key: what stands as the change left it goes back
// to what it was; what others changed since stays, and is named.
func revert(live *corev1.Pod, c evidence.Change) (edit, []string, error) {
	before, err := decodeFields(c.Before)
	if err != nil {
		return edit{}, nil, err
	}
	after, err := decodeFields(c.After)
	if err != nil {
		return edit{}, nil, err
	}
	var e edit
	var l, a []string
	e.labels, l = revertMap("label", live.Labels, before.Metadata.Labels, after.Metadata.Labels)
	e.annotations, a = revertMap("annotation", live.Annotations, before.Metadata.Annotations, after.Metadata.Annotations)
	e.finalizers = revertFinalizer(live, before.Metadata, after.Metadata)
	return e, append(l, a...), nil
}

func revertMap(what string, have map[string]string, before, after map[string]*string) (map[string]*string, []string) {
	out, kept := map[string]*string{}, []string(nil)
	for _, k := range slices.Sorted(maps.Keys(after)) {
		now := value(have, k)
		switch {
		case same(now, before[k]): // done before, or by someone else
		case same(now, after[k]):
			out[k] = before[k]
		case now == nil:
			kept = append(kept, fmt.Sprintf("%s %s was taken away since, and is not put back", what, k))
		default:
			kept = append(kept, fmt.Sprintf("%s %s was set to %q since, and is left so", what, k, short(*now)))
		}
	}
	return out, kept
}

func short(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}

func value(m map[string]string, k string) *string {
	if v, ok := m[k]; ok {
		return &v
	}
	return nil
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

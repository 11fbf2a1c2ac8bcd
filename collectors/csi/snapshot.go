package csi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/evidence"
)

// Layer is what changes of this package are called in plan and log. They are evidence, and
// no part of the quarantine: release leaves them.
const Layer = "snapshot"

const (
	retain  = "Retain"
	manager = "irkit"
)

// ErrForeign says that an object of the snapshot's name is there which this case did not make.
var ErrForeign = errors.New("made by someone else")

// Change is the write that takes a snapshot of a volume. Its name tells case and claim, so
// that a session that goes on finds the snapshot that it took.
func (v Volume) Change(t evidence.Target, caseID string) (evidence.Change, error) {
	name := nameOf(caseID, t, v)
	after, err := json.Marshal(object(name, t, caseID, v))
	if err != nil {
		return evidence.Change{}, fmt.Errorf("plan the snapshot of volume %s: %w", v.Name, err)
	}
	why := fmt.Sprintf("take a snapshot of claim %s (class %s)", v.Claim, v.Class)
	if !v.Retain {
		why += ", and have it outlive its object and namespace"
	}
	return evidence.Change{
		ID: fmt.Sprintf("%s/create/VolumeSnapshot/%s/%s", Layer, t.Namespace, name), Layer: Layer, Op: evidence.OpCreate,
		Object: evidence.Object{APIVersion: apiVersion, Kind: "VolumeSnapshot", Namespace: t.Namespace, Name: name},
		After:  after, Why: why,
		Irreversible: "the snapshot stays in the storage, and costs there, until someone deletes it with its VolumeSnapshotContent",
	}, nil
}

// nameOf fits a DNS label, and differs where case, claim or pod does.
func nameOf(caseID string, t evidence.Target, v Volume) string {
	sum := sha256.Sum256([]byte(caseID + "\x00" + t.UID + "\x00" + v.Claim + "\x00" + v.UID))
	return "irkit-" + strings.TrimRight(cut(caseID, 40), "-") + "-" + hex.EncodeToString(sum[:5])
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

func object(name string, t evidence.Target, caseID string, v Volume) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": "VolumeSnapshot",
		"metadata": map[string]any{
			"name": name, "namespace": t.Namespace,
			"labels":      map[string]any{evidence.LabelCase: caseID},
			"annotations": map[string]any{"irkit.dev/pod-uid": t.UID, "irkit.dev/claim-uid": v.UID},
		},
		"spec": map[string]any{
			"volumeSnapshotClassName": v.Class,
			"source":                  map[string]any{"persistentVolumeClaimName": v.Claim},
		},
	}}
}

// Create makes the write of a change and answers the object's UID. One that this case made
// before is found again; another of the name is ErrForeign. dry sends dryRun=All.
func (c Cluster) Create(ctx context.Context, change evidence.Change, dry bool) (uid string, err error) {
	want := &unstructured.Unstructured{}
	if err := json.Unmarshal(change.After, &want.Object); err != nil {
		return "", fmt.Errorf("read change %s: %w", change.ID, err)
	}
	api := c.Dynamic.Resource(snapshots).Namespace(change.Object.Namespace)
	options := metav1.CreateOptions{FieldManager: manager}
	if dry {
		options.DryRun = []string{metav1.DryRunAll}
	}
	made, err := api.Create(ctx, want, options)
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			return "", fmt.Errorf("create %s: %w", change.Object, err)
		}
		return string(made.GetUID()), nil
	}
	live, err := api.Get(ctx, change.Object.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read %s, which is there already: %w", change.Object, err)
	}
	if !ours(live, want) {
		return "", fmt.Errorf("create %s: an object of that name is there: %w", change.Object, ErrForeign)
	}
	return string(live.GetUID()), nil
}

func ours(live, want *unstructured.Unstructured) bool {
	for _, path := range [][]string{
		{"metadata", "labels", evidence.LabelCase}, {"metadata", "annotations", "irkit.dev/pod-uid"},
		{"spec", "source", "persistentVolumeClaimName"},
	} {
		if text(*live, path...) != text(*want, path...) || text(*want, path...) == "" {
			return false
		}
	}
	return true
}

// Taken is what came of a snapshot: enough to find it in the storage, without the cluster.
type Taken struct {
	Volume
	Snapshot    string    `json:"snapshot"`
	SnapshotUID string    `json:"snapshot_uid"`
	Content     string    `json:"content,omitempty"`
	ContentUID  string    `json:"content_uid,omitempty"`
	Storage     string    `json:"snapshot_handle,omitempty"` // the storage's own name for it
	Taken       time.Time `json:"creation_time,omitzero"`    // the point in time that it holds
	Ready       bool      `json:"ready_to_use"`
	Size        string    `json:"restore_size,omitempty"`
	Policy      string    `json:"deletion_policy,omitempty"`
	// Bound: object and content name each other, UIDs included. Only one of them naming the
	// other proves nothing: a content can be made to claim a snapshot that is not its own.
	Bound  bool     `json:"bound_both_ways"`
	Errors []string `json:"errors,omitempty"` // that the storage reported; it tries on
}

// Read asks how far a snapshot is. One that is gone or another is an error.
func (c Cluster) Read(ctx context.Context, o evidence.Object, v Volume) (Taken, error) {
	t := Taken{Volume: v, Snapshot: o.Name, SnapshotUID: o.UID}
	live, err := c.Dynamic.Resource(snapshots).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return t, fmt.Errorf("read %s: %w", o, err)
	}
	if o.UID != "" && string(live.GetUID()) != o.UID {
		return t, fmt.Errorf("read %s: it was replaced by another one", o)
	}
	t.SnapshotUID = string(live.GetUID())
	t.Ready, _, _ = unstructured.NestedBool(live.Object, "status", "readyToUse")
	t.Size = text(*live, "status", "restoreSize")
	t.Taken, _ = time.Parse(time.RFC3339, text(*live, "status", "creationTime"))
	t.note(text(*live, "status", "error", "message"))
	if t.Content = text(*live, "status", "boundVolumeSnapshotContentName"); t.Content == "" {
		return t, nil
	}
	content, err := c.Dynamic.Resource(contents).Get(ctx, t.Content, metav1.GetOptions{})
	if apierrors.IsForbidden(err) {
		t.note("the content cannot be read: " + err.Error())
		return t, nil
	}
	if err != nil {
		return t, fmt.Errorf("read VolumeSnapshotContent %s: %w", t.Content, err)
	}
	t.ContentUID, t.Policy = string(content.GetUID()), text(*content, "spec", "deletionPolicy")
	t.Storage = text(*content, "status", "snapshotHandle")
	t.note(text(*content, "status", "error", "message"))
	t.Bound = text(*content, "spec", "volumeSnapshotRef", "uid") == t.SnapshotUID &&
		text(*content, "spec", "volumeSnapshotRef", "name") == t.Snapshot &&
		text(*content, "spec", "volumeSnapshotRef", "namespace") == o.Namespace &&
		text(*content, "spec", "source", "volumeHandle") == v.Handle
	return t, nil
}

func (t *Taken) note(problem string) {
	for _, e := range t.Errors {
		if e == problem {
			return
		}
	}
	if problem != "" {
		t.Errors = append(t.Errors, problem)
	}
}

// Held reports whether the snapshot outlives its object.
func (t Taken) Held() bool { return t.Policy == retain }

// Keep is the write that has the storage's snapshot outlive its object: else it would go with
// the namespace.
func (t Taken) Keep() (evidence.Change, error) {
	before, err1 := json.Marshal(policy(t.ContentUID, t.Policy))
	after, err2 := json.Marshal(policy(t.ContentUID, retain))
	return evidence.Change{
		ID: fmt.Sprintf("%s/patch/VolumeSnapshotContent/%s/%s", Layer, t.Content, t.ContentUID), Layer: Layer, Op: evidence.OpPatch,
		Object: evidence.Object{APIVersion: apiVersion, Kind: "VolumeSnapshotContent", Name: t.Content, UID: t.ContentUID},
		Before: before, After: after, Why: "have the snapshot of claim " + t.Claim + " outlive its object and namespace",
	}, errors.Join(err1, err2)
}

func policy(uid, value string) map[string]any {
	return map[string]any{"metadata": map[string]any{"uid": uid}, "spec": map[string]any{"deletionPolicy": value}}
}

// Retain makes that write. The UID in it makes the API server refuse another content of the
// name (409).
func (c Cluster) Retain(ctx context.Context, change evidence.Change) error {
	_, err := c.Dynamic.Resource(contents).Patch(ctx, change.Object.Name, types.MergePatchType, change.After, metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		return fmt.Errorf("patch %s: %w", change.Object, err)
	}
	return nil
}

// Merge takes over what the storage reported at an earlier look.
func (t *Taken) Merge(earlier []string) {
	now := t.Errors
	t.Errors = earlier
	for _, e := range now {
		t.note(e)
	}
}

// Notes say what a reader of the entry must know, one sentence each.
func (t Taken) Notes() []string {
	var out []string
	if !t.Ready {
		out = append(out, "not ready to use when it was read: the storage may still be at work; creation_time is the point in time that it holds")
	}
	if !t.Bound {
		out = append(out, "object and content do not name each other: it is not shown that the content is of this volume")
	}
	if !t.Held() {
		out = append(out, "it goes with its object: the deletion policy could not be set to Retain")
	}
	return out
}

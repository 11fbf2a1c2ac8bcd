package actions

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/builtin"
	"irkit.dev/irkit/quarantine"
)

func snapshotKind(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: resource}
}

// storage gives the night's pod a claim, and a driver that takes a snapshot as soon as one is
// asked for. status is what it answers.
func (n *night) storage(t *testing.T, status map[string]any) (*dynamicfake.FakeDynamicClient, *corev1.Pod) {
	t.Helper()
	known := runtime.NewScheme()
	class := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": map[string]any{"name": "fast"}, "driver": "d.example.com", "deletionPolicy": "Delete",
	}}
	d := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(known, map[schema.GroupVersionResource]string{
		snapshotKind("volumesnapshots"): "VolumeSnapshotList", snapshotKind("volumesnapshotcontents"): "VolumeSnapshotContentList", snapshotKind("volumesnapshotclasses"): "VolumeSnapshotClassList",
		{Group: "cilium.io", Version: "v2", Resource: "ciliumnodes"}: "CiliumNodeList",
	}, class)
	d.PrependReactor("create", "volumesnapshots", func(a ktesting.Action) (bool, runtime.Object, error) {
		o := a.(ktesting.CreateAction).GetObject().(*unstructured.Unstructured).DeepCopy()
		o.SetUID("snap-1")
		o.Object["status"] = status
		content := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": map[string]any{"name": "content-1", "uid": "content-uid"},
			"spec":   map[string]any{"deletionPolicy": "Delete", "source": map[string]any{"volumeHandle": "handle-1"}, "volumeSnapshotRef": map[string]any{"name": o.GetName(), "namespace": "prod", "uid": "snap-1"}},
			"status": map[string]any{"snapshotHandle": "storage-7"},
		}}
		if err := d.Tracker().Create(snapshotKind("volumesnapshotcontents"), content, ""); err != nil {
			t.Error(err)
		}
		return true, o, d.Tracker().Create(snapshotKind("volumesnapshots"), o, "prod")
	})
	n.Conn.Dynamic = d
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data", UID: "claim-1"}}
	claim.Spec.VolumeName, claim.Status.Phase = "disk", corev1.ClaimBound
	disk := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}}
	disk.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "handle-1"}
	for _, o := range []runtime.Object{claim, disk} {
		if err := n.client.Tracker().Add(o); err != nil {
			t.Fatal(err)
		}
	}
	pod := n.pod(t)
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}})
	return d, pod
}

func (n *night) snapshots(t *testing.T, pod *corev1.Pod) (playbooks.Prospect, playbooks.Result) {
	t.Helper()
	source, err := builtin.Source("snapshot")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := playbooks.Compile("snapshot", []byte(strings.Replace(string(source), "10m", "1s", 1)), Standard())
	if err != nil {
		t.Fatal(err)
	}
	o := playbooks.Order{Case: "c-1", Target: theTarget(), Pod: pod, Plan: plan}
	look, err := n.Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Run(t.Context(), o, look)
	if err != nil {
		t.Fatal(err)
	}
	return look, got
}

// A snapshot is planned, taken once, kept past its object, told of in custody, and left by
// release.
func TestSnapshotOfAVolume(t *testing.T) {
	n := newNight(t)
	d, pod := n.storage(t, map[string]any{"readyToUse": true, "creationTime": "2026-11-22T10:00:00Z", "boundVolumeSnapshotContentName": "content-1"})
	look, got := n.snapshots(t, pod)
	if len(look.Changes) != 1 || look.Changes[0].Layer != csi.Layer || look.Changes[0].Irreversible == "" {
		t.Errorf("planned: %+v", look.Changes)
	}
	if got.Missing != 0 || len(got.Failed) > 0 {
		t.Errorf("%+v", got)
	}
	if row := completeness(t, got.Bundle)["volume-snapshot pod"]; row.Status != evidence.Collected {
		t.Errorf("%+v", row)
	}
	n.snapshots(t, pod) // a further bundle finds the same one
	created, kept := 0, 0
	for _, a := range d.Actions() {
		switch p := a.(type) {
		case ktesting.CreateAction:
			created++
		case ktesting.PatchAction:
			var patch struct {
				Spec struct{ DeletionPolicy string }
			}
			if json.Unmarshal(p.GetPatch(), &patch) == nil && patch.Spec.DeletionPolicy == "Retain" {
				kept++
			}
		}
	}
	if created != 1 || kept != 1 {
		t.Errorf("%d created, %d kept", created, kept)
	}
	p, err := n.LookRelease(t.Context(), "c-1", quarantine.ToService)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Plan.Steps {
		if s.Layer == csi.Layer {
			t.Errorf("release would undo %+v", s)
		}
	}
	if slices.ContainsFunc(p.Plan.Residue, func(r string) bool { return strings.Contains(r, "not known") }) {
		t.Errorf("residue %q", p.Plan.Residue)
	}
}

// What the storage answers is in the bundle, the step ends as failed, and nothing hangs.
func TestAStorageThatRefuses(t *testing.T) {
	n := newNight(t)
	_, pod := n.storage(t, map[string]any{"readyToUse": false, "error": map[string]any{"message": "the array is full"}})
	_, got := n.snapshots(t, pod)
	row := completeness(t, got.Bundle)["volume-snapshot pod"]
	if row.Status != evidence.Impossible || !strings.Contains(row.Reason, "the array is full") || len(got.Failed) == 0 || got.Missing != 1 {
		t.Errorf("%+v, %+v", row, got)
	}
}

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"irkit.dev/irkit/evidence"
)

const driver = "csi.lab.irkit.dev"

// TestSnapshots: the storage takes what the volume holds, as a real snapshot controller and
// its sidecar tell it to; the snapshot outlives its object; what has none is named; a storage
// that refuses is no hang and no silence.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const planted = "what the books say\n"
	pod := books(t, c, planted)
	t.Run("dry run", func(t *testing.T) {
		p := newPerson(t)
		p.irkit("run", p.snapshots("slow", "15s"), pod.Name, "-n", ownNamespace, "--dry-run", "server", "--case", "shots-dry").want(t, 0).flat().
			says(t, "VolumeSnapshot/irkit-shots-dry-", "take a snapshot of claim books (class slow)")
		if n := len(shots(t, "shots-dry")); n > 0 {
			t.Errorf("a dry run made %d snapshots", n)
		}
	})
	t.Run("taken and kept", func(t *testing.T) {
		p := newPerson(t)
		r := p.irkit("run", p.snapshots("slow", "30s"), pod.Name, "-n", ownNamespace, "--yes", "-o", "json", "--case", "shots").want(t, 0).result(t)
		var taken struct {
			Handle  string    `json:"snapshot_handle"`
			Content string    `json:"content"`
			Policy  string    `json:"deletion_policy"`
			Ready   bool      `json:"ready_to_use"`
			Bound   bool      `json:"bound_both_ways"`
			Time    time.Time `json:"creation_time"`
		}
		all := entries(t, r.Bundle)
		left := 0
		for _, e := range all { // the early step tells of it too, before it is ready
			switch {
			case e.Kind != "volume-snapshot":
			case e.Status == evidence.LeftOut && strings.Contains(e.Reason, "emptyDir"):
				left++
			default:
				if err := json.Unmarshal(content(t, r.Bundle, e), &taken); err != nil {
					t.Fatal(err)
				}
			}
		}
		if left != 1 {
			t.Errorf("%d entries tell of the emptyDir", left)
		}
		if !taken.Ready || !taken.Bound || taken.Policy != "Retain" || time.Since(taken.Time) > 5*time.Minute {
			t.Errorf("%+v", taken)
		}
		stored := mustRead(t, filepath.Join(labDir, "csi", "snapshots", filepath.Base(taken.Handle), "ledger.txt"))
		if string(stored) != planted {
			t.Errorf("the storage holds %q", stored)
		}
		made := map[string]bool{}
		for _, rec := range records(t, r.Bundle) {
			if rec.Action == evidence.ActSnapshot && rec.Phase == evidence.Did {
				made[rec.Change.Object.Kind] = len(rec.AuditIDs) > 0
			}
		}
		if !made["VolumeSnapshot"] || !made["VolumeSnapshotContent"] {
			t.Errorf("custody has %v", made)
		}
		// Again is the same snapshot, and nothing is taken anew.
		p.irkit("run", p.snapshots("slow", "30s"), pod.Name, "-n", ownNamespace, "--yes", "-o", "json", "--case", "shots").want(t, 0)
		objects := shots(t, "shots")
		if len(objects) != 1 {
			t.Fatalf("%d snapshots after a second run", len(objects))
		}
		d := untyped(t)
		if err := d.Resource(snapshotKind("volumesnapshots")).Namespace(ownNamespace).Delete(t.Context(), objects[0].GetName(), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "the snapshot's object is gone", func() bool { return len(shots(t, "shots")) == 0 })
		if _, err := d.Resource(snapshotKind("volumesnapshotcontents")).Get(t.Context(), taken.Content, metav1.GetOptions{}); err != nil {
			t.Errorf("the storage's snapshot went with its object: %v", err)
		}
		mustRead(t, filepath.Join(labDir, "csi", "snapshots", filepath.Base(taken.Handle), "ledger.txt"))
	})
	t.Run("the storage refuses", func(t *testing.T) {
		p := newPerson(t)
		r := p.irkit("run", p.snapshots("broken", "3s"), pod.Name, "-n", ownNamespace, "--yes", "-o", "json", "--case", "shots-broken")
		if r.code != 3 {
			t.Errorf("exit %d, want 3: what was asked for is not whole", r.code)
		}
		told := false
		for _, e := range entries(t, r.result(t).Bundle) {
			told = told || e.Kind == "volume-snapshot" && e.Status == evidence.Impossible && strings.Contains(e.Reason, "the array is full")
		}
		if !told {
			t.Error("no entry has the storage's own words")
		}
	})
}

// snapshots writes a playbook that takes snapshots of a class.
func (p *person) snapshots(class, within string) string {
	p.t.Helper()
	return p.write("shots.yaml", `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: shots}
steps:
  - id: early
    snapshot: {class: `+class+`, until: taken, within: `+within+`}
  - id: late
    snapshot: {class: `+class+`, until: ready, within: `+within+`}
`)
}

func snapshotKind(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "snapshot.storage.k8s.io", Version: "v1", Resource: name}
}

func untyped(t *testing.T) dynamic.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	return dynamic.NewForConfigOrDie(cfg)
}

func shots(t *testing.T, caseID string) []unstructured.Unstructured {
	t.Helper()
	list, err := untyped(t).Resource(snapshotKind("volumesnapshots")).Namespace(ownNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// books makes a pod with a volume of the lab's driver that holds a file, and two classes: one
// whose snapshots are ready late, and one that takes none. All of it is taken away at the end.
func books(t *testing.T, c kubernetes.Interface, text string) *corev1.Pod {
	t.Helper()
	at := filepath.Join(labDir, "csi", "volumes", "vol-e2e-books")
	if err := os.MkdirAll(at, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "ledger.txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := untyped(t)
	for name, parameters := range map[string]map[string]any{"slow": {"readyAfter": "3s"}, "broken": {"refuse": "the array is full"}} {
		class := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": map[string]any{"name": name},
			"driver": driver, "deletionPolicy": "Delete", "parameters": parameters,
		}}
		if _, err := d.Resource(snapshotKind("volumesnapshotclasses")).Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	none := ""
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "e2e-books"}}
	volume.Spec = corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		ClaimRef: &corev1.ObjectReference{Namespace: ownNamespace, Name: "books"},
	}
	volume.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "vol-e2e-books"}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "books", Namespace: ownNamespace}}
	claim.Spec = corev1.PersistentVolumeClaimSpec{
		AccessModes: volume.Spec.AccessModes, StorageClassName: &none, VolumeName: volume.Name, Resources: corev1.VolumeResourceRequirements{Requests: size},
	}
	t.Cleanup(func() { unbook(t, c, d) })
	if _, err := c.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().PersistentVolumeClaims(ownNamespace).Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return own(t, c, "books", corev1.Container{
		Image: "lab.local/distroless:1", VolumeMounts: []corev1.VolumeMount{{Name: "books", MountPath: "/books"}, {Name: "scratch", MountPath: "/scratch"}},
	}, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{
			{Name: "books", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "books"}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		}
	})
}

func unbook(t *testing.T, c kubernetes.Interface, d dynamic.Interface) {
	ctx := context.WithoutCancel(t.Context())
	gone := func(what string, err error) {
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s: %v", what, err)
		}
	}
	all := metav1.ListOptions{}
	gone("snapshots", d.Resource(snapshotKind("volumesnapshots")).Namespace(ownNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, all))
	contents, err := d.Resource(snapshotKind("volumesnapshotcontents")).List(ctx, all)
	gone("contents", err)
	for _, o := range contents.Items {
		if handle, _, _ := unstructured.NestedString(o.Object, "spec", "source", "volumeHandle"); handle == "vol-e2e-books" {
			gone("content", d.Resource(snapshotKind("volumesnapshotcontents")).Delete(ctx, o.GetName(), metav1.DeleteOptions{}))
		}
	}
	for _, name := range []string{"slow", "broken"} {
		gone("class", d.Resource(snapshotKind("volumesnapshotclasses")).Delete(ctx, name, metav1.DeleteOptions{}))
	}
	gone("claim", c.CoreV1().PersistentVolumeClaims(ownNamespace).Delete(ctx, "books", metav1.DeleteOptions{}))
	gone("volume", c.CoreV1().PersistentVolumes().Delete(ctx, "e2e-books", metav1.DeleteOptions{}))
}

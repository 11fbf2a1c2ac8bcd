package csi_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/collectors/csi"
	"irkit.dev/irkit/evidence"
)

const group = "snapshot.storage.k8s.io"

var target = evidence.Target{ClusterUID: "cluster", Namespace: "prod", Pod: "db-0", UID: "pod-uid", Node: "n1"}

func resource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: name}
}

func class(name, driver, policy string, standard bool) *unstructured.Unstructured {
	meta := map[string]any{"name": name}
	if standard {
		meta["annotations"] = map[string]any{group + "/is-default-class": "true"}
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": group + "/v1", "kind": "VolumeSnapshotClass", "metadata": meta, "driver": driver, "deletionPolicy": policy}}
}

func claim(name, volume string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: "uid-of-" + "claim"}}
	if volume != "" {
		c.Spec.VolumeName, c.Status.Phase = volume, corev1.ClaimBound
	} else {
		c.Status.Phase = corev1.ClaimPending
	}
	return c
}

func storage(classes ...runtime.Object) (csi.Cluster, *dynamicfake.FakeDynamicClient) {
	disk := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}}
	disk.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "handle-1"}
	share := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "share"}}
	share.Spec.NFS = &corev1.NFSVolumeSource{Server: "files"}
	lists := map[schema.GroupVersionResource]string{}
	for _, kind := range []string{"VolumeSnapshot", "VolumeSnapshotContent"} {
		lists[resource(strings.ToLower(kind)+"s")] = kind + "List"
	}
	lists[resource("volumesnapshotclasses")] = "VolumeSnapshotClassList"
	dyn := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, classes...)
	return csi.Cluster{Client: fake.NewClientset(claim("data", "disk"), claim("db-0-spare", "disk"), claim("slow", ""), claim("files", "share"), disk, share), Dynamic: dyn}, dyn
}

func pod() *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-0", UID: "pod-uid"}}
	of := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "data", VolumeSource: of("data")},
		{Name: "spare", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
		{Name: "slow", VolumeSource: of("slow")},
		{Name: "files", VolumeSource: of("files")},
		{Name: "lost", VolumeSource: of("none")},
		{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}},
		{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}},
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
	}
	return p
}

func TestSurveyTellsOfEveryVolumeHowItCanBeHad(t *testing.T) {
	c, _ := storage(class("keep", "d.example.com", "Retain", false))
	got, err := c.Survey(t.Context(), pod(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ name, why string }{
		{"data", ""}, {"spare", ""}, {"slow", "not bound"}, {"files", "no CSI driver"}, {"lost", "cannot be read"},
		{"tmp", "emptyDir volumes have no snapshots"}, {"host", "hostPath volumes have no snapshots"},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		if got[i].Name != w.name || (w.why == "") != (got[i].Why == "") || !strings.Contains(got[i].Why, w.why) {
			t.Errorf("%+v, want %+v", got[i], w)
		}
		if w.why == "" && (got[i].Class != "keep" || !got[i].Retain || got[i].Handle != "handle-1") {
			t.Errorf("%+v", got[i])
		}
		if policy := w.name == "tmp" || w.name == "host"; got[i].Policy != policy {
			t.Errorf("%s: left out by policy: %v", w.name, got[i].Policy)
		}
	}
}

func TestWhichClass(t *testing.T) {
	here := "d.example.com"
	for name, c := range map[string]struct {
		classes    []runtime.Object
		asked      string
		class, why string
	}{
		"the default":              {[]runtime.Object{class("a", here, "Delete", true), class("b", here, "Retain", false)}, "", "a", ""},
		"the only one":             {[]runtime.Object{class("a", here, "Delete", false), class("z", "other", "Retain", true)}, "", "a", ""},
		"the one that retains":     {[]runtime.Object{class("a", here, "Delete", false), class("b", here, "Retain", false)}, "", "b", ""},
		"asked for":                {[]runtime.Object{class("a", here, "Delete", true), class("b", here, "Retain", false)}, "b", "b", ""},
		"none":                     {[]runtime.Object{class("z", "other", "Retain", true)}, "", "", "no snapshot class"},
		"several, none stands out": {[]runtime.Object{class("a", here, "Delete", false), class("b", here, "Delete", false)}, "", "", "name one"},
		"two defaults":             {[]runtime.Object{class("a", here, "Delete", true), class("b", here, "Delete", true)}, "", "", "name one"},
		"of another driver":        {[]runtime.Object{class("z", "other", "Retain", true)}, "z", "", "is for driver other"},
		"not there":                {[]runtime.Object{class("a", here, "Delete", true)}, "q", "", "no snapshot class q"},
	} {
		s, _ := storage(c.classes...)
		got, err := s.Survey(t.Context(), pod(), c.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Class != c.class || (c.why == "") != (got[0].Why == "") || !strings.Contains(got[0].Why, c.why) {
			t.Errorf("%s: %+v", name, got[0])
		}
	}
}

func TestAClusterWithoutSnapshots(t *testing.T) {
	c, dyn := storage()
	dyn.PrependReactor("list", "volumesnapshotclasses", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewNotFound(schema.GroupResource{Group: group, Resource: "volumesnapshotclasses"}, "")
	})
	got, err := c.Survey(t.Context(), pod(), "")
	if err != nil || !strings.Contains(got[0].Why, "the cluster has no volume snapshots") {
		t.Errorf("%+v, %v", got[0], err)
	}
}

func volume() csi.Volume {
	return csi.Volume{Name: "data", Kind: "persistentVolumeClaim", Claim: "data", UID: "claim-uid", PV: "disk", Driver: "d.example.com", Handle: "handle-1", Class: "keep"}
}

func TestASnapshotIsTakenOnce(t *testing.T) {
	c, dyn := storage()
	change, err := volume().Change(target, "case-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), change, true); err != nil {
		t.Fatal(err)
	}
	made := dyn.Actions()[0].(ktesting.CreateActionImpl)
	if got := made.CreateOptions.DryRun; len(got) != 1 || got[0] != metav1.DryRunAll {
		t.Errorf("a dry run was sent with dryRun=%v", got)
	}
	if err := dyn.Tracker().Delete(resource("volumesnapshots"), "prod", change.Object.Name); err != nil { // the fake ignores dryRun
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Create(t.Context(), change, false); err != nil {
			t.Fatal(err)
		}
	}
	list, err := dyn.Resource(resource("volumesnapshots")).Namespace("prod").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d snapshots, %v", len(list.Items), err)
	}
	if name, _, _ := unstructured.NestedString(list.Items[0].Object, "spec", "source", "persistentVolumeClaimName"); name != "data" || list.Items[0].GetLabels()[evidence.LabelCase] != "case-1" {
		t.Errorf("%v", list.Items[0].Object)
	}
	other := target
	other.UID = "another-pod"
	if change2, _ := volume().Change(other, "case-1"); change2.Object.Name == change.Object.Name {
		t.Error("two pods of one case share a snapshot")
	}
}

// Whoever guesses the name does not get his object taken for ours.
func TestAnObjectOfTheNameThatIsNotOurs(t *testing.T) {
	change, err := volume().Change(target, "case-1")
	if err != nil {
		t.Fatal(err)
	}
	c, _ := storage(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "VolumeSnapshot", "metadata": map[string]any{"namespace": "prod", "name": change.Object.Name},
		"spec": map[string]any{"source": map[string]any{"persistentVolumeClaimName": "data"}},
	}})
	if _, err := c.Create(t.Context(), change, false); !errors.Is(err, csi.ErrForeign) {
		t.Errorf("%v", err)
	}
}

func live(name, content string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "VolumeSnapshot", "metadata": map[string]any{"namespace": "prod", "name": name, "uid": "snap-uid"},
		"status": map[string]any{"readyToUse": true, "restoreSize": "1Gi", "creationTime": "2026-11-22T10:00:00Z", "boundVolumeSnapshotContentName": content},
	}}
}

func bound(name, uid, snapshot, handle string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": "VolumeSnapshotContent", "metadata": map[string]any{"name": name, "uid": "content-uid"},
		"spec":   map[string]any{"deletionPolicy": "Delete", "source": map[string]any{"volumeHandle": handle}, "volumeSnapshotRef": map[string]any{"name": snapshot, "namespace": "prod", "uid": uid}},
		"status": map[string]any{"snapshotHandle": "storage-7"},
	}}
}

func TestBothMustNameEachOther(t *testing.T) {
	o := evidence.Object{APIVersion: group + "/v1", Kind: "VolumeSnapshot", Namespace: "prod", Name: "s", UID: "snap-uid"}
	for name, c := range map[string]struct {
		content *unstructured.Unstructured
		bound   bool
	}{
		"both ways":         {bound("c", "snap-uid", "s", "handle-1"), true},
		"another snapshot":  {bound("c", "other-uid", "s", "handle-1"), false},
		"another name":      {bound("c", "snap-uid", "t", "handle-1"), false},
		"of another volume": {bound("c", "snap-uid", "s", "handle-2"), false},
	} {
		s, _ := storage(live("s", "c"), c.content)
		got, err := s.Read(t.Context(), o, volume())
		if err != nil {
			t.Fatal(err)
		}
		if got.Bound != c.bound || got.Storage != "storage-7" || !got.Ready || !got.Taken.Equal(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %+v", name, got)
		}
		if told := strings.Contains(strings.Join(got.Notes(), " "), "do not name each other"); told == c.bound {
			t.Errorf("%s: notes %q", name, got.Notes())
		}
	}
	s, _ := storage(live("s", "c"), bound("c", "snap-uid", "s", "handle-1"))
	o.UID = "former"
	if _, err := s.Read(t.Context(), o, volume()); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("of a replaced snapshot: %v", err)
	}
}

func TestASnapshotOutlivesItsNamespace(t *testing.T) {
	s, dyn := storage(live("s", "c"), bound("c", "snap-uid", "s", "handle-1"))
	taken, err := s.Read(t.Context(), evidence.Object{Namespace: "prod", Name: "s", UID: "snap-uid"}, volume())
	if err != nil || taken.Held() {
		t.Fatalf("%+v, %v", taken, err)
	}
	keep, err := taken.Keep()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Retain(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	var sent *ktesting.PatchActionImpl
	for _, a := range dyn.Actions() {
		if p, ok := a.(ktesting.PatchActionImpl); ok {
			sent = &p
		}
	}
	var patch struct{ Metadata struct{ UID string } }
	if sent == nil || json.Unmarshal(sent.Patch, &patch) != nil || patch.Metadata.UID != "content-uid" {
		t.Fatalf("the patch pins no UID: %+v", sent)
	}
	if now, err := s.Read(t.Context(), evidence.Object{Namespace: "prod", Name: "s", UID: "snap-uid"}, volume()); err != nil || !now.Held() {
		t.Errorf("%+v, %v", now, err)
	}
}

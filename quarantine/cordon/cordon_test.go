package cordon_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/cordon"
	"irkit.dev/irkit/quarantine/layertest"
)

var nodes = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

func fixture(t *testing.T) (layertest.Fixture, *fake.Clientset) {
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}})
	target := evidence.Target{ClusterUID: "c", Namespace: "prod", Pod: "web-0", UID: "u", Node: "n1"}
	writes := func(dry bool) int {
		n := 0
		for _, a := range client.Actions() {
			if p, ok := a.(ktesting.PatchActionImpl); ok && (len(p.PatchOptions.DryRun) > 0) == dry {
				n++
			}
		}
		return n
	}
	return layertest.Fixture{
		Layer: cordon.New(&cluster.Conn{Client: client}), Target: target,
		Scene:  quarantine.Scene{Target: target, Node: &quarantine.Node{Name: "n1", UID: "node-1"}},
		World:  func() string { return fmt.Sprint(node(t, client).UID, node(t, client).Spec.Unschedulable) },
		Writes: func() int { return writes(false) }, Dry: func() int { return writes(true) },
		Replace: func() {
			n := node(t, client).DeepCopy()
			n.UID = "node-2"
			if err := client.Tracker().Update(nodes, n, ""); err != nil {
				t.Fatal(err)
			}
		},
	}, client
}

func node(t *testing.T, client *fake.Clientset) *corev1.Node {
	o, err := client.Tracker().Get(nodes, "", "n1")
	if err != nil {
		t.Fatal(err)
	}
	return o.(*corev1.Node)
}

func TestCordonConforms(t *testing.T) {
	layertest.Run(t, func(t *testing.T) layertest.Fixture { f, _ := fixture(t); return f })
}

func TestANodeThatIsCordonedIsLeftAlone(t *testing.T) {
	f, _ := fixture(t)
	f.Scene.Node.Unschedulable = true
	if cs, err := f.Layer.Prepare(f.Scene, f.Target); err != nil || len(cs) != 0 {
		t.Errorf("%v, %v", cs, err)
	}
}

func TestACordonThatSomeoneElseMadeInBetweenIsTheirs(t *testing.T) {
	f, client := fixture(t)
	cs, err := f.Layer.Prepare(f.Scene, f.Target)
	if err != nil {
		t.Fatal(err)
	}
	n := node(t, client).DeepCopy()
	n.Spec.Unschedulable = true
	if err := client.Tracker().Update(nodes, n, ""); err != nil {
		t.Fatal(err)
	}
	r, err := f.Layer.Apply(t.Context(), cs[0])
	if err != nil || !r.Already {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := f.Layer.Release(t.Context(), quarantine.Merge(cs[0], r)); err != nil {
		t.Fatal(err)
	}
	if !node(t, client).Spec.Unschedulable {
		t.Error("someone else's cordon was taken back")
	}
}

func TestTheCordonStaysForAnotherHeldPod(t *testing.T) {
	f, client := fixture(t)
	cs, err := f.Layer.Prepare(f.Scene, f.Target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Layer.Apply(t.Context(), cs[0]); err != nil {
		t.Fatal(err)
	}
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0", Namespace: "stage", Labels: map[string]string{evidence.LabelQuarantine: "c-2"}}, Spec: corev1.PodSpec{NodeName: "n1"}}
	if err := client.Tracker().Add(other); err != nil {
		t.Fatal(err)
	}
	r, err := f.Layer.Release(t.Context(), cs[0])
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "stage/db-0") || !node(t, client).Spec.Unschedulable {
		t.Errorf("%+v, %v, cordoned %v", r, err, node(t, client).Spec.Unschedulable)
	}
}

// Who has no journal takes back only a cordon that managedFields give to irkit.
func TestStandingCordonIsOurs(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		f := metav1.FieldsV1{}
		if err := f.UnmarshalJSON([]byte(fields)); err != nil {
			t.Fatal(err)
		}
		return metav1.ManagedFieldsEntry{Manager: manager, FieldsType: "FieldsV1", FieldsV1: &f}
	}
	spec, status := `{"f:spec":{"f:unschedulable":{}}}`, `{"f:status":{}}`
	for name, c := range map[string]struct {
		cordoned bool
		managers []metav1.ManagedFieldsEntry
		ours     bool
	}{
		"free":          {false, []metav1.ManagedFieldsEntry{entry("irkit", spec)}, false},
		"ours":          {true, []metav1.ManagedFieldsEntry{entry("irkit", spec)}, true},
		"someone's":     {true, []metav1.ManagedFieldsEntry{entry("kubectl-cordon", spec), entry("irkit", status)}, false},
		"nobody's told": {true, nil, false},
	} {
		conn := &cluster.Conn{Client: fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1", ManagedFields: c.managers}, Spec: corev1.NodeSpec{Unschedulable: c.cordoned}})}
		got, ok, err := cordon.Standing(t.Context(), conn, evidence.Target{Node: "n1"})
		if err != nil || ok != c.ours || ok && (got.Object.UID != "node-1" || got.Layer != quarantine.LayerCordon) {
			t.Errorf("%s: %+v, %v, %v", name, got, ok, err)
		}
	}
	conn := &cluster.Conn{Client: fake.NewClientset()}
	if _, ok, err := cordon.Standing(t.Context(), conn, evidence.Target{Node: "n1"}); ok || err != nil {
		t.Errorf("no such node: %v, %v", ok, err)
	}
}

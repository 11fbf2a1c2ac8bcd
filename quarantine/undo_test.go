package quarantine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func selfObject() evidence.Object {
	return evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: "web-0", UID: podUID}
}

// Undo data is the tenant's to write: it must not reach other objects.
func TestUndoDataCannotNameOthers(t *testing.T) {
	other := evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: "victim", UID: "v"}
	pol := evidence.Object{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "prod", Name: "default-deny"}
	far := pol
	far.Namespace, far.Name = "kube-system", "irkit-quarantine-c-1"
	u := quarantine.Undo{V: 1, Case: "c-1", Target: target(), Changes: []evidence.Change{
		{Layer: "detach", Object: other}, {Layer: "netns", Object: other}, {Layer: "netpol", Object: pol}, {Layer: "netpol", Object: far},
		{Layer: "cordon", Object: evidence.Object{Kind: "Node", Name: "n1"}},
	}}
	got, left := u.Done("x")
	if len(got) != 1 || got[0].Change.Layer != "label" || len(left) != 5 {
		t.Errorf("%+v, left out %q", got, left)
	}
}

// A policy's content in the data is not believed: one that pretended to select on another
// label would be deleted although other pods of the case are still held by it.
func TestUndoDataCannotFreeTheOtherPodsOfItsCase(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "other", Namespace: "prod", UID: "o", Labels: map[string]string{evidence.LabelQuarantine: "c-1"}}})
	layers := all(conn, &hand{})
	contain(t, s, layers)
	lie := `{"metadata":{"name":"irkit-quarantine-c-1","namespace":"prod","labels":{"irkit.dev/case":"c-1"}},"spec":{"podSelector":{"matchLabels":{"no":"pod"}}}}`
	u := quarantine.Undo{V: 1, Case: "c-1", Target: target(), Changes: []evidence.Change{{Layer: "netpol", After: raw(lie), Object: evidence.Object{
		APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "prod", Name: "irkit-quarantine-c-1"}}}}
	done, _ := u.Done(live(t, client).Annotations[evidence.AnnotationOriginal])
	release(t, conn, client, layers, done, quarantine.ToService)
	if !strings.Contains(dump(t, client), `"name":"irkit-quarantine-c-1"`) {
		t.Error("the policy is gone while another pod is held by it")
	}
}

func TestUndoDataWritesOnlyLabelsThatWere(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	layers := all(conn, &hand{})
	delete(layers, "protect")
	contain(t, s, layers)
	before := `{"metadata":{"labels":{"app":"web","irkit.dev/quarantine":"zz","bad key!":"x","long":"` + strings.Repeat("x", 64) + `","two":"1","tier":null},` +
		`"annotations":{"team":"red","kubernetes.io/x":"y"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"node-1","controller":true}]}}`
	after := `{"metadata":{"labels":{"app":null,"irkit.dev/quarantine":"c-1","two":null,"long":null,"bad key!":null},"annotations":{"team":"blue","kubernetes.io/x":null}}}`
	u := quarantine.Undo{V: 1, Case: "c-1", Target: target(),
		Labels:  map[string]string{"app": "web", "irkit.dev/quarantine": "zz", "bad key!": "x", "long": strings.Repeat("x", 64), "two": "2"},
		Changes: []evidence.Change{{Layer: "detach", Object: selfObject(), Before: raw(before), After: raw(after)}}}
	done, left := u.Done(live(t, client).Annotations[evidence.AnnotationOriginal])
	if len(left) != 4 {
		t.Errorf("left out %q", left)
	}
	release(t, conn, client, layers, done, quarantine.ToService)
	p := live(t, client)
	if !maps.Equal(p.Labels, map[string]string{"app": "web"}) || !maps.Equal(p.Annotations, map[string]string{"team": "blue"}) || len(p.OwnerReferences) != 0 {
		t.Errorf("labels %v, annotations %v, owners %v", p.Labels, p.Annotations, p.OwnerReferences)
	}
}

func TestUndoDataOfAnotherPod(t *testing.T) {
	moved := target()
	moved.UID = "another"
	for name, u := range map[string]quarantine.Undo{
		"uid":     {V: 1, Case: "c-1", Target: moved},
		"case":    {V: 1, Case: "c-2", Target: target()},
		"cluster": {V: 1, Case: "c-1", Target: evidence.Target{ClusterUID: "far", Namespace: "prod", Pod: "web-0", UID: podUID}},
	} {
		p := pod("", func(p *corev1.Pod) { p.Labels[evidence.LabelQuarantine] = "c-1" })
		if _, err := u.Of(target(), p); !errors.Is(err, quarantine.ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := quarantine.Undo{V: 1, Case: "c-1", Target: target()}
	good.Target.Node = "elsewhere"
	if u, err := good.Of(target(), pod("")); err != nil || u.Target != target() {
		t.Errorf("%+v, %v", u, err)
	}
}

// reaches fails when undo data would touch something else than its own, or write what the
// API server would not take.
func reaches(t *testing.T, u quarantine.Undo, done []quarantine.Done) {
	t.Helper()
	own := "irkit-quarantine-" + u.Case
	for _, d := range done {
		c := d.Change
		o := c.Object
		pods := o.Kind == "Pod" && o.Name == u.Target.Pod && o.UID == u.Target.UID
		policies := o.Kind == "NetworkPolicy" && (o.Name == own || o.Name == own+".early."+u.Target.UID)
		if o.Namespace != u.Target.Namespace || !pods && !policies {
			t.Errorf("undo data reaches %s", o)
		}
		if c.Layer != "detach" {
			continue
		}
		var f struct {
			Metadata struct {
				Labels, Annotations map[string]*string
			}
		}
		if err := json.Unmarshal(c.Before, &f); err != nil {
			t.Fatal(err)
		}
		for k, v := range f.Metadata.Labels {
			if v == nil || strings.HasPrefix(k, evidence.Domain) || len(validation.IsQualifiedName(k))+len(validation.IsValidLabelValue(*v)) > 0 {
				t.Errorf("undo data writes label %q", k)
			}
		}
		if len(f.Metadata.Annotations) > 0 {
			t.Errorf("undo data writes annotations %v", f.Metadata.Annotations)
		}
	}
}

func FuzzParseUndo(f *testing.F) {
	f.Add(`{"undo":"{\"v\":1,\"case\":\"c\",\"changes\":[{\"layer\":\"detach\"}]}"}`)
	f.Add(`{"undo":"null"}`)
	f.Add(`{"undo":"{\"v\":1,\"case\":\"c\",\"target\":{\"namespace\":\"n\",\"pod\":\"p\",\"uid\":\"u\"},\"labels\":{\"a\":\"b\"},\"changes\":[{\"layer\":\"detach\",\"object\":{\"kind\":\"Pod\",\"namespace\":\"n\",\"name\":\"p\",\"uid\":\"u\"},\"before\":{\"metadata\":{\"labels\":{\"a\":\"b\"}}}},{\"layer\":\"netpol\",\"object\":{\"kind\":\"NetworkPolicy\",\"namespace\":\"n\",\"name\":\"irkit-quarantine-c\"}}]}"}`)
	f.Fuzz(func(t *testing.T, note string) {
		u, _, _, err := quarantine.ParseUndo(note)
		if err != nil {
			return
		}
		done, _ := u.Done(note)
		reaches(t, u, done)
	})
}

// TestHostileUndoDataNeverTouchesOthers carries generated lies out on a cluster in memory
// and looks at every write that was sent.
func TestHostileUndoDataNeverTouchesOthers(t *testing.T) {
	kinds, names := []string{"Pod", "NetworkPolicy", "Node", "Secret", ""}, []string{"web-0", "victim", "irkit-quarantine-c-1", "irkit-quarantine-other", "default-deny", "n1", "", "../x"}
	keys, values := []string{"app", "tier", "irkit.dev/quarantine", "irkit.dev/case", "a/b/c", "", "x\n"}, []string{"web", "front", "other", "", strings.Repeat("y", 70), "a b"}
	for seed := range uint64(200) {
		g := gen{rand.New(rand.NewPCG(seed, 11))}
		fields := func() json.RawMessage {
			m := map[string]any{}
			for range g.IntN(4) {
				m[pick(g, keys...)] = pick(g, append(slices.Clone(values), "\x00null")...)
			}
			for k, v := range m {
				if v == "\x00null" {
					m[k] = nil
				}
			}
			b, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": m, "annotations": m, "finalizers": []string{"x"},
				"ownerReferences": []map[string]any{{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-1", "controller": true}}}})
			return b
		}
		u := quarantine.Undo{V: 1, Case: "c-1", Target: target(), Labels: map[string]string{"app": pick(g, "web", "evil"), "tier": "front"}}
		for range 1 + g.IntN(5) {
			u.Changes = append(u.Changes, evidence.Change{
				ID: pick(g, "x", "detach/patch/pod/prod/web-0/"+podUID), Layer: pick(g, "detach", "netns", "netpol", "cordon", "deny", "label", "hand", "probe", "zz"),
				Op: pick(g, evidence.OpCreate, evidence.OpPatch, evidence.OpDelete),
				Object: evidence.Object{Kind: pick(g, kinds...), Namespace: pick(g, "prod", "prod", "kube-system", ""), Name: pick(g, names...),
					UID: pick(g, podUID, "", "another")}, Before: fields(), After: fields(),
			})
		}
		victim := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "victim", Namespace: "prod", UID: "v", Labels: map[string]string{evidence.LabelQuarantine: "other"}}}
		s, conn, client := scene(t, pod("ReplicaSet"), victim)
		layers := all(conn, &hand{})
		contain(t, s, layers)
		note, err := json.Marshal(map[string]string{"undo": string(must(json.Marshal(u)))})
		if err != nil {
			t.Fatal(err)
		}
		parsed, _, _, err := quarantine.ParseUndo(string(note))
		if err != nil {
			t.Fatal(err)
		}
		done, _ := parsed.Done(string(note))
		reaches(t, parsed, done)
		client.ClearActions()
		release(t, conn, client, layers, done, quarantine.ToService)
		for _, a := range client.Actions() {
			switch a := a.(type) {
			case ktesting.PatchActionImpl:
				if a.GetNamespace() != "prod" || a.Name != "web-0" || a.GetResource().Resource != "pods" || strings.Contains(string(a.Patch), "ownerReferences") || strings.Contains(string(a.Patch), "finalizers") {
					t.Fatalf("seed %d: %s %s/%s: %s", seed, a.GetResource().Resource, a.GetNamespace(), a.Name, a.Patch)
				}
			case ktesting.DeleteActionImpl:
				if a.GetNamespace() != "prod" || a.GetResource().Resource != "networkpolicies" || a.Name != "irkit-quarantine-c-1" {
					t.Fatalf("seed %d: deletes %s %s/%s", seed, a.GetResource().Resource, a.GetNamespace(), a.Name)
				}
			case ktesting.CreateActionImpl, ktesting.UpdateActionImpl:
				t.Fatalf("seed %d: %s %s", seed, a.GetVerb(), fmt.Sprint(a.GetResource()))
			}
		}
		for k, v := range live(t, client).Labels {
			if len(validation.IsQualifiedName(k))+len(validation.IsValidLabelValue(v)) > 0 {
				t.Fatalf("seed %d: label %q=%q", seed, k, v)
			}
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

package quarantine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/layertest"
)

var want = quarantine.Want{Case: "c-1"}

func TestLabelConforms(t *testing.T)            { conforms(t, "ReplicaSet", quarantine.NewLabel) }
func TestDetachConforms(t *testing.T)           { conforms(t, "ReplicaSet", quarantine.NewDetach) }
func TestDetachOfABarePodConforms(t *testing.T) { conforms(t, "", quarantine.NewDetach) }
func TestNetpolConforms(t *testing.T)           { conforms(t, "ReplicaSet", quarantine.NewNetpol) }
func TestNetpolOfAStatefulSetConforms(t *testing.T) {
	conforms(t, "StatefulSet", quarantine.NewNetpol)
}

func conforms(t *testing.T, owner string, layer func(*cluster.Conn, quarantine.Want) quarantine.Layer) {
	layertest.Run(t, func(t *testing.T) layertest.Fixture {
		s, conn, client := scene(t, pod(owner))
		f := layertest.Fixture{Layer: layer(conn, want), Scene: s, Target: target(),
			World: func() string { return dump(t, client) }, Writes: func() int { return count(client, false) }, Dry: func() int { return count(client, true) }}
		if f.Layer.Traits().Name != quarantine.LayerNetpol {
			f.Replace = func() { replace(t, client) }
		}
		return f
	})
}

// hand is a Hands with a world of its own.
type hand struct {
	cut    *agent.Cut
	writes int
	err    error
}

func (h *hand) Open(_ context.Context, _ evidence.Target, o agent.Opening) (agent.Opened, error) {
	if h.err != nil {
		return agent.Opened{}, h.err
	}
	if h.cut != nil {
		return agent.Opened{Again: true}, nil
	}
	h.cut = o.Cut
	h.writes++
	return agent.Opened{Cut: &evidence.CutReport{Holes: o.Cut.Holes}}, nil
}

func (h *hand) Lift(_ context.Context, _ evidence.Target, caseID string) error {
	if h.err != nil {
		return h.err
	}
	if h.cut != nil && h.cut.Case == caseID {
		h.cut = nil
	}
	return nil
}

func TestNetnsConforms(t *testing.T) {
	layertest.Run(t, func(t *testing.T) layertest.Fixture {
		s, _, _ := scene(t, pod(""))
		h := &hand{}
		return layertest.Fixture{Layer: quarantine.NewNetns(h, want, nil, 0), Scene: s, Target: target(),
			World: func() string { return fmt.Sprint(h.cut) }, Writes: func() int { return h.writes }}
	})
}

func TestNetnsNamesAHandThatIsGone(t *testing.T) {
	s, _, _ := scene(t, pod(""))
	l := quarantine.NewNetns(&hand{err: agent.ErrGone}, want, nil, time.Second)
	cs, err := l.Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Release(t.Context(), cs[0]); !errors.Is(err, agent.ErrGone) {
		t.Errorf("release: %v, want one that wraps ErrGone", err)
	}
}

func apply(t *testing.T, l quarantine.Layer, s quarantine.Scene) []evidence.Change {
	t.Helper()
	cs, err := l.Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cs {
		r, err := l.Apply(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		cs[i] = quarantine.Merge(c, r)
	}
	return cs
}

func live(t *testing.T, client *fake.Clientset) *corev1.Pod {
	t.Helper()
	o, err := client.Tracker().Get(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "prod", "web-0")
	if err != nil {
		t.Fatal(err)
	}
	return o.(*corev1.Pod)
}

// edit changes the live pod as a third party would.
func edit(t *testing.T, client *fake.Clientset, f func(*corev1.Pod)) {
	t.Helper()
	p := live(t, client).DeepCopy()
	f(p)
	if err := client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, p, "prod"); err != nil {
		t.Fatal(err)
	}
}

func TestTheMarkIsALockBetweenCases(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	apply(t, quarantine.NewLabel(conn, want), s)
	other := quarantine.Want{Case: "c-2"}
	// With the older scene it loses at the write, with a new one before it.
	cs, err := quarantine.NewLabel(conn, other).Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quarantine.NewLabel(conn, other).Apply(t.Context(), cs[0]); !errors.Is(err, quarantine.ErrForeign) {
		t.Errorf("apply over another case's mark: %v", err)
	}
	s2, err := quarantine.Survey(t.Context(), conn, target())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quarantine.NewLabel(conn, other).Prepare(s2, target()); !errors.Is(err, quarantine.ErrForeign) {
		t.Errorf("prepare over another case's mark: %v", err)
	}
	if got := live(t, client).Labels[evidence.LabelQuarantine]; got != "c-1" {
		t.Errorf("the pod is held by %q", got)
	}
	// The same case joins, also with undo data of its own making.
	mine := quarantine.Want{Case: "c-1", Sign: func([]byte) (string, error) { return "other laptop", nil }}
	joined, err := quarantine.NewLabel(conn, mine).Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := quarantine.NewLabel(conn, mine).Apply(t.Context(), joined[0]); err != nil || !r.Already {
		t.Errorf("the same case does not join: %+v, %v", r, err)
	}
}

func TestATakeoverPutsTheOtherMarkBack(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	apply(t, quarantine.NewLabel(conn, want), s)
	held := dump(t, client)
	s2, err := quarantine.Survey(t.Context(), conn, target())
	if err != nil {
		t.Fatal(err)
	}
	l := quarantine.NewLabel(conn, quarantine.Want{Case: "c-2", Force: true})
	cs := apply(t, l, s2)
	if got := live(t, client).Labels[evidence.LabelQuarantine]; got != "c-2" {
		t.Fatalf("held by %q", got)
	}
	if _, err := l.Release(t.Context(), cs[0]); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, client); got != held {
		t.Errorf("after release:\n%s\nwant:\n%s", got, held)
	}
}

func TestAContendedWriteIsComputedAnewAndThenGivenUp(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	n := 0
	client.PrependReactor("patch", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
		if n++; n < 3 { // someone else is faster twice
			edit(t, client, func(p *corev1.Pod) { p.Labels["race"] = fmt.Sprint(n) })
		}
		return false, nil, nil
	})
	l := quarantine.NewDetach(conn, want)
	apply(t, l, s)
	p := live(t, client)
	if n != 3 || p.Labels["race"] != "2" || p.Labels["app"] != "" {
		t.Errorf("%d tries, labels %v", n, p.Labels)
	}
	s2, conn2, client2 := scene(t, pod("ReplicaSet"))
	client2.PrependReactor("patch", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web-0", errors.New("moved"))
	})
	cs, err := quarantine.NewDetach(conn2, want).Prepare(s2, target())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quarantine.NewDetach(conn2, want).Apply(t.Context(), cs[0]); !errors.Is(err, quarantine.ErrContended) {
		t.Errorf("five lost races: %v", err)
	}
}

func TestWritesNameTheFieldManager(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	apply(t, quarantine.NewLabel(conn, want), s)
	apply(t, quarantine.NewNetpol(conn, want), s)
	apply(t, quarantine.NewDetach(conn, want), s)
	n := 0
	for _, a := range client.Actions() {
		switch a := a.(type) {
		case ktesting.PatchActionImpl:
			if n++; a.PatchOptions.FieldManager != "irkit" {
				t.Errorf("patch with field manager %q", a.PatchOptions.FieldManager)
			}
		case ktesting.CreateActionImpl:
			if n++; a.CreateOptions.FieldManager != "irkit" {
				t.Errorf("create with field manager %q", a.CreateOptions.FieldManager)
			}
		}
	}
	if n != 3 {
		t.Errorf("%d writes", n)
	}
}

func TestDetachStripsAndDropsAndPutsBackWhatNobodyChanged(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	l := quarantine.NewDetach(conn, want)
	cs := apply(t, l, s)
	p := live(t, client)
	if len(p.Labels) != 0 || len(p.OwnerReferences) != 0 {
		t.Fatalf("labels %v, owners %v", p.Labels, p.OwnerReferences)
	}
	edit(t, client, func(p *corev1.Pod) { p.Labels = map[string]string{"tier": "back", "new": "1"} })
	r, err := l.Release(t.Context(), cs[0])
	if err != nil {
		t.Fatal(err)
	}
	p = live(t, client)
	if p.Labels["app"] != "web" || p.Labels["tier"] != "back" || p.Labels["new"] != "1" || p.Labels["pod-template-hash"] != "abc" {
		t.Errorf("labels after release: %v", p.Labels)
	}
	if len(p.OwnerReferences) != 0 {
		t.Errorf("release wrote ownerReferences: %v", p.OwnerReferences)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "tier") {
		t.Errorf("notes %q do not name what others changed", r.Notes)
	}
}

func TestDetachKeepsTheValueThatStoodAtTheWrite(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	edit(t, client, func(p *corev1.Pod) { p.Labels["tier"] = "middle" })
	l := quarantine.NewDetach(conn, want)
	cs := apply(t, l, s)
	if _, err := l.Release(t.Context(), cs[0]); err != nil {
		t.Fatal(err)
	}
	if got := live(t, client).Labels["tier"]; got != "middle" {
		t.Errorf("tier is %q after release, was middle at the write", got)
	}
}

func TestDetachWithoutPermissionForOwnersStripsLabelsAlone(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	client.PrependReactor("patch", "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
		if strings.Contains(string(a.(ktesting.PatchAction).GetPatch()), `"remove","path":"/metadata/ownerReferences"`) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web-0", errors.New("cannot set an ownerRef on a resource you can't delete"))
		}
		return false, nil, nil
	})
	l := quarantine.NewDetach(conn, want)
	cs, err := l.Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Apply(t.Context(), cs[0])
	if err != nil {
		t.Fatal(err)
	}
	p := live(t, client)
	if len(p.Labels) != 0 || len(p.OwnerReferences) != 1 || len(r.Notes) != 1 {
		t.Errorf("labels %v, owners %v, notes %q", p.Labels, p.OwnerReferences, r.Notes)
	}
}

func TestDetachKeepsOwners(t *testing.T) {
	for name, c := range map[string]struct {
		owner string
		edit  func(*quarantine.Scene, *quarantine.Want)
		left  int
	}{
		"of an unknown controller":    {"Rollout", func(*quarantine.Scene, *quarantine.Want) {}, 1},
		"on AWS VPC CNI":              {"ReplicaSet", func(s *quarantine.Scene, _ *quarantine.Want) { s.CNI.Name = "aws-vpc-cni" }, 1},
		"when asked to":               {"ReplicaSet", func(_ *quarantine.Scene, w *quarantine.Want) { w.KeepOwner = true }, 1},
		"that are not the controller": {"StatefulSet", func(*quarantine.Scene, *quarantine.Want) {}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, conn, client := scene(t, pod(c.owner, func(p *corev1.Pod) {
				if name == "that are not the controller" {
					p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "cm-1"})
				}
			}))
			w := want
			c.edit(&s, &w)
			apply(t, quarantine.NewDetach(conn, w), s)
			p := live(t, client)
			if len(p.OwnerReferences) != c.left || p.Labels["app"] != "" {
				t.Errorf("owners %v, labels %v", p.OwnerReferences, p.Labels)
			}
		})
	}
}

func TestAPolicyOfTheNameThatIsNotOursIsNotTouched(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	l := quarantine.NewNetpol(conn, want)
	cs := apply(t, l, s)
	gvr := schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}
	o, err := client.Tracker().Get(gvr, "prod", cs[0].Object.Name)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := o.DeepCopyObject().(metav1.Object)
	m.SetLabels(map[string]string{"owner": "someone"})
	if err := client.Tracker().Update(gvr, m.(runtime.Object), "prod"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Apply(t.Context(), cs[0]); !errors.Is(err, quarantine.ErrForeign) {
		t.Errorf("apply over a foreign policy: %v", err)
	}
	r, err := l.Release(t.Context(), cs[0])
	if err != nil || len(r.Notes) == 0 {
		t.Errorf("release of a foreign policy: %+v, %v", r, err)
	}
	if _, err := client.Tracker().Get(gvr, "prod", cs[0].Object.Name); err != nil {
		t.Errorf("the foreign policy is gone: %v", err)
	}
}

func TestThePolicyStaysAsLongAsAPodNeedsIt(t *testing.T) {
	other := pod("", func(p *corev1.Pod) {
		p.Name, p.UID, p.Labels = "db-0", "db", map[string]string{evidence.LabelQuarantine: "c-1"}
	})
	s, conn, client := scene(t, pod(""), other)
	l := quarantine.NewNetpol(conn, want)
	cs := apply(t, l, s)
	r, err := l.Release(t.Context(), cs[0])
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "db-0") {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := client.Tracker().Delete(schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "prod", "db-0"); err != nil {
		t.Fatal(err)
	}
	if r, err = l.Release(t.Context(), cs[0]); err != nil || r.Already {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestTransientErrorsAreTriedAgain(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	failed := map[string]bool{}
	client.PrependReactor("*", "*", func(a ktesting.Action) (bool, runtime.Object, error) {
		if k := a.GetVerb() + a.GetResource().Resource; !failed[k] {
			failed[k] = true
			return true, nil, apierrors.NewInternalError(errors.New("etcd is busy"))
		}
		return false, nil, nil
	})
	apply(t, quarantine.NewLabel(conn, want), s)
	apply(t, quarantine.NewNetpol(conn, want), s)
	if live(t, client).Labels[evidence.LabelQuarantine] != "c-1" {
		t.Error("not marked")
	}
}

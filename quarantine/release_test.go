package quarantine_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/fake"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/cordon"
)

// contain applies every layer, and answers what the journal would hold.
func contain(t *testing.T, s quarantine.Scene, layers map[string]quarantine.Layer) []quarantine.Done {
	t.Helper()
	var out []quarantine.Done
	for _, name := range quarantine.DefaultLayers() {
		l, ok := layers[name]
		if !ok {
			continue
		}
		cs, err := l.Prepare(s, target())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cs {
			r, err := l.Apply(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, quarantine.Done{Change: c, Data: data})
		}
	}
	return out
}

func all(conn *cluster.Conn, h quarantine.Hands) map[string]quarantine.Layer {
	return map[string]quarantine.Layer{"netns": quarantine.NewNetns(h, want, nil, 0), "label": quarantine.NewLabel(conn, want),
		"netpol": quarantine.NewNetpol(conn, want), "detach": quarantine.NewDetach(conn, want), "protect": quarantine.NewProtect(conn, want), "cordon": cordon.New(conn)}
}

// release makes every step of a plan.
func release(t *testing.T, conn *cluster.Conn, client *fake.Clientset, layers map[string]quarantine.Layer, done []quarantine.Done, m quarantine.Mode) quarantine.ReleasePlan {
	t.Helper()
	now, err := conn.Live(t.Context(), target())
	if err != nil && !errors.Is(err, cluster.ErrReplaced) {
		t.Fatal(err)
	}
	if err != nil {
		now = nil
	}
	plan, err := quarantine.PlanRelease(now, target(), done, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range plan.Steps {
		var err error
		switch s.Kind {
		case quarantine.StepUndo:
			_, err = layers[s.Layer].Release(t.Context(), *s.Undo)
		case quarantine.StepWaitReady:
			_, err = quarantine.Ready(t.Context(), conn, target(), time.Millisecond)
		case quarantine.StepDelete:
			err = quarantine.DeleteTarget(t.Context(), conn, target())
		}
		if err != nil {
			t.Fatalf("%s %s: %v", s.Kind, s.Layer, err)
		}
	}
	return plan
}

func nodeCordoned(t *testing.T, conn *cluster.Conn) bool {
	t.Helper()
	n, err := conn.Client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n.Spec.Unschedulable
}

func TestReleaseToServicePutsEverythingBack(t *testing.T) {
	for _, owner := range []string{"", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "Rollout"} {
		t.Run("owner "+owner, func(t *testing.T) {
			s, conn, client := scene(t, pod(owner))
			h := &hand{}
			layers, before := all(conn, h), dump(t, client)
			done := contain(t, s, layers)
			if h.cut == nil || !nodeCordoned(t, conn) || dump(t, client) == before {
				t.Fatal("nothing was contained")
			}
			for range 2 {
				plan := release(t, conn, client, layers, done, quarantine.ToService)
				if got := dump(t, client); got != before {
					t.Errorf("after release:\n%s\nbefore:\n%s", got, before)
				}
				if h.cut != nil || nodeCordoned(t, conn) {
					t.Error("the cut or the cordon stands")
				}
				order(t, plan)
			}
		})
	}
}

// order: the cut first, the labels only after Ready, the node last.
func order(t *testing.T, plan quarantine.ReleasePlan) {
	t.Helper()
	at := map[string]int{}
	for i, s := range plan.Steps {
		k := s.Layer
		if s.Kind != quarantine.StepUndo {
			k = string(s.Kind)
		}
		if _, seen := at[k]; !seen {
			at[k] = i
		}
	}
	want := []string{"netns", "label", "netpol", "wait-ready", "detach", "cordon"}
	if !slices.IsSortedFunc(want, func(a, b string) int { return at[a] - at[b] }) {
		t.Errorf("order of steps: %v", at)
	}
}

func TestReleaseByDeletingThePod(t *testing.T) {
	s, conn, client := scene(t, pod("StatefulSet"))
	layers := all(conn, &hand{})
	done := contain(t, s, layers)
	for range 2 {
		plan := release(t, conn, client, layers, done, quarantine.DeletePod)
		if len(plan.Steps) == 0 || !quarantine.Early(*plan.Steps[0].Undo) {
			t.Errorf("the policy by name, under which a successor would fall, is not the first to go: %+v", plan.Steps)
		}
		if got := dump(t, client); got != "" {
			t.Errorf("left:\n%s", got)
		}
	}
	if nodeCordoned(t, conn) {
		t.Error("the cordon stands")
	}
}

func TestReleaseOfAReplacedPodTouchesOnlyOurOwn(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	layers := all(conn, &hand{})
	done := contain(t, s, layers)
	replace(t, client)
	release(t, conn, client, layers, done, quarantine.ToService)
	if p := live(t, client); p.UID != "another" || p.Labels["app"] != "web" || p.Labels["pod-template-hash"] != "abc" {
		t.Errorf("the other pod: %s %v", p.UID, p.Labels)
	}
	if _, err := quarantine.PlanRelease(live(t, client), target(), done, quarantine.ToService); !errors.Is(err, cluster.ErrReplaced) {
		t.Errorf("plan for another pod: %v", err)
	}
}

func TestReleaseKeepsAndNamesWhatOthersChanged(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	layers := all(conn, &hand{})
	done := contain(t, s, layers)
	edit(t, client, func(p *corev1.Pod) { p.Labels["app"] = "other"; p.Labels["extra"] = "1" })
	plan := release(t, conn, client, layers, done, quarantine.ToService)
	p := live(t, client)
	if p.Labels["app"] != "other" || p.Labels["extra"] != "1" || p.Labels["tier"] != "front" {
		t.Errorf("labels %v", p.Labels)
	}
	if len(plan.Kept) != 1 || !strings.Contains(plan.Kept[0], "app") {
		t.Errorf("kept: %q", plan.Kept)
	}
}

func TestReleaseAfterACrashBetweenWriteAndRecord(t *testing.T) {
	s, conn, client := scene(t, pod("ReplicaSet"))
	layers, before := all(conn, &hand{}), dump(t, client)
	done := contain(t, s, layers)
	for i := range done {
		done[i].Data = nil // intends only
	}
	release(t, conn, client, layers, done, quarantine.ToService)
	if got := dump(t, client); got != before {
		t.Errorf("after release:\n%s\nbefore:\n%s", got, before)
	}
}

func TestReleaseFromTheAnnotationAlone(t *testing.T) {
	s, conn, client := scene(t, pod("StatefulSet"))
	h := &hand{}
	layers, before := all(conn, h), dump(t, client)
	delete(layers, "cordon") // is not in the annotation, and would be named as residue
	var signed string
	w := want
	w.Sign = func(b []byte) (string, error) { signed = string(b); return "SIG", nil }
	layers["label"] = quarantine.NewLabel(conn, w)
	contain(t, s, layers)
	note := live(t, client).Annotations[evidence.AnnotationOriginal]
	u, msg, sig, err := quarantine.ParseUndo(note)
	if err != nil || sig != "SIG" || string(msg) != signed || u.Target != target() || u.Labels["app"] != "web" {
		t.Fatalf("%+v %q %v", u, sig, err)
	}
	done, left := u.Done(note)
	if len(left) > 0 {
		t.Errorf("left out: %q", left)
	}
	release(t, conn, client, layers, done, quarantine.ToService)
	if got := dump(t, client); got != before || h.cut != nil {
		t.Errorf("after release:\n%s\nbefore:\n%s", got, before)
	}
}

// No write ever selects another pod than the target, whatever the labels of the others.
func TestNoPolicySelectsAnotherPod(t *testing.T) {
	for seed := range uint64(300) {
		g := gen{rand.New(rand.NewPCG(seed, 7))}
		owner := pick(g, "", "ReplicaSet", "StatefulSet", "DaemonSet")
		p := pod(owner, func(p *corev1.Pod) { maps.Copy(p.Labels, g.labels()) })
		s := quarantine.Scene{Target: target(), Pod: *p}
		for i := range 5 {
			l := g.labels()
			if g.IntN(2) == 0 {
				maps.Copy(l, p.Labels)
				if g.IntN(2) == 0 {
					delete(l, "statefulset.kubernetes.io/pod-name")
				}
			}
			s.Siblings = append(s.Siblings, quarantine.Sibling{Name: string(rune('a' + i)), Labels: l})
		}
		cs, err := quarantine.NewNetpol(nil, want).Prepare(s, target())
		if err != nil {
			t.Fatal(err)
		}
		future := quarantine.FutureLabels(s, quarantine.Want{Case: "c-1", Layers: []string{"label"}})
		for _, c := range cs {
			var np struct {
				Spec struct {
					PodSelector metav1.LabelSelector `json:"podSelector"`
				} `json:"spec"`
			}
			if err := json.Unmarshal(c.After, &np); err != nil {
				t.Fatal(err)
			}
			sel, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
			if err != nil || sel.Empty() || !sel.Matches(labels.Set(future)) {
				t.Fatalf("seed %d: %s does not select the target", seed, c.ID)
			}
			for _, o := range s.Siblings {
				if sel.Matches(labels.Set(o.Labels)) {
					t.Fatalf("seed %d: %s selects %v", seed, c.ID, o.Labels)
				}
			}
		}
	}
}

// What third parties did in between, kind by kind: what irkit touched and nobody else did
// goes back; the rest stays, and what was irkit's is told.
func TestReleaseAfterThirdParties(t *testing.T) {
	put := func(p *corev1.Pod, k, v string) { p.Labels[k] = v }
	for name, c := range map[string]struct {
		edit func(*corev1.Pod)
		want map[string]string
		kept []string
	}{
		"nothing":                    {func(*corev1.Pod) {}, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc"}, nil},
		"a stripped label set anew":  {func(p *corev1.Pod) { put(p, "app", "x") }, map[string]string{"app": "x", "tier": "front", "pod-template-hash": "abc"}, []string{"app"}},
		"a stripped label as it was": {func(p *corev1.Pod) { put(p, "app", "web") }, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc"}, nil},
		"a label of their own":       {func(p *corev1.Pod) { put(p, "seen", "1") }, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc", "seen": "1"}, nil},
		"the mark taken off":         {func(p *corev1.Pod) { delete(p.Labels, evidence.LabelQuarantine) }, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc"}, nil},
		"another case's mark":        {func(p *corev1.Pod) { put(p, evidence.LabelQuarantine, "c-2") }, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc", evidence.LabelQuarantine: "c-2"}, []string{evidence.LabelQuarantine}},
		"the note taken off":         {func(p *corev1.Pod) { delete(p.Annotations, evidence.AnnotationOriginal) }, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc"}, nil},
		"an owner of their own added": {func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "ConfigMap", Name: "x", UID: "x"}}
		}, map[string]string{"app": "web", "tier": "front", "pod-template-hash": "abc"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, conn, client := scene(t, pod("ReplicaSet"))
			layers := all(conn, &hand{})
			done := contain(t, s, layers)
			edit(t, client, c.edit)
			owners := live(t, client).OwnerReferences
			plan := release(t, conn, client, layers, done, quarantine.ToService)
			p := live(t, client)
			if !maps.Equal(p.Labels, c.want) || len(p.OwnerReferences) != len(owners) || p.Annotations["team"] != "blue" {
				t.Errorf("labels %v, annotations %v, owners %v", p.Labels, p.Annotations, p.OwnerReferences)
			}
			if len(plan.Kept) != len(c.kept) {
				t.Fatalf("kept %q, want words of %q", plan.Kept, c.kept)
			}
			for i, k := range c.kept {
				if !strings.Contains(plan.Kept[i], k) {
					t.Errorf("kept %q does not name %s", plan.Kept[i], k)
				}
			}
		})
	}
}

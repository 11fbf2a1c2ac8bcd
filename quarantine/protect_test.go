package quarantine_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

var holding = quarantine.Want{Case: "c-1", Hold: true}

func TestProtectConforms(t *testing.T) { protectConforms(t, want) }
func TestHoldConforms(t *testing.T)    { protectConforms(t, holding) }

func protectConforms(t *testing.T, w quarantine.Want) {
	for _, owner := range []string{"", "ReplicaSet", "StatefulSet"} {
		conforms(t, owner, func(conn *cluster.Conn, _ quarantine.Want) quarantine.Layer { return quarantine.NewProtect(conn, w) })
	}
}

// TestProtectionKeepsWhatOthersWrote: annotations that stood before come back, those that
// others changed since stay, and no finalizer but ours is ever taken.
func TestProtectionKeepsWhatOthersWrote(t *testing.T) {
	p := pod("ReplicaSet")
	p.Annotations = map[string]string{"karpenter.sh/do-not-disrupt": "false", "descheduler.alpha.kubernetes.io/prefer-no-eviction": "true", "team": "a"}
	p.Finalizers = []string{"batch.kubernetes.io/job-tracking"}
	s, conn, client := scene(t, p)
	l := quarantine.NewProtect(conn, holding)
	cs := apply(t, l, s)
	got := live(t, client)
	for k, v := range map[string]string{
		"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true",
		"descheduler.alpha.kubernetes.io/prefer-no-eviction": "true", "controller.kubernetes.io/pod-deletion-cost": "2147483647", "team": "a",
	} {
		if got.Annotations[k] != v {
			t.Errorf("%s is %q, want %q", k, got.Annotations[k], v)
		}
	}
	if !slices.Equal(got.Finalizers, []string{"batch.kubernetes.io/job-tracking", evidence.Finalizer}) {
		t.Errorf("finalizers %q", got.Finalizers)
	}
	edit(t, client, func(p *corev1.Pod) {
		p.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "true"
		p.Finalizers = []string{"theirs/second", evidence.Finalizer}
	})
	var notes []string
	for _, c := range cs {
		r, err := l.Release(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, r.Notes...)
	}
	got = live(t, client)
	want := map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true", "karpenter.sh/do-not-disrupt": "false",
		"descheduler.alpha.kubernetes.io/prefer-no-eviction": "true", "team": "a"}
	if x, y := mustJSON(t, got.Annotations), mustJSON(t, want); x != y {
		t.Errorf("annotations %s, want %s", x, y)
	}
	if !slices.Equal(got.Finalizers, []string{"theirs/second"}) {
		t.Errorf("finalizers %q", got.Finalizers)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "safe-to-evict") {
		t.Errorf("notes %q", notes)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTheBudgetIsTheCases: it is a number that no namespace reaches, on the label of the
// case alone; it stays as long as another pod of the case needs it, and one that someone
// else made is never taken over.
func TestTheBudgetIsTheCases(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	l := quarantine.NewProtect(conn, want)
	cs := apply(t, l, s)
	i := slices.IndexFunc(cs, func(c evidence.Change) bool { return c.Op == evidence.OpCreate })
	b, err := conn.Client.PolicyV1().PodDisruptionBudgets("prod").Get(t.Context(), "irkit-quarantine-c-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Spec.MinAvailable.IntValue() != 2147483647 || b.Spec.MaxUnavailable != nil || len(b.Spec.Selector.MatchLabels) != 1 || b.Spec.Selector.MatchLabels[evidence.LabelQuarantine] != "c-1" {
		t.Errorf("budget %+v", b.Spec)
	}
	apply(t, quarantine.NewLabel(conn, want), s)
	if r, err := l.Release(t.Context(), cs[i]); err != nil || !r.Already || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "pod web-0") {
		t.Errorf("released while a pod of the case is there: %+v, %v", r, err)
	}
	edit(t, client, func(p *corev1.Pod) { delete(p.Labels, evidence.LabelQuarantine) })
	if r, err := l.Release(t.Context(), cs[i]); err != nil || r.Already {
		t.Errorf("release: %+v, %v", r, err)
	}
	b.Labels[evidence.LabelCase], b.ResourceVersion = "c-2", ""
	if _, err := conn.Client.PolicyV1().PodDisruptionBudgets("prod").Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Apply(t.Context(), cs[i]); !errors.Is(err, quarantine.ErrForeign) {
		t.Errorf("apply over another case's budget: %v", err)
	}
	if r, err := l.Release(t.Context(), cs[i]); err != nil || !r.Already {
		t.Errorf("release of another case's budget: %+v, %v", r, err)
	}
}

// TestHoldComesTooLate: the API server takes no new finalizer on an object that is being
// deleted; the rest is written.
func TestHoldComesTooLate(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	l := quarantine.NewProtect(conn, holding)
	cs, err := l.Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	edit(t, client, func(p *corev1.Pod) { p.DeletionTimestamp = &now })
	r, err := l.Apply(t.Context(), cs[0])
	if err != nil || len(r.Notes) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := live(t, client); len(got.Finalizers) > 0 || got.Annotations["karpenter.sh/do-not-disrupt"] != "true" {
		t.Errorf("finalizers %q, annotations %q", got.Finalizers, got.Annotations)
	}
}

// TestReleaseOfAHeldPod: the finalizer goes before the pod is deleted, and with it goes a
// pod that someone deleted meanwhile.
func TestReleaseOfAHeldPod(t *testing.T) {
	s, conn, client := scene(t, pod("StatefulSet"))
	var done []quarantine.Done
	for _, l := range []quarantine.Layer{quarantine.NewLabel(conn, holding), quarantine.NewNetpol(conn, holding), quarantine.NewDetach(conn, holding), quarantine.NewProtect(conn, holding)} {
		for _, c := range apply(t, l, s) {
			done = append(done, quarantine.Done{Change: c})
		}
	}
	steps := func(m quarantine.Mode) (out []string, plan quarantine.ReleasePlan) {
		t.Helper()
		plan, err := quarantine.PlanRelease(live(t, client), target(), done, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Steps {
			what := string(s.Kind)
			if s.Change != nil && s.Kind == quarantine.StepUndo {
				what = s.Layer + " " + strings.ToLower(s.Change.Object.Kind)
			}
			out = append(out, what)
		}
		return out, plan
	}
	if got, _ := steps(quarantine.DeletePod); !slices.Equal(got, []string{"netpol networkpolicy", "protect pod", "delete-pod", "netpol networkpolicy", "protect poddisruptionbudget"}) {
		t.Errorf("to delete: %q", got)
	}
	back := []string{"label pod", "netpol networkpolicy", "netpol networkpolicy", "protect poddisruptionbudget", "wait-ready", "protect pod", "detach pod", "label pod"}
	if got, _ := steps(quarantine.ToService); !slices.Equal(got, back) {
		t.Errorf("to service: %q", got)
	}
	now := metav1.Now()
	edit(t, client, func(p *corev1.Pod) { p.DeletionTimestamp = &now })
	got, plan := steps(quarantine.ToService)
	if !slices.Equal(got, slices.DeleteFunc(back, func(s string) bool { return s == "wait-ready" })) {
		t.Errorf("of a pod that is being deleted: %q", got)
	}
	if !slices.ContainsFunc(plan.Residue, func(s string) bool { return strings.Contains(s, "does not come back to service") }) {
		t.Errorf("residue %q", plan.Residue)
	}
}

// TestProtectionFromAnnotation: of what the tenant may have written only our own keys are
// believed, and the budget is that of the case.
func TestProtectionFromAnnotation(t *testing.T) {
	s, conn, _ := scene(t, pod("ReplicaSet"))
	cs, err := quarantine.NewProtect(conn, holding).Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	evil := cs[0]
	evil.Before = json.RawMessage(`{"metadata":{"annotations":{"karpenter.sh/do-not-disrupt":"` + strings.Repeat("x", 100) + `","cluster-autoscaler.kubernetes.io/safe-to-evict":"true","sidecar.istio.io/inject":"true"},"finalizers":[]}}`)
	evil.After = json.RawMessage(`{"metadata":{"annotations":{"karpenter.sh/do-not-disrupt":"true","cluster-autoscaler.kubernetes.io/safe-to-evict":"false","sidecar.istio.io/inject":"x"},"finalizers":["theirs/one","irkit.dev/evidence"]}}`)
	other := cs[1]
	other.Object.Name = "theirs"
	u := quarantine.Undo{V: 1, Case: "c-1", Target: target(), Changes: []evidence.Change{evil, cs[1], other}}
	done, left := u.Done("{}")
	if len(done) != 3 || len(left) != 2 {
		t.Fatalf("%d changes, left out %q", len(done), left)
	}
	got := string(done[1].Change.Before) + string(done[1].Change.After)
	for word, in := range map[string]bool{"istio": false, "xxx": false, "theirs/one": false, evidence.Finalizer: true, "safe-to-evict": true} {
		if strings.Contains(got, word) != in {
			t.Errorf("%s in the change: %v\n%s", word, !in, got)
		}
	}
	if a, b := mustJSON(t, done[2].Change), mustJSON(t, cs[1]); a != b {
		t.Errorf("the budget is\n%s\nnot\n%s", a, b)
	}
}

func TestForecastOfProtection(t *testing.T) {
	one := metav1.LabelSelector{}
	for name, c := range map[string]struct {
		owner string
		want  quarantine.Want
		edit  func(*quarantine.Scene)
		has   []string
		lacks []string
	}{
		"plain": {"StatefulSet", want, nil, []string{"evictions-stop", "deletion-goes-on"}, []string{"object-held", "successor-waits", "budget-beside"}},
		"held":  {"StatefulSet", holding, nil, []string{"object-held", "successor-waits"}, []string{"hold-too-late"}},
		"bare":  {"", holding, nil, []string{"object-held"}, []string{"successor-waits"}},
		"beside": {"", want, func(s *quarantine.Scene) {
			s.Budgets = []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &one}}}
		}, []string{"budget-beside"}, nil},
		"ours beside": {"", want, func(s *quarantine.Scene) {
			s.Budgets = []policyv1.PodDisruptionBudget{{ObjectMeta: metav1.ObjectMeta{Name: "irkit-quarantine-c-1", Labels: map[string]string{evidence.LabelCase: "c-1"}}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &one}}}
		}, nil, []string{"budget-beside"}},
		"too late": {"", holding, func(s *quarantine.Scene) { now := metav1.Now(); s.Pod.DeletionTimestamp = &now }, []string{"hold-too-late"}, []string{"object-held"}},
		"static":   {"", want, func(s *quarantine.Scene) { s.Pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }, []string{"static-pod"}, []string{"evictions-stop"}},
		"skipped":  {"", quarantine.Want{Case: "c-1", Layers: []string{quarantine.LayerNetpol}}, nil, nil, []string{"evictions-stop", "object-held"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, _ := scene(t, pod(c.owner))
			if c.edit != nil {
				c.edit(&s)
			}
			codes := codesOf(quarantine.Forecast(s, target(), c.want))
			for _, code := range c.has {
				if !slices.Contains(codes, code) {
					t.Errorf("no %s in %q", code, codes)
				}
			}
			for _, code := range c.lacks {
				if slices.Contains(codes, code) {
					t.Errorf("%s in %q", code, codes)
				}
			}
		})
	}
}

// TestContendedFinalizers: another controller writes its finalizer between our reading and
// our write; neither is lost.
func TestContendedFinalizers(t *testing.T) {
	s, conn, client := scene(t, pod(""))
	n := 0
	client.PrependReactor("patch", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
		if n++; n == 1 {
			edit(t, client, func(p *corev1.Pod) { p.Finalizers = []string{"theirs/one"} })
		}
		return false, nil, nil
	})
	apply(t, quarantine.NewProtect(conn, holding), s)
	if got := live(t, client).Finalizers; n != 2 || !slices.Equal(got, []string{"theirs/one", evidence.Finalizer}) {
		t.Errorf("%d tries, finalizers %q", n, got)
	}
}

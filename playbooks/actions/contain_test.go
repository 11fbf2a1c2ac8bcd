package actions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/evidence/verify"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/builtin"
	"irkit.dev/irkit/quarantine"
)

// night is a machine with an irkit, a cluster that is client-go's fake, and a pod whose
// network is in memory. Its policy holds once it is
// created, and not before the cut: so the baseline always tells.
type night struct {
	*playbooks.Engine
	client  *fake.Clientset
	hands   *starter
	signers string
	plan    *playbooks.Plan
}

func newNight(t *testing.T) *night {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.LoadOrCreateKey(filepath.Join(dir, "key"), "jo@laptop")
	if err != nil {
		t.Fatal(err)
	}
	line, err := seal.AllowedSigner("jo@example.com", key.PublicKey(), evidence.SealNamespace)
	if err != nil {
		t.Fatal(err)
	}
	n := &night{hands: newStarter(), signers: filepath.Join(dir, "signers")}
	if err := os.WriteFile(n.signers, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	n.client = fake.NewClientset(scenery()...)
	n.client.PrependReactor("create", "selfsubjectaccessreviews", func(a ktesting.Action) (bool, runtime.Object, error) {
		r := a.(ktesting.CreateAction).GetObject().(*authz.SelfSubjectAccessReview).DeepCopy()
		r.Status.Allowed = true
		return true, r, nil
	})
	n.hands.net.Policy = func(cut bool) bool { return cut && len(n.policies(t)) > 0 }
	n.hands.net.Flows = []evidence.Flow{{Proto: "tcp", State: "LISTEN", Local: netip.MustParseAddrPort("0.0.0.0:8080")}}
	known := runtime.NewScheme() // of its own: the fake writes into it
	if err := scheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	kinds := map[schema.GroupVersionResource]string{{Group: "cilium.io", Version: "v2", Resource: "ciliumnodes"}: "CiliumNodeList"}
	n.Engine = &playbooks.Engine{
		Conn: &cluster.Conn{
			Client: n.client, Dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(known, kinds, scenery()...),
			Context: "fake", Cluster: "https://fake", Namespace: "prod",
		},
		Cases: playbooks.Cases{Home: filepath.Join(dir, "home")}, Signer: key, Now: time.Now, Progress: func(string, ...any) {},
		Tool: evidence.Tool{Name: "irkit", Version: "test"}, Actor: evidence.Actor{Name: "jo", Host: "laptop"},
		Starter: func(debugger.Host, evidence.Target) playbooks.Starter { return n.hands },
	}
	source, err := builtin.Source("contain")
	if err != nil {
		t.Fatal(err)
	}
	if n.plan, err = playbooks.Compile("contain.yaml", source, Standard()); err != nil {
		t.Fatal(err)
	}
	return n
}

// scenery is what stands in the cluster.
func scenery() []runtime.Object {
	sibling := targetPod()
	sibling.Name, sibling.UID, sibling.Status.PodIP, sibling.Status.PodIPs = "web-1", "uid-1", "10.0.0.8", []corev1.PodIP{{IP: "10.0.0.8"}}
	return []runtime.Object{
		targetPod(), sibling, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "cluster-1"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "default"}},
		&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web", UID: "rs-1"}},
	}
}

func (n *night) policies(t *testing.T) []string {
	all, err := n.client.NetworkingV1().NetworkPolicies("prod").List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
	if err != nil {
		t.Error(err)
		return nil
	}
	var names []string
	for _, p := range all.Items {
		names = append(names, p.Name)
	}
	return names
}

func (n *night) pod(t *testing.T) *corev1.Pod {
	t.Helper()
	p, err := n.client.CoreV1().Pods("prod").Get(t.Context(), "web-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (n *night) node(t *testing.T) *corev1.Node {
	t.Helper()
	node, err := n.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// contain is what `irkit contain web-0` does. The bundle that comes of it must verify.
func (n *night) contain(ctx context.Context, t *testing.T, edits ...func(*playbooks.Order)) playbooks.Result {
	t.Helper()
	o := playbooks.Order{Case: "c-1", Target: theTarget(), Pod: n.pod(t), Plan: n.plan, Image: "agent:test"}
	for _, e := range edits {
		e(&o)
	}
	look, err := n.Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Run(ctx, o, look)
	if err != nil {
		t.Fatalf("no sealed bundle: %v", err)
	}
	v, err := verify.Bundle(t.Context(), got.Bundle, verify.Options{Signers: n.signers, Deep: true})
	if err != nil || !v.OK() || v.Origin != verify.OK {
		t.Fatalf("%v: %+v", err, v)
	}
	return got
}

func (n *night) release(t *testing.T, mode quarantine.Mode) playbooks.ReleaseResult {
	t.Helper()
	p, err := n.LookRelease(t.Context(), "c-1", mode)
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Release(t.Context(), playbooks.Order{}, p, func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// completeness is the table of a bundle, by kind and ordinal.
func completeness(t *testing.T, bundle string) map[string]evidence.CompletenessRow {
	t.Helper()
	var c evidence.Completeness
	readJSON(t, filepath.Join(bundle, filepath.FromSlash(evidence.CompletenessJSON)), &c)
	out := map[string]evidence.CompletenessRow{}
	for _, r := range c.Rows {
		out[r.Kind+" "+r.Ordinal] = r
	}
	return out
}

func TestContainProvesCollectsAndIsTakenBack(t *testing.T) {
	n := newNight(t)
	got := n.contain(t.Context(), t)
	if len(got.Failed) > 0 || got.Verdict == nil || got.Verdict.State != evidence.Contained || got.Verdict.PolicyHeld == nil {
		t.Fatalf("failed %q, missing %d, verdict %+v", got.Failed, got.Missing, got.Verdict)
	}
	p := n.pod(t)
	if p.Labels[evidence.LabelQuarantine] != "c-1" || p.Labels["app"] != "" || len(p.OwnerReferences) != 0 || p.Annotations[evidence.AnnotationOriginal] == "" {
		t.Errorf("the pod: labels %v, owners %v", p.Labels, p.OwnerReferences)
	}
	if cut, times := n.hands.net.Cut(); !cut || times != 1 || len(n.policies(t)) == 0 || !n.node(t).Spec.Unschedulable {
		t.Errorf("cut %v (%d times), policies %q, cordoned %v", cut, times, n.policies(t), n.node(t).Spec.Unschedulable)
	}
	rows := completeness(t, got.Bundle)
	for what, r := range rows {
		if r.Status == evidence.Impossible || r.Status == evidence.Truncated {
			t.Errorf("%s: %s (%s)", what, r.Status, r.Reason)
		}
	}
	for _, kind := range []string{"processes", "connections", "environment", "open-files", "mounts", "recovered", "persistence", "filesystem"} {
		for _, c := range []string{"c0", "c1"} {
			if r := rows[kind+" "+c]; r.Status != evidence.Collected || r.Size == 0 {
				t.Errorf("%s of %s: %+v", kind, c, r)
			}
		}
	}
	if rows["pod pod"].Size == 0 || rows["log-current c0"].Size == 0 {
		t.Errorf("pod %+v, log %+v", rows["pod pod"], rows["log-current c0"])
	}
	s, err := n.Cases.Recall("c-1")
	if err != nil || len(s.Changes) != 5 || len(s.Unsure)+len(s.Faults) != 0 || s.Before != "CONTAINED" {
		t.Errorf("status: %+v, %v", s, err)
	}
	writes := n.writes()
	if err := n.Measure(t.Context(), &s); err != nil || len(s.Drift) > 0 || s.Live != "Running" || s.Hand != "answers" || n.writes() != writes ||
		s.Cut == nil || s.Verdict == nil || s.Verdict.Outbound != evidence.Contained {
		t.Errorf("measured anew: %+v, %v, %d writes", s, err, n.writes()-writes)
	}

	back := n.release(t, quarantine.ToService)
	if len(back.Failed) > 0 {
		t.Fatalf("release: %q", back.Failed)
	}
	p = n.pod(t)
	if want := targetPod().Labels; !maps.Equal(p.Labels, want) || len(p.Annotations) != 0 || len(n.policies(t)) != 0 || n.node(t).Spec.Unschedulable {
		t.Errorf("after: labels %v, annotations %v, policies %q, cordoned %v", p.Labels, p.Annotations, n.policies(t), n.node(t).Spec.Unschedulable)
	}
	if cut, _ := n.hands.net.Cut(); cut {
		t.Error("the cut stands")
	}
	writes = n.writes()
	if again := n.release(t, quarantine.ToService); len(again.Failed) > 0 || n.writes() != writes {
		t.Errorf("released twice: %q, %d writes", again.Failed, n.writes()-writes)
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released || len(s.Changes)+len(s.Unsure) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, open, err := n.Cases.OpenOf(theTarget().UID); err != nil || open {
		t.Errorf("the case is open (%v)", err)
	}
	// And the next night it is contained anew, whole.
	if got := n.contain(t.Context(), t); got.Verdict.State != evidence.Contained || n.pod(t).Labels[evidence.LabelQuarantine] != "c-1" {
		t.Errorf("contained again: %+v", got.Verdict)
	}
	if cut, times := n.hands.net.Cut(); !cut || times != 2 {
		t.Errorf("cut %v, %d times", cut, times)
	}
}

// What status says of a case is what is there now, not what the log hopes.
func TestStatusSeesWhatOthersDid(t *testing.T) {
	for name, c := range map[string]struct {
		did  func(*testing.T, *night)
		want func(playbooks.Standing) bool
	}{
		"the mark was taken off": {
			func(t *testing.T, n *night) {
				p := n.pod(t)
				delete(p.Labels, evidence.LabelQuarantine)
				if _, err := n.client.CoreV1().Pods("prod").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			func(s playbooks.Standing) bool { return len(s.Drift) == 1 && s.Hand == "answers" },
		},
		"the pod was replaced": {
			func(t *testing.T, n *night) {
				p := targetPod()
				p.UID = "another"
				if err := n.client.CoreV1().Pods("prod").Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				if _, err := n.client.CoreV1().Pods("prod").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			func(s playbooks.Standing) bool { return s.Live == "gone or replaced" && s.Verdict == nil },
		},
		"the hand ended": {
			func(t *testing.T, n *night) { n.hands.hands = map[string]*handtest.Hand{} },
			func(s playbooks.Standing) bool { return s.Hand == "gone" && s.Verdict == nil && s.Live == "Running" },
		},
		"the key is not here": {
			func(t *testing.T, n *night) {
				if err := os.Remove(filepath.Join(n.Cases.Dir("c-1"), "case-key")); err != nil {
					t.Fatal(err)
				}
			},
			func(s playbooks.Standing) bool { return strings.Contains(s.Hand, "case key") },
		},
		"the cut was lifted by hand": {
			func(t *testing.T, n *night) {
				if err := n.hands.hands["app"].Lift(t.Context(), "c-1"); err != nil {
					t.Fatal(err)
				}
				n.hands.net.Policy = nil
			},
			func(s playbooks.Standing) bool { return s.Verdict != nil && s.Verdict.Outbound == evidence.Failed },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t)
			n.contain(t.Context(), t, func(o *playbooks.Order) { o.Plan = hasty(o.Plan) })
			c.did(t, n)
			s, err := n.Cases.Recall("c-1")
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Measure(t.Context(), &s); err != nil || !c.want(s) {
				t.Errorf("%+v, %v", s, err)
			}
			if name == "the key is not here" {
				if _, err := os.Stat(filepath.Join(n.Cases.Dir("c-1"), "case-key")); err == nil {
					t.Error("status made a key")
				}
			}
		})
	}
}

func (n *night) writes() int {
	count := 0
	for _, a := range n.client.Actions() {
		if v := a.GetVerb(); (v == "patch" || v == "create" || v == "delete" || v == "update") && !strings.HasPrefix(a.GetResource().Resource, "selfsubject") {
			count++
		}
	}
	return count
}

func TestDeletingThePodTakesEverythingOfOursAway(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	if back := n.release(t, quarantine.DeletePod); len(back.Failed) > 0 {
		t.Fatalf("%q", back.Failed)
	}
	if _, err := n.client.CoreV1().Pods("prod").Get(t.Context(), "web-0", metav1.GetOptions{}); err == nil || len(n.policies(t)) > 0 || n.node(t).Spec.Unschedulable {
		t.Errorf("pod %v, policies %q, cordoned %v", err, n.policies(t), n.node(t).Spec.Unschedulable)
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released || len(s.Changes)+len(s.Unsure) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if again := n.release(t, quarantine.DeletePod); len(again.Failed) > 0 {
		t.Errorf("again: %q", again.Failed)
	}
}

// A release that is refused in the middle is told, and goes on where it ended.
func TestAReleaseThatWasRefusedGoesOn(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	refuse := true
	var mu sync.Mutex
	n.client.PrependReactor("delete", "networkpolicies", func(ktesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		return refuse, nil, errors.New("etcd is being compacted")
	})
	if back := n.release(t, quarantine.ToService); len(back.Failed) == 0 || len(back.Done) == 0 {
		t.Fatalf("%+v", back)
	}
	s, err := n.Cases.Recall("c-1")
	if err != nil || s.Released || !slices.ContainsFunc(s.Unsure, func(c string) bool { return strings.Contains(c, "netpol") }) {
		t.Errorf("status: %+v, %v", s, err)
	}
	mu.Lock()
	refuse = false
	mu.Unlock()
	if back := n.release(t, quarantine.ToService); len(back.Failed) > 0 || len(n.policies(t)) != 0 {
		t.Errorf("%+v, policies %q", back, n.policies(t))
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released {
		t.Errorf("status: %+v, %v", s, err)
	}
}

// An unsealed case is sealed, then released; its cut needs a hand.
func TestReleaseWithoutAHandNamesTheCutAsResidue(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	n.hands.refuse = map[string]error{"app": agent.ErrGone, "side": agent.ErrGone}
	back := n.release(t, quarantine.ToService)
	if len(back.Failed) == 0 || !slices.ContainsFunc(back.Residue, func(s string) bool { return strings.Contains(s, "docs/cut.md") }) {
		t.Errorf("%+v", back)
	}
	if p := n.pod(t); p.Labels["app"] != "" {
		t.Error("a pod that is cut off is back in its Services, and nobody was asked")
	}
}

// Where something goes wrong, the rest is done, and the result says what is missing.
func TestContainWithThingsGoingWrong(t *testing.T) {
	for name, c := range map[string]struct {
		wrong func(*night)
		check func(*testing.T, *night, playbooks.Result)
	}{
		"no hand at all": {
			func(n *night) {
				n.hands.refuse = map[string]error{"app": errors.New("admission denied"), "side": errors.New("admission denied")}
			},
			func(t *testing.T, n *night, got playbooks.Result) {
				rows := completeness(t, got.Bundle)
				if r := rows["filesystem c1"]; r.Status != evidence.Impossible || !strings.Contains(r.Reason, "admission denied") {
					t.Errorf("%+v", r)
				}
				if got.Missing != 16 || len(n.policies(t)) == 0 || n.pod(t).Labels["app"] != "" || rows["pod pod"].Size == 0 {
					t.Errorf("missing %d, policies %q", got.Missing, n.policies(t))
				}
				if !slices.ContainsFunc(got.Failed, func(s string) bool { return strings.Contains(s, "layer netns") }) {
					t.Errorf("failed %q", got.Failed)
				}
			},
		},
		"a torn stream": {
			func(n *night) {
				n.hands.tune = func(h *handtest.Hand) {
					h.Tear = func(kind string) bool { return kind == "filesystem" && h.Where.Beside == "app" }
				}
			},
			func(t *testing.T, n *night, got playbooks.Result) {
				rows := completeness(t, got.Bundle)
				if r := rows["filesystem c0"]; r.Status != evidence.Truncated || r.Size != 4 {
					t.Errorf("%+v", r)
				}
				if got.Missing != 1 || len(got.Failed) != 1 || got.Verdict.State != evidence.Contained || rows["filesystem c1"].Status != evidence.Collected {
					t.Errorf("missing %d, failed %q", got.Missing, got.Failed)
				}
			},
		},
		"no probe pod": {
			func(n *night) { n.hands.refuse = map[string]error{"probe": errors.New("no namespace irkit-system")} },
			func(t *testing.T, n *night, got playbooks.Result) {
				if got.Verdict.State != evidence.Partial || got.Verdict.Outbound != evidence.Contained || len(got.Failed) > 0 {
					t.Errorf("%s, outbound %s, failed %q", got.Verdict.State, got.Verdict.Outbound, got.Failed)
				}
			},
		},
		"a policy that the network ignores": {
			func(n *night) { n.hands.net.Policy = nil },
			func(t *testing.T, n *night, got playbooks.Result) {
				if got.Verdict.State != evidence.Contained || got.Verdict.PolicyHeld != nil {
					t.Errorf("%s, held %v", got.Verdict.State, got.Verdict.PolicyHeld)
				}
			},
		},
		"the pod is held by another case": {
			func(n *night) {
				n.client.PrependReactor("patch", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
					return true, nil, fmt.Errorf("between survey and write: %w", quarantine.ErrForeign)
				})
			},
			func(t *testing.T, n *night, got playbooks.Result) {
				if p := n.pod(t); p.Labels["app"] != "web" || len(p.OwnerReferences) != 1 {
					t.Errorf("the pod of another case was stripped: %v", p.Labels)
				}
				if len(got.Failed) == 0 {
					t.Error("no step failed")
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t)
			c.wrong(n)
			c.check(t, n, n.contain(t.Context(), t, func(o *playbooks.Order) { o.Plan = hasty(o.Plan) }))
		})
	}
}

// hasty is the plan with a measuring step that waits for no policy.
func hasty(p *playbooks.Plan) *playbooks.Plan {
	out := *p
	out.Blueprints = slices.Clone(p.Blueprints)
	for i, b := range out.Blueprints {
		if _, ok := b.(measure); ok {
			out.Blueprints[i] = measure{time.Nanosecond}
		}
	}
	return &out
}

// Ctrl-C in the middle of collecting: what was there is sealed, and running it again
// collects the rest in a further bundle. Isolation stands meanwhile.
func TestContainInterruptedAndRunAgain(t *testing.T) {
	n := newNight(t)
	ctx, stop := context.WithCancel(t.Context())
	n.hands.tune = func(h *handtest.Hand) {
		h.Fail = func(call string) error {
			if call == "collect open-files" {
				stop()
			}
			return nil
		}
	}
	got := n.contain(ctx, t)
	if !got.Interrupted || n.pod(t).Labels[evidence.LabelQuarantine] != "c-1" || got.Verdict == nil {
		t.Fatalf("%+v", got)
	}
	rows := completeness(t, got.Bundle)
	if rows["processes c1"].Status != evidence.Collected || rows["filesystem c0"].Status != evidence.Impossible {
		t.Errorf("processes %+v, filesystem %+v", rows["processes c1"], rows["filesystem c0"])
	}
	n.hands.tune = nil
	writes := n.writes()
	again := n.contain(t.Context(), t)
	if again.Interrupted || again.Bundle == got.Bundle || again.Missing > 0 || len(again.Failed) > 0 || n.writes() != writes {
		t.Errorf("%+v, %d writes", again, n.writes()-writes)
	}
}

// Secret values and tokens stay out: what a hand is asked for says so.
func TestHandsAreToldWhatStaysOut(t *testing.T) {
	n := newNight(t)
	spec := targetPod()
	spec.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}}
	asked := map[string]agent.Request{}
	var mu sync.Mutex
	n.Starter = func(debugger.Host, evidence.Target) playbooks.Starter {
		return listening{n.hands, func(container string, r agent.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked[container+" "+r.Kind] = r
		}}
	}
	n.contain(t.Context(), t, func(o *playbooks.Order) { o.Pod, o.Plan = spec, hasty(o.Plan) })
	if len(asked) != 16 {
		t.Fatalf("asked for %d artifacts", len(asked))
	}
	for what, r := range asked {
		if r.Values || len(r.HMACKey) != 32 {
			t.Errorf("%s: values %v, key of %d bytes", what, r.Values, len(r.HMACKey))
		}
		if strings.HasPrefix(what, "app ") != slices.Contains(r.SkipMounts, "/var/run/secrets") {
			t.Errorf("%s: left out %q", what, r.SkipMounts)
		}
	}
}

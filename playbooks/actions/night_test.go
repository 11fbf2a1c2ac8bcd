package actions

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

	"irkit.dev/irkit/agent/debugger"
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

func (n *night) writes() int {
	count := 0
	for _, a := range n.client.Actions() {
		if v := a.GetVerb(); (v == "patch" || v == "create" || v == "delete" || v == "update") && !strings.HasPrefix(a.GetResource().Group, "auth") { // reviews only ask
			count++
		}
	}
	return count
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

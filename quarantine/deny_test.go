package quarantine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/layertest"
	"irkit.dev/irkit/quarantine/reach"
)

// denying are the APIs that a deny is written to.
func denying() map[string]schema.GroupVersionResource {
	return map[string]schema.GroupVersionResource{
		"cilium.io":                {Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"},
		"projectcalico.org":        {Group: "projectcalico.org", Version: "v3", Resource: "globalnetworkpolicies"},
		"policy.networking.k8s.io": {Group: "policy.networking.k8s.io", Version: "v1alpha2", Resource: "clusternetworkpolicies"},
	}
}

// serving gives a connection a dynamic client that serves all of them. Like the real one it
// stores nothing that is only tried.
func serving(conn *cluster.Conn) *dynamicfake.FakeDynamicClient {
	kinds := lists()
	kinds[denying()["projectcalico.org"]] = "GlobalNetworkPolicyList"
	d := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	d.PrependReactor("create", "*", func(a ktesting.Action) (bool, runtime.Object, error) {
		c := a.(ktesting.CreateActionImpl)
		return len(c.CreateOptions.DryRun) > 0, c.Object, nil
	})
	conn.Dynamic = d
	return d
}

func TestDenyConforms(t *testing.T) {
	for group, gvr := range denying() {
		t.Run(group, func(t *testing.T) {
			layertest.Run(t, func(t *testing.T) layertest.Fixture {
				s, conn, _ := scene(t, pod("ReplicaSet"))
				s.CNI.Deny = []string{group}
				d := serving(conn)
				sent := func(dry bool) (n int) {
					for _, a := range d.Actions() {
						switch a := a.(type) {
						case ktesting.CreateActionImpl:
							n += map[bool]int{true: 1}[(len(a.CreateOptions.DryRun) > 0) == dry]
						case ktesting.DeleteActionImpl:
							n += map[bool]int{true: 1}[(len(a.DeleteOptions.DryRun) > 0) == dry]
						}
					}
					return n
				}
				return layertest.Fixture{Layer: quarantine.NewDeny(conn, want), Scene: s, Target: target(),
					World: func() string {
						l, err := d.Resource(gvr).List(t.Context(), metav1.ListOptions{})
						if err != nil {
							t.Fatal(err)
						}
						return fmt.Sprint(l.Items)
					},
					Writes: func() int { return sent(false) }, Dry: func() int { return sent(true) }}
			})
		})
	}
}

func TestADenyStaysWhileAnotherPodNeedsIt(t *testing.T) {
	other := pod("", func(p *corev1.Pod) {
		p.Name, p.UID = "web-1", "other"
		p.Labels = map[string]string{evidence.LabelQuarantine: "c-1"}
	})
	for group := range denying() {
		s, conn, _ := scene(t, pod(""), other)
		s.CNI.Deny = []string{group}
		d := serving(conn)
		layer := quarantine.NewDeny(conn, want)
		cs, err := layer.Prepare(s, target())
		if err != nil || len(cs) != 1 {
			t.Fatal(cs, err)
		}
		if _, err := layer.Apply(t.Context(), cs[0]); err != nil {
			t.Fatal(err)
		}
		r, err := layer.Release(t.Context(), cs[0])
		if err != nil || !r.Already || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "web-1") {
			t.Errorf("%s: %+v %v", group, r, err)
		}
		if slices.ContainsFunc(d.Actions(), func(a ktesting.Action) bool { return a.GetVerb() == "delete" }) {
			t.Errorf("%s: deleted", group)
		}
	}
}

func TestADenyOfSomeoneElseIsLeft(t *testing.T) {
	for group, gvr := range denying() {
		s, conn, _ := scene(t, pod(""))
		s.CNI.Deny = []string{group}
		d := serving(conn)
		layer := quarantine.NewDeny(conn, want)
		cs, err := layer.Prepare(s, target())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := layer.Apply(t.Context(), cs[0]); err != nil {
			t.Fatal(err)
		}
		api := d.Resource(gvr)
		get := func() map[string]any {
			o, err := api.Namespace(cs[0].Object.Namespace).Get(t.Context(), cs[0].Object.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return o.Object
		}
		o, _ := api.Namespace(cs[0].Object.Namespace).Get(t.Context(), cs[0].Object.Name, metav1.GetOptions{})
		o.SetLabels(map[string]string{evidence.LabelCase: "another"})
		if _, err := api.Namespace(cs[0].Object.Namespace).Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := layer.Apply(t.Context(), cs[0]); !errors.Is(err, quarantine.ErrForeign) {
			t.Errorf("%s: apply: %v", group, err)
		}
		if r, err := layer.Release(t.Context(), cs[0]); err != nil || len(r.Notes) != 1 {
			t.Errorf("%s: release: %+v %v", group, r, err)
		}
		get()
	}
}

// TestNoDenySelectsAnotherPod: over generated labels, what is written selects the target
// and nobody else; read by the evaluator, it lets nothing through in either direction.
func TestNoDenySelectsAnotherPod(t *testing.T) {
	for seed := range uint64(200) {
		g := gen{rand.New(rand.NewPCG(seed, 13))}
		s, conn, _ := scene(t, pod(pick(g, "", "ReplicaSet", "StatefulSet"), func(p *corev1.Pod) {
			for k, v := range g.labels() {
				p.Labels[k] = v
			}
		}))
		group := pick(g, "cilium.io", "policy.networking.k8s.io", "projectcalico.org")
		s.CNI.Deny = []string{group}
		cs, err := quarantine.NewDeny(conn, want).Prepare(s, target())
		if err != nil || len(cs) != 1 {
			t.Fatal(cs, err)
		}
		var o struct {
			Spec json.RawMessage `json:"spec"`
		}
		if err := json.Unmarshal(cs[0].After, &o); err != nil {
			t.Fatal(err)
		}
		all := reach.Policies{Foreign: []reach.Foreign{{Object: cs[0].Object, Spec: o.Spec}}}
		end := func(namespace string, labels map[string]string) reach.Endpoint {
			return reach.Endpoint{IP: netip.MustParseAddr("10.0.0.7"), Pod: &reach.PodEnd{Namespace: namespace, Labels: labels,
				NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": namespace, "projectcalico.org/name": namespace}}}
		}
		peer := end("prod", g.labels())
		peer.IP = netip.MustParseAddr("10.0.0.8")
		future := quarantine.FutureLabels(s, want)
		for _, way := range []string{"Ingress", "Egress"} {
			f := reach.Flow{Peer: peer, Protocol: "TCP", Port: 443}
			f.Direction = "Ingress"
			if way == "Egress" {
				f.Direction = "Egress"
			}
			if got, by := all.Decide(end("prod", future), f); got != reach.No {
				t.Fatalf("seed %d: %s of the target in %s: %s by %v", seed, way, group, got, by)
			}
			others := []map[string]string{g.labels(), s.Pod.Labels, {evidence.LabelQuarantine: "c-2"}, {evidence.LabelQuarantine: ""}, {evidence.LabelQuarantine: "c-1-x"}}
			for _, l := range others {
				if got, _ := all.Decide(end("prod", l), f); got != reach.Yes {
					t.Fatalf("seed %d: %s of a pod with %v in %s: %s", seed, way, l, group, got)
				}
			}
			if got, _ := all.Decide(end("other", future), f); got != reach.Yes {
				t.Fatalf("seed %d: %s of the other namespace in %s: %s", seed, way, group, got)
			}
		}
	}
}

// TestExceptions: what --allow names stays open in every kind of policy, and nothing beside it.
func TestExceptions(t *testing.T) {
	w := want
	w.Allow = []evidence.Allow{{Prefix: netip.MustParsePrefix("203.0.113.9/32"), Port: 443, Proto: "tcp"}}
	for group := range denying() {
		s, conn, _ := scene(t, pod(""))
		s.CNI.Deny = []string{group}
		cs, err := quarantine.NewDeny(conn, w).Prepare(s, target())
		if err != nil {
			t.Fatal(err)
		}
		var o struct {
			Spec json.RawMessage `json:"spec"`
		}
		if err := json.Unmarshal(cs[0].After, &o); err != nil {
			t.Fatal(err)
		}
		all := reach.Policies{Foreign: []reach.Foreign{{Object: cs[0].Object, Spec: o.Spec}}}
		me := reach.Endpoint{IP: netip.MustParseAddr("10.0.0.7"), Pod: &reach.PodEnd{Namespace: "prod", Labels: quarantine.FutureLabels(s, w),
			NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": "prod"}}}
		for _, c := range []struct {
			ip    string
			proto corev1.Protocol
			port  uint16
			want  reach.Answer
		}{{"203.0.113.9", "TCP", 443, reach.Yes}, {"203.0.113.9", "TCP", 444, reach.No}, {"203.0.113.9", "UDP", 443, reach.No}, {"203.0.113.10", "TCP", 443, reach.No}, {"2001:db8::9", "TCP", 443, reach.No}} {
			f := reach.Flow{Direction: "Egress", Peer: reach.Endpoint{IP: netip.MustParseAddr(c.ip)}, Protocol: c.proto, Port: c.port}
			// Cilium's names for what is no pod cannot be told from an address alone.
			if got, _ := all.Decide(me, f); got != c.want && !(group == "cilium.io" && got == reach.Unsure) {
				t.Errorf("%s: %s %s/%d: %s, want %s", group, c.ip, c.proto, c.port, got, c.want)
			}
		}
	}
}

// TestExceptionsOfTheNetworkPolicy is the same for the policy that every cluster has.
func TestExceptionsOfTheNetworkPolicy(t *testing.T) {
	w := want
	w.AllowDNS = true
	w.Allow = []evidence.Allow{{Prefix: netip.MustParsePrefix("203.0.113.9/32"), Port: 443, Proto: "tcp"}}
	s, conn, _ := scene(t, pod(""))
	cs, err := quarantine.NewNetpol(conn, w).Prepare(s, target())
	if err != nil {
		t.Fatal(err)
	}
	text := string(cs[len(cs)-1].After)
	for _, want := range []string{`"cidr":"203.0.113.9/32"`, `"cidr":"10.96.0.10/32"`, `"k8s-app":"kube-dns"`, `"port":53`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	f := quarantine.Forecast(s, target(), w)
	codes := codesOf(f)
	if !slices.Contains(codes, "allowed") || !slices.Contains(codes, "dns-tunnel") {
		t.Errorf("findings %v", codes)
	}
	w.Allow = []evidence.Allow{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	if f := quarantine.Forecast(s, target(), w); !slices.ContainsFunc(f.Findings, func(f evidence.Finding) bool {
		return f.Code == "allow-too-wide" && f.Severity == evidence.Refused
	}) {
		t.Errorf("every address is allowed: %v", codesOf(f))
	}
}

func codesOf(f evidence.Forecast) []string {
	var out []string
	for _, x := range f.Findings {
		out = append(out, x.Code)
	}
	return out
}

func TestFreePriority(t *testing.T) {
	for name, c := range map[string]struct {
		taken []int
		want  string
	}{"nobody": {nil, `"priority":1,`}, "some": {[]int{10, 20}, `"priority":9,`}, "the first": {[]int{0, 1, 3}, `"priority":2,`}} {
		s, conn, _ := scene(t, pod(""))
		s.CNI.Deny = []string{"policy.networking.k8s.io"}
		for _, n := range c.taken {
			s.Foreign = append(s.Foreign, reach.Foreign{Object: evidence.Object{APIVersion: "policy.networking.k8s.io/v1alpha2", Kind: "ClusterNetworkPolicy", Name: fmt.Sprint(n)},
				Spec: json.RawMessage(fmt.Sprintf(`{"tier":"Admin","priority":%d}`, n))})
		}
		cs, err := quarantine.NewDeny(conn, want).Prepare(s, target())
		if err != nil || !strings.Contains(string(cs[0].After), c.want) {
			t.Errorf("%s: %v %s", name, err, cs[0].After)
		}
	}
}

// TestADenyThatNobodyActsOn is told, and takes no rule of another's off the forecast.
func TestADenyThatNobodyActsOn(t *testing.T) {
	for name, c := range map[string]struct {
		cni  quarantine.CNI
		told []string
	}{
		"Cilium with its own":           {quarantine.CNI{Name: "cilium", Enforces: quarantine.Enforces, Deny: []string{"cilium.io"}}, nil},
		"Cilium with what Calico left":  {quarantine.CNI{Name: "cilium", Enforces: quarantine.Enforces, Deny: []string{"cilium.io", "projectcalico.org"}}, []string{"note GlobalNetworkPolicy"}},
		"flannel with what Calico left": {quarantine.CNI{Name: "flannel", Enforces: quarantine.Ignores, Deny: []string{"projectcalico.org"}}, []string{"warning GlobalNetworkPolicy"}},
		"Cilium's CRDs alone":           {quarantine.CNI{Name: "cilium", Enforces: quarantine.Unknown, Deny: []string{"cilium.io"}}, []string{"warning CiliumNetworkPolicy"}},
	} {
		s, _, _ := scene(t, pod(""))
		s.CNI = c.cni
		var told []string
		for _, f := range quarantine.Forecast(s, target(), want).Findings {
			if f.Code == "deny-not-enforced" {
				told = append(told, string(f.Severity)+" "+f.Object)
			}
		}
		if !slices.Equal(told, c.told) {
			t.Errorf("%s: told %q, want %q", name, told, c.told)
		}
	}
}

package reach_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// clear takes away what the wave before wrote.
func (s *sample) clear(ctx context.Context, t *testing.T) {
	t.Helper()
	all := []dynamic.ResourceInterface{s.conn.Dynamic.Resource(ccnps)}
	which := metav1.ListOptions{LabelSelector: marked + "=" + s.spaces["prod"]}
	for _, ns := range s.spaces {
		all = append(all, s.conn.Dynamic.Resource(cnps).Namespace(ns))
		if err := s.conn.Client.NetworkingV1().NetworkPolicies(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, which); err != nil {
			t.Error(err)
		}
	}
	for _, api := range all {
		if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, which); err != nil {
			t.Error(err)
		}
	}
}

// write draws the policies of a seed, and stores them.
func (s *sample) write(t *testing.T, seed uint64) reach.Policies {
	t.Helper()
	g := gen{rand.New(rand.NewPCG(seed, 3))}
	p := reach.Policies{Cilium: true}
	mark := map[string]string{marked: s.spaces["prod"]}
	for range 3 {
		p.Network = append(p.Network, g.policies()...)
	}
	for i := range p.Network {
		n := &p.Network[i]
		n.Name, n.Namespace, n.Labels = fmt.Sprintf("n%d", i), s.spaces[n.Namespace], mark
		if _, err := s.conn.Client.NetworkingV1().NetworkPolicies(n.Namespace).Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range g.IntN(5) {
		kind, ns := "CiliumNetworkPolicy", s.spaces[pick(g, "prod", "prod", "other")]
		api := s.conn.Dynamic.Resource(cnps).Namespace(ns)
		if g.IntN(3) == 0 {
			kind, ns, api = "CiliumClusterwideNetworkPolicy", "", s.conn.Dynamic.Resource(ccnps)
		}
		f := reach.Foreign{Object: evidence.Object{APIVersion: "cilium.io/v2", Kind: kind, Namespace: ns, Name: fmt.Sprintf("c%d-%s", i, s.spaces["prod"])}}
		raw, err := json.Marshal(s.ciliumSpec(g))
		if err != nil {
			t.Fatal(err)
		}
		f.Spec = raw
		var spec map[string]any
		if err := json.Unmarshal(raw, &spec); err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": f.APIVersion, "kind": kind, "spec": spec}}
		o.SetName(f.Name)
		o.SetNamespace(ns)
		o.SetLabels(mark)
		if _, err := api.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		p.Foreign = append(p.Foreign, f)
	}
	return p
}

// ciliumSpec is a policy for pods of the sample alone.
func (s *sample) ciliumSpec(g gen) map[string]any {
	mine := g.selector()
	if mine.MatchLabels == nil {
		mine.MatchLabels = map[string]string{}
	}
	mine.MatchLabels[marked] = s.spaces["prod"]
	spec := map[string]any{"endpointSelector": mine}
	for _, way := range []struct{ field, peers, word string }{{"ingress", "from", "ingress"}, {"egress", "to", "egress"}} {
		for _, kind := range []string{"", "Deny"} {
			if g.IntN(2) == 0 {
				continue
			}
			rules := []any{}
			for range g.IntN(3) {
				rules = append(rules, s.ciliumRule(g, way.peers))
			}
			spec[way.field+kind] = rules
		}
		if g.IntN(4) == 0 {
			defaults, _ := spec["enableDefaultDeny"].(map[string]any)
			if defaults == nil {
				defaults = map[string]any{}
			}
			defaults[way.word] = g.IntN(2) == 0
			spec["enableDefaultDeny"] = defaults
		}
	}
	if spec["ingress"] == nil && spec["ingressDeny"] == nil && spec["egress"] == nil && spec["egressDeny"] == nil {
		spec["ingress"] = []any{} // the API server wants one of them
	}
	return spec
}

func (s *sample) ciliumRule(g gen, way string) map[string]any {
	rule := map[string]any{}
	switch g.IntN(6) {
	case 0:
		rule[way+"Entities"] = []string{pick(g, "all", "cluster", "world")}
	case 1:
		rule[way+"CIDRSet"] = []any{map[string]any{"cidr": "10.0.0.0/8", "except": []string{"10.1.0.0/16"}}}
	case 2: // ports alone, or nothing
	default:
		sel := g.selector()
		if g.IntN(2) == 0 {
			if sel.MatchLabels == nil {
				sel.MatchLabels = map[string]string{}
			}
			sel.MatchLabels["k8s:io.kubernetes.pod.namespace"] = s.spaces[pick(g, "prod", "other")]
		}
		rule[way+"Endpoints"] = []any{sel}
	}
	if g.IntN(2) == 0 {
		port := map[string]any{"port": pick(g, "1", "2", "3", "x", "0"), "protocol": pick(g, "TCP", "UDP", "ANY")}
		if port["port"] == "1" && g.IntN(2) == 0 {
			port["endPort"] = 2
		}
		rule["toPorts"] = []any{map[string]any{"ports": []any{port}}}
	}
	return rule
}

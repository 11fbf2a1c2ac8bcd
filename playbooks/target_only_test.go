package playbooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/reach"
)

const onlyCase = "c-1"

// TestNoWriteSelectsAnotherPod: whatever labels the target and the pods beside it carry,
// everything that any layer of the engine prepares names the target by name and UID, or
// selects it and none of the others.
func TestNoWriteSelectsAnotherPod(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(2000) {
		s := onlyScene(rand.New(rand.NewPCG(seed, 11)))
		w := quarantine.Want{Case: onlyCase, Layers: quarantine.DefaultLayers()}
		for name, l := range (&Engine{}).layers(nil, w, nil) {
			if !slices.Contains(w.Layers, name) && name != quarantine.LayerDeny && name != quarantine.LayerProtect {
				continue // credentials are the account's, whoever runs as it
			}
			changes, err := l.Prepare(s, s.Target)
			if errors.Is(err, quarantine.ErrUnsuited) {
				continue
			}
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, name, err)
			}
			for _, c := range changes {
				seen[c.Object.Kind]++
				if why := touchesOthers(s, w, c); why != "" {
					t.Fatalf("seed %d: %s %s: %s\n%s", seed, c.ID, c.After, why, c.Why)
				}
			}
		}
	}
	for _, kind := range []string{"Pod", "NetworkPolicy", "PodDisruptionBudget", "Node"} {
		if seen[kind] == 0 {
			t.Errorf("nothing of kind %s was ever prepared: the test sees nothing", kind)
		}
	}
	t.Logf("changes judged, by kind: %v", seen)
}

// touchesOthers says what is wrong with a change; empty: nothing is.
func touchesOthers(s quarantine.Scene, w quarantine.Want, c evidence.Change) string {
	switch c.Object.Kind {
	case "Pod":
		return unless(c.Object.Name == s.Target.Pod && c.Object.Namespace == s.Target.Namespace && c.Object.UID == s.Target.UID, "it is not the target")
	case "Node":
		return unless(c.Object.Name == s.Target.Node && c.Object.UID == s.Node.UID, "it is not the target's node")
	}
	var o struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     json.RawMessage   `json:"spec"`
	}
	if err := json.Unmarshal(c.After, &o); err != nil {
		return err.Error()
	}
	if c.Op != evidence.OpCreate {
		return "it writes to an object that others may use"
	}
	// Both sets of labels that the target has in the course of it: one must be selected.
	mine := reach.PodEnd{Namespace: s.Target.Namespace, NamespaceLabels: s.Namespace.Labels, Labels: quarantine.FutureLabels(s, w)}
	now := mine
	now.Labels = maps.Clone(s.Pod.Labels)
	hits, err := selected(c.Object, o.Spec)
	if err != nil {
		return err.Error()
	}
	if !hits(mine) && !hits(now) {
		return "it does not select the target"
	}
	for _, x := range s.Siblings {
		for _, ns := range []string{s.Target.Namespace, "elsewhere"} {
			// Of another namespace: one of the same case there would be selected by a deny that
			// is clusterwide.
			if p := (reach.PodEnd{Namespace: ns, Labels: x.Labels, NamespaceLabels: s.Namespace.Labels}); hits(p) {
				return fmt.Sprintf("it selects pod %s with %v in %s", x.Name, x.Labels, ns)
			}
		}
	}
	return ""
}

// selected tells whom an object concerns.
func selected(o evidence.Object, spec json.RawMessage) (func(reach.PodEnd) bool, error) {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	p := reach.Policies{}
	switch {
	case group == "policy":
		var b policyv1.PodDisruptionBudgetSpec
		err := json.Unmarshal(spec, &b)
		return func(e reach.PodEnd) bool { return e.Namespace == o.Namespace && reach.Selects(b.Selector, e.Labels) }, err
	case group == "networking.k8s.io":
		np := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: o.Name, Namespace: o.Namespace}}
		if err := json.Unmarshal(spec, &np.Spec); err != nil {
			return nil, err
		}
		p.Network = append(p.Network, np)
	case group == "cilium.io", strings.HasSuffix(group, "projectcalico.org"), group == "policy.networking.k8s.io":
		p.Foreign = append(p.Foreign, reach.Foreign{Object: o, Spec: spec})
	default:
		return nil, fmt.Errorf("this test cannot tell whom a %s selects", o)
	}
	// Whoever it concerns has some connection that is not surely free.
	return func(e reach.PodEnd) bool {
		for _, d := range []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress} {
			for _, peer := range []reach.Endpoint{{IP: netip.MustParseAddr("198.51.100.5")}, {IP: netip.MustParseAddr("10.0.0.9"), Pod: &reach.PodEnd{Namespace: "other"}}} {
				if a, _ := p.Decide(reach.Endpoint{Pod: &e}, reach.Flow{Direction: d, Peer: peer, Protocol: corev1.ProtocolTCP, Port: 443}); a != reach.Yes {
					return true
				}
			}
		}
		return false
	}, nil
}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

// onlyScene is a target among pods that were labelled to be mistaken for it.
func onlyScene(r *rand.Rand) quarantine.Scene {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	owner := pick("", "ReplicaSet", "StatefulSet", "DaemonSet", "Job")
	s := quarantine.Scene{
		Target:    evidence.Target{ClusterUID: "cluster", Namespace: "prod", Pod: "web-0", UID: "uid-0", Node: "n1"},
		Node:      &quarantine.Node{Name: "n1", UID: "node-1", OS: "linux"},
		Namespace: quarantine.Namespace{Name: "prod", Labels: map[string]string{corev1.LabelMetadataName: "prod"}},
	}
	s.CNI.Name = pick("", "cilium", "calico", "aws-vpc-cni")
	for _, g := range []string{"cilium.io", "projectcalico.org", "policy.networking.k8s.io"} {
		if r.IntN(2) == 0 {
			s.CNI.Deny = append(s.CNI.Deny, g)
		}
	}
	keys := []string{"app", "App", "tier", "statefulset.kubernetes.io/pod-name", "pod-template-hash", "app.kubernetes.io/name", corev1.LabelHostname,
		evidence.LabelCase, evidence.LabelQuarantine, "irkit.dev/Quarantine", "x" + evidence.LabelQuarantine}
	values := []string{"web", "Web", "web-0", "web-00", "web-1", "", "c-10", "C-1", "c-2", "c-1.x"}
	some := func() map[string]string {
		out := map[string]string{}
		for _, k := range keys {
			if r.IntN(3) == 0 {
				out[k] = values[r.IntN(len(values))]
			}
		}
		return out
	}
	s.Pod.Name, s.Pod.Namespace, s.Pod.UID, s.Pod.Spec.NodeName, s.Pod.Status.Phase = "web-0", "prod", types.UID("uid-0"), "n1", corev1.PodRunning
	s.Pod.Labels = some()
	delete(s.Pod.Labels, evidence.LabelQuarantine)
	if owner != "" {
		yes := true
		s.Pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: owner, Name: "web", UID: "owner-1", Controller: &yes}}
	}
	if owner == "StatefulSet" {
		s.Pod.Labels["statefulset.kubernetes.io/pod-name"] = "web-0"
	}
	for i := range 1 + r.IntN(6) {
		l := some()
		if r.IntN(2) == 0 { // a twin, but for a label or two
			l = maps.Clone(s.Pod.Labels)
			if r.IntN(2) == 0 {
				l["statefulset.kubernetes.io/pod-name"] = pick("web-1", "web-0", "WEB-0")
			}
			if r.IntN(2) == 0 {
				l[pick(keys...)] = pick(values...)
			}
		}
		s.Siblings = append(s.Siblings, quarantine.Sibling{Name: fmt.Sprintf("other-%d", i), UID: fmt.Sprintf("uid-%d", i+1), Phase: "Running", Labels: l})
	}
	return s
}

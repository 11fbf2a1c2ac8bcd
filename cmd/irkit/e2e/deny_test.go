//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

const policiesOnly = `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: policies, description: only what policies can do}
steps:
  - id: isolate
    isolate: {layers: [netpol, LAYERS]}
  - id: measure
    measure: {within: WITHIN}
`

// TestDeny: in a namespace where somebody allows everything, a NetworkPolicy contains
// nobody, and the policy is named; a deny of Cilium does, and release takes it back.
func TestDeny(t *testing.T) {
	if bridge() {
		t.Skip("the bridge enforces no policy")
	}
	c := reset(t)
	open := allowAll(t, c)
	pod := getPod(t, c, "prod", "web-0")
	for _, deny := range []bool{false, true} {
		// The policy on labels that are there acts at once; that of Cilium waits for a new label.
		name, layers, within := "additive", "detach", "8s"
		if deny {
			name, layers, within = "deny", "deny, detach", "45s"
		}
		t.Run(name, func(t *testing.T) {
			p := newPerson(t)
			file := p.write("policies.yaml", strings.NewReplacer("LAYERS", layers, "WITHIN", within).Replace(policiesOnly))
			r := p.irkit("run", file, "web-0", "-n", "prod", "--image", image, "--pull", "Never", "--yes", "-o", "json", "--case", name).want(t, 5)
			v := r.result(t).Verdict
			if deny {
				if i := slices.IndexFunc(v.Layers, func(l evidence.LayerVerdict) bool { return l.Layer == "deny" }); i < 0 || !v.Layers[i].Applied || v.Layers[i].Out == evidence.Partial || v.Layers[i].Out == evidence.Failed {
					t.Errorf("the deny does not hold: %+v", v.Layers)
				}
				if since := time.Since(heard(t, pod.Status.PodIP)); since < 3*time.Second {
					t.Errorf("the command server heard of the pod %s ago", since)
				}
			} else {
				r.says(t, "policy "+open+" still lets through egress to any peer on any port")
				if v.State == evidence.Contained || v.State == evidence.ContainedNewOnly {
					t.Errorf("%s by a policy that only adds", v.State)
				}
				if since := time.Since(heard(t, pod.Status.PodIP)); since > 3*time.Second {
					t.Errorf("the command server last heard of the pod %s ago: there is nothing to show", since)
				}
			}
			p.release("web-0", "prod", "--to-service", "--case", name).want(t, 0)
			checkNothingOfOurs(t, "prod")
			eventually(t, 90*time.Second, "the pod talks again", func() bool { return time.Since(heard(t, pod.Status.PodIP)) < 2*time.Second })
		})
	}
}

// allowAll lets everything through in namespace prod, for the time of a test, and answers
// its name.
func allowAll(t *testing.T, c kubernetes.Interface) string {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "allow-everything", Namespace: "prod"}, Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
	}}
	api := c.NetworkingV1().NetworkPolicies("prod")
	if _, err := api.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.NetworkingV1().NetworkPolicies("prod").Delete(context.WithoutCancel(t.Context()), p.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return p.Name
}

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"irkit.dev/irkit/evidence"
)

// byPolicy is containment by a policy alone.
const byPolicy = `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: by-policy}
steps:
  - id: isolate
    isolate: {layers: [LAYERS]}
  - id: measure
    measure: {within: 1s}
`

// TestPolicyThatStartsToMatch: somebody's policy selects what has no label app, and so
// begins to let the target through the moment that its labels are stripped. The plan says
// so before, and then the network does it: what no policy allows stops, what that one
// allows goes on, and the verdict names it.
func TestPolicyThatStartsToMatch(t *testing.T) {
	if bridge() {
		t.Skip("the bridge enforces no policy")
	}
	t.Parallel()
	c := cluster(t)
	const name, caseID = "starts", "case-starts"
	pod := workload(t, c, "Pod", name, 1)
	tcp, knocks := corev1.ProtocolTCP, intstr.FromInt32(8443)
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "the-unlabelled", Namespace: ownNamespace}, Spec: networkingv1.NetworkPolicySpec{
		// Only this test's pod, and only once it has lost its labels.
		PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{name}},
			{Key: evidence.LabelQuarantine, Operator: metav1.LabelSelectorOpIn, Values: []string{caseID}},
		}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{
			To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "203.0.113.66/32"}}},
			Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &knocks}},
		}},
	}}
	policies := c.NetworkingV1().NetworkPolicies(ownNamespace)
	if _, err := policies.Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := policies.Delete(context.WithoutCancel(t.Context()), policy.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	p := newPerson(t)
	p.irkit("plan", pod.Name, "-n", ownNamespace, "--case", caseID, "--image", image, "--pull", "Never", "--skip", "netns,deny,cordon", "-o", "json").want(t, 0).
		says(t, "policy-starts-to-match", "policy the-unlabelled does not select the pod now but will")
	file := p.write("by-policy.yaml", strings.Replace(byPolicy, "LAYERS", "netpol, detach", 1))
	r := p.irkit("run", file, pod.Name, "-n", ownNamespace, "--case", caseID, "--image", image, "--pull", "Never", "--yes", "-o", "json").want(t, 5).
		says(t, "policy the-unlabelled still lets through egress to 203.0.113.66/32 on TCP/8443")
	if v := r.result(t).Verdict; v.State == evidence.Contained || v.State == evidence.ContainedNewOnly {
		t.Errorf("verdict %s", v.State)
	}
	eventually(t, 2*time.Minute, "what nobody allows stops, and what that policy allows goes on", func() bool {
		return time.Since(heardOn(t, pod.Status.PodIP, "4444")) > 3*time.Second && time.Since(heardOn(t, pod.Status.PodIP, "8443")) < 2*time.Second
	})
	p.release(pod.Name, ownNamespace, "--to-service").want(t, 0)
	noneOfCase(t, c, caseID)
}

// heardOn is when the command server heard of an address last, on one of its ports.
func heardOn(t *testing.T, ip, port string) (last time.Time) {
	t.Helper()
	for l := range bytes.Lines(mustRead(t, filepath.Join(labDir, "log", "c2.log"))) {
		var k struct {
			Ms         int64
			Port, Peer string
		}
		if json.Unmarshal(l, &k) != nil || k.Port != port || !strings.HasPrefix(k.Peer, ip+":") {
			continue
		}
		if at := time.UnixMilli(k.Ms); at.After(last) {
			last = at
		}
	}
	return last
}

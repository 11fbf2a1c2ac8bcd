//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

func (p *person) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.home, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// TestBadInput: each mistake is one clear line, and nothing is touched.
func TestBadInput(t *testing.T) {
	c := reset(t)
	before := getPod(t, c, "prod", "web-0")
	p := newPerson(t)
	hand := []string{"--image", image, "--pull", "Never", "--yes"}
	with := func(args ...string) []string { return append(args, hand...) }

	p.irkit(with("contain", "nosuch", "-n", "prod")...).want(t, 1).says(t, `irkit: error: `, "nosuch")
	p.irkit(with("contain", "web-0")...).want(t, 6).says(t, "missing permissions", "default") // another namespace, where we may nothing
	p.irkit(with("contain", "web-0", "web-1", "-n", "prod")...).want(t, 2).says(t, "want one")
	p.irkit(with("contain", "web-0", "-n", "prod", "--context", "nosuch")...).want(t, 1).says(t, "nosuch")
	p.irkit("contain", "web-0", "-n", "prod", "--image", image, "--pull", "Never").want(t, 6).says(t, "not confirmed", "add --yes")
	bad := p.write("bad.yaml", strings.Replace(short, "layers:", "layres:", 1))
	p.irkit(with("run", bad, "web-0", "-n", "prod")...).want(t, 2).says(t, `bad.yaml:6:15: unknown key "layres"`)
	p.irkit(with("contain", "-l", "app=shop", "-n", "prod")...).want(t, 6).says(t, "more than one pod")

	for _, dry := range []string{"client", "server"} {
		p.irkit(with("contain", "web-0", "-n", "prod", "--dry-run="+dry)...).want(t, 0).says(t, "will be written", "NetworkPolicy", "ephemeral")
	}
	after := getPod(t, c, "prod", "web-0")
	checkNotWritten(t, before, after)
	policies, err := c.NetworkingV1().NetworkPolicies("prod").List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase})
	if err != nil || len(policies.Items) > 0 {
		t.Errorf("policies: %d, %v", len(policies.Items), err)
	}
	if cases, _ := filepath.Glob(filepath.Join(p.home, "irkit", "cases", "*", "irkit-*")); len(cases) > 0 {
		t.Errorf("bundles were opened: %q", cases)
	}
}

// checkNotWritten: irkit wrote nothing to the pod. Its status goes on changing by the kubelet.
func checkNotWritten(t *testing.T, before, after *corev1.Pod) {
	t.Helper()
	if before.UID != after.UID || before.Generation != after.Generation || !equalMaps(before.Labels, after.Labels) || !equalMaps(before.Annotations, after.Annotations) ||
		len(before.Spec.EphemeralContainers) != len(after.Spec.EphemeralContainers) || len(before.OwnerReferences) != len(after.OwnerReferences) {
		t.Errorf("the pod was touched: %+v, was %+v", after.ObjectMeta, before.ObjectMeta)
	}
	if slices.ContainsFunc(after.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Manager == "irkit" }) {
		t.Error("irkit wrote to the pod")
	}
}

// TestFlagsAfterTheArgument act in the namespace that they name.
func TestFlagsAfterTheArgument(t *testing.T) {
	reset(t)
	p := newPerson(t)
	p.irkit("contain", "loner", "--dry-run=client", "--image", image, "-o", "json", "-n", "prod").want(t, 0).says(t, `"namespace": "prod"`)
}

// TestMissingPermission: one table of what is missing, and the YAML that would grant it.
func TestMissingPermission(t *testing.T) {
	c := reset(t)
	before := getPod(t, c, "prod", "web-0")
	p := newPerson(t)
	p.kube = admin
	p.irkit("contain", "web-0", "-n", "prod", "--image", image, "--yes", "--as", "nobody-in-particular").want(t, 6).says(t, "missing permissions")
	if err := allow(t, c, "reader", "pods", "get"); err != nil {
		t.Fatal(err)
	}
	p.irkit("contain", "web-0", "-n", "prod", "--image", image, "--yes", "--as", "reader").want(t, 6).
		says(t, "missing permissions", "ephemeralcontainers", "this would grant them", "kind: ClusterRole", "nothing was changed")
	checkNotWritten(t, before, getPod(t, c, "prod", "web-0"))
}

// TestReplacedPod: the plan is for one UID. A pod of the same name is another target.
func TestReplacedPod(t *testing.T) {
	c := reset(t)
	p := newPerson(t)
	p.runShort("web-0", "prod", "--case", "replaced").want(t, 0)
	if err := c.CoreV1().Pods("prod").Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	reset(t)
	p.runShort("web-0", "prod", "--case", "replaced").want(t, 6).says(t, "uid")
	if getPod(t, c, "prod", "web-0").Labels[evidence.LabelQuarantine] != "" {
		t.Error("the successor was touched")
	}
	p.release("web-0", "prod", "--case", "replaced", "--delete-pod").want(t, 0)
	checkNothingOfOurs(t, "prod")
}

// TestHostNetwork: what would cut the node off is refused; the rest runs; nobody says
// contained; the node keeps its network.
func TestHostNetwork(t *testing.T) {
	c := reset(t)
	p := newPerson(t)
	r := p.contain("edge", "edge-ns").want(t, 5)
	v := r.result(t)
	if v.Verdict == nil || v.Verdict.State != evidence.Failed {
		t.Errorf("verdict %+v, want FAILED", v.Verdict)
	}
	if err := verifyStock(t, v.Bundle); err != nil {
		t.Error(err)
	}
	node, err := c.CoreV1().Nodes().Get(t.Context(), "lab-node", metav1.GetOptions{})
	if err != nil || !node.Spec.Unschedulable {
		t.Errorf("the other layers did not run: cordoned %v, %v", node != nil && node.Spec.Unschedulable, err)
	}
	p.irkit("contain", "edge", "-n", "edge-ns", "--image", image, "--dry-run=client").want(t, 0).says(t, "cannot be done here", "host")
	p.release("edge", "edge-ns", "--to-service").want(t, 0)
}

//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// guard protects a pod, and leaves it in service and on the network.
const guard = `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: guard}
steps:
  - id: isolate
    isolate: {layers: [netpol, protect]}
`

// protection is what on a pod keeps others' hands off it.
func protection(p *corev1.Pod) map[string]string {
	out := map[string]string{}
	for k, v := range p.Annotations {
		if strings.Contains(k, "safe-to-evict") || strings.Contains(k, "do-not-disrupt") || strings.Contains(k, "no-eviction") || strings.Contains(k, "deletion-cost") {
			out[k] = v
		}
	}
	if slices.Contains(p.Finalizers, evidence.Finalizer) {
		out["finalizer"] = evidence.Finalizer
	}
	return out
}

func evict(t *testing.T, c kubernetes.Interface, p *corev1.Pod) error {
	t.Helper()
	return c.PolicyV1().Evictions(p.Namespace).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}})
}

// TestProtect: a contained pod is not evicted, one that is held and deleted leaves its
// object until release, and release puts back what was there before.
func TestProtect(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const name = "guarded"
	workload(t, c, "Pod", name, 1)
	pods, budgets := c.CoreV1().Pods(ownNamespace), c.PolicyV1().PodDisruptionBudgets(ownNamespace)
	was, err := pods.Patch(t.Context(), name, "application/merge-patch+json", []byte(`{"metadata":{"annotations":{"karpenter.sh/do-not-disrupt":"false"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := newPerson(t)
	hold := func(caseID string) {
		t.Helper()
		p.irkit("run", p.write("guard.yaml", guard), name, "-n", ownNamespace, "--hold", "--case", caseID, "--image", image, "--pull", "Never", "--yes").
			says(t, "protect holds", "object-held", "evictions-stop")
		if got := protection(getPod(t, c, ownNamespace, name)); len(got) != 4 || got["karpenter.sh/do-not-disrupt"] != "true" {
			t.Fatalf("protected by %v", got)
		}
	}
	hold("guarded-one")

	if err := evict(t, c, was); !apierrors.IsTooManyRequests(err) {
		t.Errorf("an eviction is answered %v, want 429", err)
	}
	most := intstr.FromInt32(1)
	theirs := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: &most, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}}}
	if _, err := budgets.Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict(t, c, was); !apierrors.IsInternalError(err) {
		t.Errorf("with another budget beside it an eviction is answered %v, want 500", err)
	}
	if err := budgets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	held := getPod(t, c, ownNamespace, name)
	dry := p.release(name, ownNamespace, "--to-service", "--case", "guarded-one", "--dry-run=server").want(t, 0).says(t, "dryRun=All, nothing stored")
	if n := strings.Count(dry.stdout, "admitted"); n != 5 || strings.Contains(dry.stdout, "REFUSED") {
		t.Errorf("%d of 5 writes were admitted", n)
	}
	if now := getPod(t, c, ownNamespace, name); !equalMaps(now.Labels, held.Labels) || !equalMaps(now.Annotations, held.Annotations) || len(protection(now)) != 4 {
		t.Errorf("a dry run changed the pod: labels %v, annotations %v", now.Labels, now.Annotations)
	}
	p.release(name, ownNamespace, "--to-service", "--case", "guarded-one").want(t, 0)
	checkUntouched(t, c, was, "guarded-one")

	hold("guarded-two")
	if err := pods.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "its containers have ended, and the object is there", func() bool {
		now := getPod(t, c, ownNamespace, name)
		return now.UID == was.UID && now.DeletionTimestamp != nil && len(now.Status.ContainerStatuses) == 1 && now.Status.ContainerStatuses[0].State.Terminated != nil
	})
	p.irkit("status", "guarded-two").flat().says(t, "being deleted")
	p.release(name, ownNamespace, "--to-service", "--case", "guarded-two").want(t, 0).says(t, "does not come back to service")
	eventually(t, 90*time.Second, "the object is gone", func() bool {
		_, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	checkNothingOfCase(t, c, "guarded-two")
	left, err := budgets.List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase + "=guarded-two"})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%d budgets left, %v", len(left.Items), err)
	}
}

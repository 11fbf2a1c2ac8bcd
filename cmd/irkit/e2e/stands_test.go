//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

// checkStands holds what `irkit status` and the custody log say of a case against what
// really stands in the cluster: whatever is there is told, as standing or as unsure, and
// whatever is told to stand is there.
func (p *person) checkStands(t *testing.T, c kubernetes.Interface, was *corev1.Pod, caseID string) {
	t.Helper()
	s := p.standing(t, caseID)
	says := func(all []string, layer string) bool {
		return slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, layer+":") })
	}
	log := p.log(t)
	pod, err := c.CoreV1().Pods(was.Namespace).Get(t.Context(), was.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && pod.UID != was.UID {
		if s.Live != "gone or replaced" {
			t.Errorf("the pod is gone; status says %q", s.Live)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	policies, err := c.NetworkingV1().NetworkPolicies(was.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID})
	if err != nil {
		t.Fatal(err)
	}
	probes, err := c.CoreV1().Pods("irkit-system").List(t.Context(), metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID})
	if err != nil {
		t.Fatal(err)
	}
	probes.Items = slices.DeleteFunc(probes.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	_, noted := pod.Annotations[evidence.AnnotationOriginal]
	there := map[string]bool{
		"label":  pod.Labels[evidence.LabelQuarantine] != "" || noted,
		"netpol": len(policies.Items) > 0,
		"detach": pod.Labels["app"] == "",
		"netns":  cutStands(t, pod),
	}
	for layer, is := range there {
		switch {
		case is && !says(s.Changes, layer) && !says(s.Unsure, layer):
			t.Errorf("%s is in the cluster; status does not say so: stands %q, unsure %q", layer, s.Changes, s.Unsure)
		case !is && says(s.Changes, layer):
			t.Errorf("status says that %s stands; the cluster does not have it", layer)
		}
	}
	if len(probes.Items) > 0 && len(s.Left) == 0 {
		t.Errorf("%d probe pods are left; status says %q", len(probes.Items), s.Left)
	}
	// The cut again, as the other end of the suspect's connections sees it.
	time.Sleep(1200 * time.Millisecond)
	talks := time.Since(heard(t, was.Status.PodIP)) < time.Second
	switch {
	case talks && says(s.Changes, "netns"):
		t.Error("status says that the cut stands; the command server hears of the pod")
	case talks && s.Verdict != nil && s.Verdict.Outbound == evidence.Contained:
		t.Error("status says that nothing goes out; the command server hears of the pod")
	}
	// Everything that was written was recorded before.
	intended := func(what string) bool { return strings.Contains(log, what) }
	for _, e := range pod.Spec.EphemeralContainers {
		if strings.HasPrefix(e.Name, "irkit-") && !intended(e.Name) {
			t.Errorf("container %s is in the pod and not in the custody log", e.Name)
		}
	}
	for _, n := range policies.Items {
		if !intended(n.Name) {
			t.Errorf("policy %s is in the cluster and not in the custody log", n.Name)
		}
	}
}

// standing is what status says of one case.
func (p *person) standing(t *testing.T, caseID string) standing {
	t.Helper()
	r := p.irkit("status", "-o", "json", "--case", caseID)
	var all []standing
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || len(all) != 1 {
		t.Fatalf("status: %d cases, %v", len(all), err)
	}
	if len(all[0].Faults) > 0 {
		t.Errorf("the custody log has faults: %q", all[0].Faults)
	}
	return all[0]
}

// log is every record of every bundle of this home, those after a seal included.
func (p *person) log(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, pattern := range []string{"irkit-*/meta/custody.jsonl", "irkit-*.custody/*.jsonl"} {
		files, err := filepath.Glob(filepath.Join(p.home, "irkit", "cases", "*", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b.Write(mustRead(t, f))
		}
	}
	return b.String()
}

// checkUntouched wants the pod as it was before irkit came, and nothing of the case's left.
func checkUntouched(t *testing.T, c kubernetes.Interface, was *corev1.Pod, caseID string) {
	t.Helper()
	var why string
	end := time.Now().Add(30 * time.Second)
	for ; time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if why = touched(t, c, was, caseID); why == "" {
			return
		}
	}
	t.Errorf("not as before: %s", why)
}

func touched(t *testing.T, c kubernetes.Interface, was *corev1.Pod, caseID string) string {
	t.Helper()
	pod, err := c.CoreV1().Pods(was.Namespace).Get(t.Context(), was.Name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	of := metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID}
	policies, err := c.NetworkingV1().NetworkPolicies(was.Namespace).List(t.Context(), of)
	if err != nil {
		return err.Error()
	}
	budgets, err := c.PolicyV1().PodDisruptionBudgets(was.Namespace).List(t.Context(), of)
	if err != nil {
		return err.Error()
	}
	probes, err := c.CoreV1().Pods("irkit-system").List(t.Context(), of)
	if err != nil {
		return err.Error()
	}
	_, noted := pod.Annotations[evidence.AnnotationOriginal]
	switch {
	case pod.UID != was.UID:
		return "the pod was replaced"
	case !equalMaps(pod.Labels, was.Labels):
		return fmt.Sprintf("labels %v, were %v", pod.Labels, was.Labels)
	case noted:
		return "irkit's note is on the pod"
	case !equalMaps(protection(pod), protection(was)):
		return fmt.Sprintf("protected by %v, was %v", protection(pod), protection(was))
	case len(budgets.Items) > 0:
		return "a disruption budget is left: " + budgets.Items[0].Name
	case len(pod.OwnerReferences) != len(was.OwnerReferences):
		return "the pod has no owner"
	case pod.Status.ContainerStatuses[0].RestartCount != was.Status.ContainerStatuses[0].RestartCount:
		return "the container was restarted"
	case len(policies.Items) > 0:
		return "a policy is left: " + policies.Items[0].Name
	case len(probes.Items) > 0:
		return "the probe pod is left: " + probes.Items[0].Name
	case cutStands(t, pod):
		return "the cut stands"
	}
	return ""
}

// checkNothingOfCase wants no policy and no probe pod of a case.
func checkNothingOfCase(t *testing.T, c kubernetes.Interface, caseID string) {
	t.Helper()
	of := metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + caseID}
	eventually(t, 90*time.Second, "nothing of case "+caseID+" is left", func() bool {
		policies, err := c.NetworkingV1().NetworkPolicies(ownNamespace).List(t.Context(), of)
		probes, probesErr := c.CoreV1().Pods("irkit-system").List(t.Context(), of)
		return err == nil && probesErr == nil && len(policies.Items)+len(probes.Items) == 0
	})
}

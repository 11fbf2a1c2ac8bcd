//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// TestTargetGoes deletes, evicts or replaces the pod in the middle of contain, at seeded
// points of its custody log: what was had is sealed, the exit status says that it is not
// whole, its successor is left alone, and release takes away what is left.
func TestTargetGoes(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	ways := map[string]func(t *testing.T, p *corev1.Pod){
		"deleted": func(t *testing.T, p *corev1.Pod) {
			if err := c.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		},
		"evicted": func(t *testing.T, p *corev1.Pod) {
			e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}}
			if err := c.PolicyV1().Evictions(p.Namespace).Evict(t.Context(), e); err != nil {
				t.Error(err)
			}
		},
		"replaced": func(t *testing.T, p *corev1.Pod) {
			if err := c.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
				t.Error(err)
			}
			eventually(t, 90*time.Second, "a successor is there", func() bool {
				now, err := c.CoreV1().Pods(p.Namespace).Get(t.Context(), p.Name, metav1.GetOptions{})
				return err == nil && now.UID != p.UID
			})
		},
	}
	for n, how := range []string{"deleted", "evicted", "replaced"} {
		for try := range sample(1, 20) {
			random := rand.New(rand.NewPCG(uint64(n), uint64(try)))
			k := 2 + random.IntN(16)
			t.Run(fmt.Sprintf("%s after record %d", how, k), func(t *testing.T) {
				t.Parallel()
				name := fmt.Sprintf("goes-%d-%d", n, try)
				pod := victim(t, c, name)
				p := newPerson(t)
				var went time.Time
				r, met := p.during(k, func() { ways[how](t, pod); went = time.Now() }, p.chaos(pod.Name, "case-"+name)...)
				if !met {
					t.Fatalf("contain had ended before record %d", k)
				}
				p.checkHonest(t, c, pod, "case-"+name, r)
				if r.code == 0 && !p.tellsOfDeletion(t, r) && !p.measuredBefore(t, went) {
					t.Error("exit 0, and not a word of the pod that went in the middle")
				}
				if v := r.result(t).Verdict; (r.code == 5) == (v != nil && v.State == evidence.Contained) {
					t.Errorf("exit %d with verdict %+v", r.code, v)
				}
				p.release(pod.Name, ownNamespace, "--delete-pod", "--case", "case-"+name).want(t, 0)
				checkNothingOfCase(t, c, "case-"+name)
				successor, err := c.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
				if err == nil && successor.UID != pod.UID && (successor.Labels[evidence.LabelQuarantine] != "" || len(successor.Spec.EphemeralContainers) > 0 || successor.DeletionTimestamp != nil) {
					t.Errorf("the successor was touched: labels %v, %d hands, deleted %v", successor.Labels, len(successor.Spec.EphemeralContainers), successor.DeletionTimestamp)
				}
			})
		}
	}
}

// tellsOfDeletion: a pod that is deleted with grace runs on for a while; its containment may
// be measured and its evidence taken in that time, and the verdict says that it goes.
func (p *person) tellsOfDeletion(t *testing.T, r ran) bool {
	v := r.result(t).Verdict
	return v != nil && slices.ContainsFunc(v.Disturbed, func(d evidence.Disturbance) bool { return d.Code == evidence.Deleting || d.Code == evidence.Gone })
}

// measuredBefore: the verdict was given when nobody had touched the pod yet.
func (p *person) measuredBefore(t *testing.T, went time.Time) bool {
	for _, r := range lines[evidence.Record](t, []byte(p.log(t))) {
		if r.Action == evidence.ActMeasured && r.Time.Before(went) {
			return true
		}
	}
	return false
}

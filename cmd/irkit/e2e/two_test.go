//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// TestTwoAtOnce: two responders, two machines, two cases, one pod, at the same moment. The
// mark is the lock: one contains the pod, the other is refused and leaves nothing.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for _, name := range []string{"two-a", "two-b"}[:sample(1, 2)] {
		pod := victim(t, c, name)
		first, second := newPerson(t), newPerson(t)
		var a, b ran
		var both sync.WaitGroup
		// Each call takes so long that both have looked before either writes.
		for _, p := range []*person{first, second} {
			g, kube := newGate(t, nil)
			g.delay = 300 * time.Millisecond
			p.kube = kube
		}
		both.Go(func() { a = first.runChaos(pod.Name, "case-"+name) })
		both.Go(func() { b = second.runChaos(pod.Name, "case-"+name+"-other") })
		both.Wait()
		first.kube, second.kube = responder, responder
		won, lost, mine, other := first, second, "case-"+name, "case-"+name+"-other"
		if a.code == 6 {
			won, lost, mine, other = second, first, other, mine
			a, b = b, a
		}
		// Through a proxy this slow what came in before may not have been measured in time.
		if v := a.result(t).Verdict; v == nil || v.Outbound != evidence.Contained || a.code != 0 && a.code != 5 {
			t.Errorf("who was first ends with %d, verdict %+v", a.code, v)
		}
		b.want(t, 6).says(t, mine)
		held := getPod(t, c, ownNamespace, pod.Name)
		if held.Labels[evidence.LabelQuarantine] != mine {
			t.Errorf("the pod is held by %q, want %q", held.Labels[evidence.LabelQuarantine], mine)
		}
		won.checkStands(t, c, pod, mine)
		hands := slices.DeleteFunc(slices.Clone(held.Spec.EphemeralContainers), func(e corev1.EphemeralContainer) bool { return !strings.HasPrefix(e.Name, "irkit-") })
		if len(hands) != 1 {
			t.Errorf("%d hands are in the pod, want the winner's alone", len(hands))
		}
		of := metav1.ListOptions{LabelSelector: evidence.LabelCase + "=" + other}
		policies, err := c.NetworkingV1().NetworkPolicies(ownNamespace).List(t.Context(), of)
		if err != nil || len(policies.Items) > 0 {
			t.Errorf("who was refused left %d policies: %v", len(policies.Items), err)
		}
		if bundle, _ := lost.custody(); bundle == "" {
			t.Log("who was refused had seen the mark before anything was begun")
		} else if s := lost.standing(t, other); len(s.Changes)+len(s.Unsure)+len(s.Left) > 0 {
			t.Errorf("who was refused is said to have: %q, perhaps %q, left %q", s.Changes, s.Unsure, s.Left)
		}
		won.release(pod.Name, ownNamespace, "--to-service", "--case", mine).want(t, 0)
		checkUntouched(t, c, pod, mine)
		checkUntouched(t, c, pod, other)
	}
}

// TestTwoOfOneCase: twice the same command on one machine. The second is refused by the
// lock of the case's folder, and disturbs nothing.
func TestTwoOfOneCase(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	pod := victim(t, c, "twice")
	p := newPerson(t)
	var second ran
	r, met := p.during(6, func() { second = p.runChaos(pod.Name, "case-twice") }, p.chaos(pod.Name, "case-twice")...)
	if !met {
		t.Fatal("the first had ended before the second began")
	}
	second.want(t, 6).says(t, "in use by another irkit")
	if r.code != 0 {
		t.Errorf("the first ends with %d", r.code)
	}
	p.checkHonest(t, c, pod, "case-twice", r)
	p.release(pod.Name, ownNamespace, "--to-service", "--case", "case-twice").want(t, 0)
	checkUntouched(t, c, pod, "case-twice")
}

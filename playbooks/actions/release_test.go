package actions

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/quarantine"
)

func TestDeletingThePodTakesEverythingOfOursAway(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	if back := n.release(t, quarantine.DeletePod); len(back.Failed) > 0 {
		t.Fatalf("%q", back.Failed)
	}
	if _, err := n.client.CoreV1().Pods("prod").Get(t.Context(), "web-0", metav1.GetOptions{}); err == nil || len(n.policies(t)) > 0 || n.node(t).Spec.Unschedulable {
		t.Errorf("pod %v, policies %q, cordoned %v", err, n.policies(t), n.node(t).Spec.Unschedulable)
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released || len(s.Changes)+len(s.Unsure) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if again := n.release(t, quarantine.DeletePod); len(again.Failed) > 0 {
		t.Errorf("again: %q", again.Failed)
	}
}

// A release that is refused in the middle is told, and goes on where it ended.
func TestAReleaseThatWasRefusedGoesOn(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	refuse := true
	var mu sync.Mutex
	n.client.PrependReactor("delete", "networkpolicies", func(ktesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		return refuse, nil, errors.New("etcd is being compacted")
	})
	if back := n.release(t, quarantine.ToService); len(back.Failed) == 0 || len(back.Done) == 0 {
		t.Fatalf("%+v", back)
	}
	s, err := n.Cases.Recall("c-1")
	if err != nil || s.Released || !slices.ContainsFunc(s.Unsure, func(c string) bool { return strings.Contains(c, "netpol") }) {
		t.Errorf("status: %+v, %v", s, err)
	}
	mu.Lock()
	refuse = false
	mu.Unlock()
	if back := n.release(t, quarantine.ToService); len(back.Failed) > 0 || len(n.policies(t)) != 0 {
		t.Errorf("%+v, policies %q", back, n.policies(t))
	}
	if s, err := n.Cases.Recall("c-1"); err != nil || !s.Released {
		t.Errorf("status: %+v, %v", s, err)
	}
}

// An unsealed case is sealed, then released; its cut needs a hand.
func TestReleaseWithoutAHandNamesTheCutAsResidue(t *testing.T) {
	n := newNight(t)
	n.contain(t.Context(), t)
	n.hands.refuse = map[string]error{"app": agent.ErrGone, "side": agent.ErrGone}
	back := n.release(t, quarantine.ToService)
	if len(back.Failed) == 0 || !slices.ContainsFunc(back.Residue, func(s string) bool { return strings.Contains(s, "docs/cut.md") }) {
		t.Errorf("%+v", back)
	}
	if p := n.pod(t); p.Labels["app"] != "" {
		t.Error("a pod that is cut off is back in its Services, and nobody was asked")
	}
}

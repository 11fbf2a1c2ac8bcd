package actions

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/agent/handtest"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

// What status says of a case is what is there now, not what the log hopes.
func TestStatusSeesWhatOthersDid(t *testing.T) {
	for name, c := range map[string]struct {
		did  func(*testing.T, *night)
		want func(playbooks.Standing) bool
	}{
		"the mark was taken off": {
			func(t *testing.T, n *night) {
				p := n.pod(t)
				delete(p.Labels, evidence.LabelQuarantine)
				if _, err := n.client.CoreV1().Pods("prod").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			func(s playbooks.Standing) bool { return len(s.Drift) == 1 && s.Hand == "answers" },
		},
		"the pod was replaced": {
			func(t *testing.T, n *night) {
				p := targetPod()
				p.UID = "another"
				if err := n.client.CoreV1().Pods("prod").Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				if _, err := n.client.CoreV1().Pods("prod").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			func(s playbooks.Standing) bool { return s.Live == "gone or replaced" && s.Verdict == nil },
		},
		"the hand ended": {
			func(t *testing.T, n *night) { n.hands.hands = map[string]*handtest.Hand{} },
			func(s playbooks.Standing) bool { return s.Hand == "gone" && s.Verdict == nil && s.Live == "Running" },
		},
		"the key is not here": {
			func(t *testing.T, n *night) {
				if err := os.Remove(filepath.Join(n.Cases.Dir("c-1"), "case-key")); err != nil {
					t.Fatal(err)
				}
			},
			func(s playbooks.Standing) bool { return strings.Contains(s.Hand, "case key") },
		},
		"the cut was lifted by hand": {
			func(t *testing.T, n *night) {
				if err := n.hands.hands["app"].Lift(t.Context(), "c-1"); err != nil {
					t.Fatal(err)
				}
				n.hands.net.Policy = nil
			},
			func(s playbooks.Standing) bool { return s.Verdict != nil && s.Verdict.Outbound == evidence.Failed },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t)
			n.contain(t.Context(), t, func(o *playbooks.Order) { o.Plan = hasty(o.Plan) })
			c.did(t, n)
			s, err := n.Cases.Recall("c-1")
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Measure(t.Context(), &s); err != nil || !c.want(s) {
				t.Errorf("%+v, %v", s, err)
			}
			if name == "the key is not here" {
				if _, err := os.Stat(filepath.Join(n.Cases.Dir("c-1"), "case-key")); err == nil {
					t.Error("status made a key")
				}
			}
		})
	}
}

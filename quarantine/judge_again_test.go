package quarantine_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// A run that was killed between the policy and its record leaves a baseline that was taken
// under the policy, and layers that seem to come after it. That the survey found the policy
// on the target says what held; a policy of another case, or on others, says nothing.
func TestJudgeKnowsThePolicyOfAKilledRun(t *testing.T) {
	for name, c := range map[string]struct {
		caseID   string
		selector map[string]string
		want     evidence.State
	}{
		"ours, on the target": {"c-1", nil, evidence.Contained},
		"of another case":     {"c-2", nil, evidence.Unverified},
		"not on the target":   {"c-1", map[string]string{"app": "other"}, evidence.Unverified},
	} {
		m := contained()
		m.FlowsBefore, m.PinholeOut = nil, nil
		for i := range m.Applied {
			m.Applied[i].At = at(300)
		}
		for i := range m.Baseline {
			m.Baseline[i].Answered, m.Baseline[i].At = false, at(50)
		}
		m.Reachable = append(m.Reachable, result(api, 900, true), result(dns, 900, true))
		m.Scene.Policies = []networkingv1.NetworkPolicy{{
			ObjectMeta: metav1.ObjectMeta{Name: "irkit-quarantine-" + c.caseID, Namespace: "prod", Labels: map[string]string{evidence.LabelCase: c.caseID}},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: c.selector},
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			},
		}}
		if v := quarantine.Judge(m); v.Outbound != c.want {
			t.Errorf("%s: outbound %s, want %s: %q", name, v.Outbound, c.want, v.Why)
		}
	}
}

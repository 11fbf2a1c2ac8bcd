package playbooks

import (
	"errors"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// TestProtectedNamespaces: who is protected by what, and what force makes of it.
func TestProtectedNamespaces(t *testing.T) {
	for _, tc := range []struct {
		name   string
		labels map[string]string
		also   []string
		want   bool
	}{
		{"kube-system", nil, nil, true}, {"kube-public", nil, nil, true}, {"kube-node-lease", nil, nil, true},
		{"irkit-system", nil, nil, true}, {"irkit-node", nil, nil, true}, {"calico-system", nil, nil, true},
		{"prod", nil, nil, false}, {"prod", nil, []string{"payments", "prod"}, true}, {"prod", nil, []string{"pro"}, false},
		{"prod", map[string]string{LabelProtected: ""}, nil, true}, {"prod", map[string]string{LabelProtected: "true"}, nil, true},
		{"prod", map[string]string{LabelProtected: "false"}, nil, false},
		{"kube-system", map[string]string{LabelProtected: "false"}, nil, true}, // a tenant's label takes nothing away
	} {
		for _, force := range []bool{false, true} {
			p := Prospect{Scene: quarantine.Scene{Namespace: quarantine.Namespace{Name: tc.name, Labels: tc.labels}}, Needs: Needs{Layers: []string{"netpol"}}}
			p.guard(Order{Force: force, Protected: tc.also})
			if got := p.Guard != ""; got != (tc.want && !force) {
				t.Errorf("%+v, force %v: guard %q", tc, force, p.Guard)
			}
			severity := evidence.Refused
			if force {
				severity = evidence.Warning
			}
			if tc.want != (len(p.Forecast.Findings) == 1) || tc.want && p.Forecast.Findings[0].Severity != severity {
				t.Errorf("%+v, force %v: findings %+v", tc, force, p.Forecast.Findings)
			}
			p = Prospect{Scene: p.Scene}
			if p.guard(Order{Protected: tc.also}); p.Guard != "" {
				t.Errorf("collecting alone is held up: %q", p.Guard)
			}
		}
	}
}

// TestProtectedIsRefusedByTheEngine: also where a caller does not look at the plan.
func TestProtectedIsRefusedByTheEngine(t *testing.T) {
	r := newResponder(t)
	_, err := r.Run(t.Context(), Order{Case: "c"}, Prospect{Guard: "namespace kube-system is protected"})
	if !errors.Is(err, ErrProtected) {
		t.Errorf("%v, want ErrProtected", err)
	}
	if all, err := r.Cases.All(); err != nil || len(all) > 0 {
		t.Errorf("cases %q, %v: it left something", all, err)
	}
}

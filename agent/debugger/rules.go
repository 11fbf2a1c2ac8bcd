package debugger

import "irkit.dev/irkit/evidence"

// Rules are the permissions that Start needs.
func Rules() []evidence.Rule {
	return []evidence.Rule{
		{Resource: "pods", Verbs: []string{"get", "watch"}, Scope: evidence.InTarget, Required: true, Why: "see the target and wait until the hand runs"},
		{Resource: "pods", Sub: "ephemeralcontainers", Verbs: []string{"patch"}, Scope: evidence.InTarget, Required: true, Why: "start a hand beside the target"},
		{Resource: "pods", Sub: "exec", Verbs: []string{"create", "get"}, Scope: evidence.InTarget, Required: true, Why: "talk to the hand (SPDY is a create, WebSocket a get and a create)"},
		{Resource: "nodes", Verbs: []string{"get"}, Scope: evidence.InCluster, Why: "learn the node's architecture, for the binary that fits"},
	}
}

// ProbeRules are the permissions that StartProbePod and DeleteProbePod need; without
// them inbound stays unmeasured.
func ProbeRules() []evidence.Rule {
	return []evidence.Rule{
		{Resource: "pods", Verbs: []string{"get", "watch", "create", "delete"}, Scope: evidence.InSystem, Why: "run the probe pod"},
		{Resource: "pods", Sub: "exec", Verbs: []string{"create", "get"}, Scope: evidence.InSystem, Why: "talk to the probe pod"},
	}
}

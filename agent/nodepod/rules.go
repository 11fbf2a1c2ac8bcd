package nodepod

import "irkit.dev/irkit/evidence"

// Rules are the permissions that Start and Delete need. They are as good as root on the
// nodes, and so never part of what every responder holds; without them there are no node
// pods, and a forecast says where that matters.
func Rules() []evidence.Rule {
	return []evidence.Rule{
		{Resource: "pods", Verbs: []string{"get", "watch", "create", "delete"}, Scope: evidence.InNodes, Why: "run a node pod where admission takes no hand beside the target"},
		{Resource: "pods", Sub: "exec", Verbs: []string{"create", "get"}, Scope: evidence.InNodes, Why: "talk to the node pod"},
	}
}

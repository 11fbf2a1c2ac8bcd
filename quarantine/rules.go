package quarantine

import (
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// SurveyRules are the permissions that Survey uses.
func SurveyRules() []evidence.Rule {
	rule := func(group, res, why string, scope evidence.Scope, required bool, verbs ...string) evidence.Rule {
		return evidence.Rule{Group: group, Resource: res, Verbs: verbs, Scope: scope, Required: required, Why: why}
	}
	in, all := evidence.InTarget, evidence.InCluster
	out := []evidence.Rule{
		rule("", "pods", "read the target and its siblings", in, true, "get", "list"),
		rule("networking.k8s.io", "networkpolicies", "see which policies let traffic through", in, true, "get", "list"),
		rule("", "services", "see which Services lose the endpoint", in, false, "get", "list"),
		rule("discovery.k8s.io", "endpointslices", "see which endpoints are listed by hand", in, false, "list"),
		rule("policy", "poddisruptionbudgets", "see which budgets count the pod", in, false, "list"),
		rule("", "nodes", "find the addresses that the kubelet probes from", all, false, "get"),
		rule("", "namespaces", "name the cluster, and read namespace labels", all, false, "get"),
		rule("", "services", "find the API server's and the DNS's address, to measure containment", all, false, "get", "list"),
		rule("discovery.k8s.io", "endpointslices", "find what stands behind them, to measure the policy alone", all, false, "list"),
		rule("apps", "daemonsets", "recognise the network plugin", all, false, "list"),
		rule("cilium.io", "ciliumnodes", "find the address that Cilium's probes come from", all, false, "get"),
		rule("kyverno.io", "clustercleanuppolicies", "see what deletes pods without owner", all, false, "list"),
		rule("", "serviceaccounts", "read the target's service account: cloud identities, pull secrets", in, false, "get"),
		rule("rbac.authorization.k8s.io", "rolebindings", "see what the target's service account may do", all, false, "list"),
		rule("rbac.authorization.k8s.io", "roles", "see what the target's service account may do", all, false, "list"),
		rule("rbac.authorization.k8s.io", "clusterrolebindings", "see what the target's service account may do", all, false, "list"),
		rule("rbac.authorization.k8s.io", "clusterroles", "see what the target's service account may do", all, false, "list"),
		rule("authorization.k8s.io", "subjectaccessreviews", "ask what the target's service account may do, webhooks included", all, false, "create"),
	}
	for _, r := range reach.Resources() {
		scope := all
		if r.Namespaced {
			scope = in
		}
		out = append(out, rule(r.Group, r.Resource, "see which policies of the network plugin let traffic through", scope, false, "list"))
	}
	for _, k := range ownerKinds() {
		out = append(out, rule(k.group, k.resource, "read the target's owner", in, false, "get"))
	}
	return out
}

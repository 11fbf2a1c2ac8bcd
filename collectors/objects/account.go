package objects

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"irkit.dev/irkit/evidence"
)

const rbacGroup = "rbac.authorization.k8s.io"

// rbac files the pod's account, the bindings that name it or one of its groups, and
// the roles that they grant.
func (r *run) rbac(pod *corev1.Pod) {
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	r.get1(what{"serviceaccount", core("serviceaccounts"), true, evidence.Internal, 0}, account)
	roles, clusterRoles := map[string]bool{}, map[string]bool{}
	concerns := func(o *unstructured.Unstructured) bool {
		if !binds(o, r.t.Namespace, account) {
			return false
		}
		name, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
		if kind, _, _ := unstructured.NestedString(o.Object, "roleRef", "kind"); kind == "ClusterRole" {
			clusterRoles[name] = true
		} else {
			roles[name] = true
		}
		return true
	}
	r.list(what{"rolebindings", of(rbacGroup, "v1", "rolebindings"), true, evidence.Internal, 0}, concerns)
	r.list(what{"clusterrolebindings", of(rbacGroup, "v1", "clusterrolebindings"), false, evidence.Internal, 0}, concerns)
	r.gets(what{"roles", of(rbacGroup, "v1", "roles"), true, evidence.Internal, 0}, slices.Sorted(maps.Keys(roles)))
	r.gets(what{"clusterroles", of(rbacGroup, "v1", "clusterroles"), false, evidence.Internal, 0}, slices.Sorted(maps.Keys(clusterRoles)))
}

// binds tells a binding whose subjects include the account, by its own name, by its
// user name, or by a group that every account is in.
func binds(o *unstructured.Unstructured, namespace, account string) bool {
	subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects")
	for _, s := range subjects {
		m, ok := s.(map[string]any)
		if !ok {
			continue
		}
		switch m["kind"] {
		case "ServiceAccount":
			if m["name"] == account && (m["namespace"] == namespace || (m["namespace"] == nil && o.GetNamespace() == namespace)) {
				return true
			}
		case "User":
			if m["name"] == "system:serviceaccount:"+namespace+":"+account {
				return true
			}
		case "Group":
			switch m["name"] {
			case "system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated":
				return true
			}
		}
	}
	return false
}

package quarantine

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"irkit.dev/irkit/evidence"
)

// knownPower is a right that reaches further than a workload's own work. Any of its verbs
// is enough. layers are those that it lets its holder take away. What is of the cluster as a
// whole no RoleBinding gives.
type knownPower struct {
	code, text           string
	verbs                []string
	group, resource, sub string
	layers               []string
}

func (k knownPower) clusterWide() bool {
	return slices.Contains([]string{"clusterroles", "users", "groups", "nodes", "mutatingwebhookconfigurations"}, k.resource)
}

// knownPowers are what an intruder looks for in a service account
// (kubernetes.io/docs/concepts/security/rbac-good-practices), and what undoes a quarantine.
func knownPowers() []knownPower {
	all := []string{LayerNetns, LayerLabel, LayerNetpol, LayerDeny, LayerProtect}
	const rbac = rbacv1.GroupName
	write := []string{"delete", "deletecollection", "patch", "update"}
	return []knownPower{
		{"anything", "do anything", []string{"*"}, "*", "*", "", all},
		{"read-secrets", "read secrets", []string{"get", "list", "watch"}, "", "secrets", "", nil},
		{"exec", "run commands in containers (pods/exec)", []string{"create", "get"}, "", "pods", "exec", []string{LayerNetns}},
		{"debug", "put containers into running pods (pods/ephemeralcontainers)", []string{"patch", "update"}, "", "pods", "ephemeralcontainers", []string{LayerNetns}},
		{"create-pods", "create pods, and with them use every account and secret of the namespace", []string{"create"}, "", "pods", "", nil},
		{"edit-pods", "change pods, and so take the quarantine label off", []string{"patch", "update"}, "", "pods", "", []string{LayerLabel, LayerNetpol, LayerDeny, LayerProtect}},
		{"delete-policies", "delete or change NetworkPolicies", write, "networking.k8s.io", "networkpolicies", "", []string{LayerNetpol}},
		{"delete-cilium-policies", "delete or change CiliumNetworkPolicies", write, "cilium.io", "ciliumnetworkpolicies", "", []string{LayerDeny}},
		{"delete-budgets", "delete or change PodDisruptionBudgets", write, "policy", "poddisruptionbudgets", "", []string{LayerProtect}},
		{"create-tokens", "make tokens of service accounts", []string{"create"}, "", "serviceaccounts", "token", nil},
		{"escalate", "give roles more rights than its own", []string{"escalate"}, rbac, "roles", "", all},
		{"escalate-cluster", "give cluster roles more rights than its own", []string{"escalate"}, rbac, "clusterroles", "", all},
		{"bind", "bind roles to anybody", []string{"bind"}, rbac, "roles", "", all},
		{"bind-cluster", "bind cluster roles to anybody", []string{"bind"}, rbac, "clusterroles", "", all},
		{"impersonate", "act as any user", []string{"impersonate"}, "", "users", "", all},
		{"impersonate-groups", "act as any group", []string{"impersonate"}, "", "groups", "", all},
		{"impersonate-accounts", "act as other service accounts", []string{"impersonate"}, "", "serviceaccounts", "", all},
		{"node-proxy", "reach the kubelet, and with it every pod of the node (nodes/proxy)", []string{"create", "get"}, "", "nodes", "proxy", all},
		{"admission", "change what admission does to every object", []string{"create", "patch", "update"}, "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", nil},
		{"workloads", "create or change Deployments, and so run pods", []string{"create", "patch", "update"}, "apps", "deployments", "", nil},
	}
}

// grantsOf joins bindings and roles for one account: by name first, then through groups.
func grantsOf(i *Identity, bindings []binding, roles map[evidence.Object][]rbacv1.PolicyRule) []Grant {
	groups := AccountGroups(i.Namespace)
	var named, shared []Grant
	for _, b := range bindings {
		g := Grant{Binding: b.object, Role: b.role(), Namespace: b.object.Namespace, Subjects: b.subjects}
		rules, read := roles[g.Role]
		g.Rules, g.RoleRead = rules, read
		if len(i.Named(g)) > 0 {
			g.Labels, g.Annotations = b.labels, b.annotations
			named = append(named, g)
			continue
		}
		for _, s := range b.subjects {
			if s.Kind == rbacv1.GroupKind && slices.Contains(groups, s.Name) {
				g.Group, g.Subjects = s.Name, nil
				shared = append(shared, g)
				break
			}
		}
	}
	for _, list := range [][]Grant{named, shared} {
		slices.SortFunc(list, func(a, b Grant) int { return strings.Compare(a.Binding.String(), b.Binding.String()) })
	}
	return append(named, shared...)
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	object              evidence.Object
	ref                 rbacv1.RoleRef
	subjects            []rbacv1.Subject
	labels, annotations map[string]string
}

func (b binding) role() evidence.Object {
	o := evidence.Object{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: b.ref.Kind, Name: b.ref.Name}
	if b.ref.Kind == "Role" {
		o.Namespace = b.object.Namespace
	}
	return o
}

// powersOf names what of the grants reaches far.
func powersOf(grants []Grant) []Power {
	var out []Power
	for _, k := range knownPowers() {
		for _, g := range grants {
			if k.clusterWide() && g.Namespace != "" {
				continue
			}
			for _, r := range g.Rules {
				if !slices.ContainsFunc(k.verbs, func(v string) bool { return grantsRight(r, v, k.group, k.resource, k.sub) }) {
					continue
				}
				by := fmt.Sprintf("%s %q", g.Binding.Kind, g.Binding.Name)
				if g.Group != "" {
					by += fmt.Sprintf(", through group %q", g.Group)
				}
				out = addPower(out, Power{Code: k.code, Text: k.text, Namespace: g.Namespace, Names: r.ResourceNames, By: []string{by}, Layers: k.layers})
			}
		}
	}
	return out
}

// addPower adds a power, or another ground for one that is known.
func addPower(all []Power, p Power) []Power {
	for n := range all {
		if o := &all[n]; o.Code == p.Code && o.Namespace == p.Namespace && slices.Equal(o.Names, p.Names) {
			if !slices.Contains(o.By, p.By[0]) {
				o.By = append(o.By, p.By[0])
			}
			return all
		}
	}
	return append(all, p)
}

// grantsRight is RBAC's own rule match, names aside (k8s.io/kubernetes,
// pkg/registry/rbac/validation and pkg/apis/rbac/v1/evaluation_helpers.go).
func grantsRight(r rbacv1.PolicyRule, verb, group, resource, sub string) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, want)
	}
	full := resource
	if sub != "" {
		full += "/" + sub
	}
	return has(r.Verbs, verb) && has(r.APIGroups, group) &&
		(has(r.Resources, full) || sub != "" && slices.Contains(r.Resources, "*/"+sub))
}

// reachOf says which secrets the rules let be read. A watch or a list gives the values, too.
func reachOf(powers []Power) SecretReach {
	var out SecretReach
	for _, p := range powers {
		switch {
		case p.Code != "read-secrets":
		case len(p.Names) > 0:
			if out.Named == nil {
				out.Named = map[string][]string{}
			}
			at := p.Namespace
			if at == "" {
				at = "*"
			}
			for _, n := range p.Names {
				if !slices.Contains(out.Named[at], n) {
					out.Named[at] = append(out.Named[at], n)
				}
			}
			slices.Sort(out.Named[at])
		case p.Namespace == "":
			out.Everywhere = true
		case !slices.Contains(out.Namespaces, p.Namespace):
			out.Namespaces = append(out.Namespaces, p.Namespace)
		}
	}
	slices.Sort(out.Namespaces)
	return out
}

// reads reports whether a secret is within reach.
func (r SecretReach) reads(namespace, name string) bool {
	return r.Everywhere || slices.Contains(r.Namespaces, namespace) ||
		slices.Contains(r.Named[namespace], name) || slices.Contains(r.Named["*"], name)
}

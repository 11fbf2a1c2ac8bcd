package deploy_test

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/deploy"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/playbooks/builtin"
)

var update = flag.Bool("update", false, "write rbac.yaml from the rules")

const head = `# The roles of a responder who contains, collects and releases: what irkit rbac prints,
# made from the rules in the code (go test ./deploy -update). They grant nothing until
# they are bound:
#
#   irkit-cluster  ClusterRoleBinding
#   irkit-target   RoleBinding in the namespace of an incident, for its time
#   irkit          RoleBinding in irkit-system
#
`

// rules are those of a whole session, as `irkit rbac` prints them.
func rules(t *testing.T) []evidence.Rule {
	t.Helper()
	source, err := builtin.Source("contain")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := playbooks.Compile("contain", source, actions.Standard())
	if err != nil {
		t.Fatal(err)
	}
	return new(playbooks.Engine).AllRules(plan)
}

func TestRolesAreThoseOfTheRules(t *testing.T) {
	got, err := cluster.YAML(cluster.RBAC(rules(t), cluster.Grant{}))
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte(head), got...)
	if *update {
		if err := os.WriteFile("rbac.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(deploy.RBAC(), want) {
		t.Error("rbac.yaml is not what the rules grant; run: go test ./deploy -update")
	}
}

func TestRolesGrantNoWildcardAndNothingThatRunsAsSomeoneElse(t *testing.T) {
	for _, doc := range strings.Split(string(deploy.RBAC()), "\n---\n") {
		var r rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(doc), &r); err != nil {
			t.Fatal(err)
		}
		for _, rule := range r.Rules {
			for _, s := range append(append(append([]string{}, rule.APIGroups...), rule.Resources...), rule.Verbs...) {
				if s == "*" || s == "impersonate" || s == "escalate" || s == "bind" || s == "secrets" {
					t.Errorf("%s grants %q", r.Name, s)
				}
			}
		}
	}
}

// TestNodeNamespace: privileged pods may run, nothing reaches them, and the Role is what the
// rules say.
func TestNodeNamespace(t *testing.T) {
	docs := strings.Split(string(deploy.Node()), "\n---\n")
	var ns corev1.Namespace
	var policy networkingv1.NetworkPolicy
	var role, want rbacv1.Role
	for i, into := range []any{&ns, &policy, nil, nil, &role} {
		if into == nil {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(docs[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	if ns.Name != cluster.NodeNamespace || ns.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
		t.Errorf("namespace %s enforces %q", ns.Name, ns.Labels["pod-security.kubernetes.io/enforce"])
	}
	if policy.Namespace != ns.Name || len(policy.Spec.PodSelector.MatchLabels) > 0 || len(policy.Spec.PolicyTypes) != 2 || policy.Spec.Ingress != nil || policy.Spec.Egress != nil {
		t.Errorf("policy %+v", policy)
	}
	made, err := cluster.YAML(cluster.RBAC(nodepod.Rules(), cluster.Grant{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(made, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(role, want) {
		t.Errorf("role %+v, the rules say %+v", role, want)
	}
}

// TestNobodyIsRootOnTheNodesUnasked: what a responder holds by default makes no node pod.
func TestNobodyIsRootOnTheNodesUnasked(t *testing.T) {
	for _, r := range rules(t) {
		if r.Scope == evidence.InNodes {
			t.Errorf("the roles of every responder have %+v", r)
		}
	}
}

func TestSystemNamespaceIsRestricted(t *testing.T) {
	var ns corev1.Namespace
	if err := yaml.Unmarshal([]byte(strings.Split(string(deploy.System()), "\n---\n")[0]), &ns); err != nil {
		t.Fatal(err)
	}
	if ns.Name != cluster.SystemNamespace || ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("namespace %s enforces %q", ns.Name, ns.Labels["pod-security.kubernetes.io/enforce"])
	}
}

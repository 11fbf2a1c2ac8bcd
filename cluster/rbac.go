package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/evidence"
)

// defaultName begins the names of roles and bindings.
const defaultName = "irkit"

// Grant says how the objects of RBAC are to be named and bound.
type Grant struct {
	Name      string           // empty: irkit
	Namespace string           // bind what the target's namespace needs there; empty: no binding
	Subjects  []rbacv1.Subject // who; none: roles without bindings
}

// RBAC is what grants the rules: a ClusterRole for each of the target's namespace
// (bound where an incident is) and the cluster, and a Role in each of irkit's own
// namespaces. Deterministic; verbs of one resource are merged; no wildcard.
func RBAC(rules []evidence.Rule, g Grant) []runtime.Object {
	if g.Name == "" {
		g.Name = defaultName
	}
	var out []runtime.Object
	for _, s := range []evidence.Scope{evidence.InCluster, evidence.InTarget, evidence.InSystem, evidence.InNodes} {
		pr := policyRules(rules, s)
		if len(pr) == 0 {
			continue
		}
		name := g.Name + "-" + string(s)
		if ns := Namespace(s, evidence.Target{}); ns != "" {
			out = append(out, &rbacv1.Role{TypeMeta: rbacType("Role"), ObjectMeta: metav1.ObjectMeta{Name: g.Name, Namespace: ns}, Rules: pr})
			if len(g.Subjects) > 0 {
				out = append(out, roleBinding(g.Name, ns, "Role", g.Name, g.Subjects))
			}
			continue
		}
		out = append(out, &rbacv1.ClusterRole{TypeMeta: rbacType("ClusterRole"), ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: pr})
		switch {
		case len(g.Subjects) == 0:
		case s == evidence.InCluster:
			out = append(out, &rbacv1.ClusterRoleBinding{TypeMeta: rbacType("ClusterRoleBinding"),
				ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: g.Subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}})
		case g.Namespace != "":
			out = append(out, roleBinding(name, g.Namespace, "ClusterRole", name, g.Subjects))
		}
	}
	return out
}

func rbacType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
}

func roleBinding(name, ns, refKind, ref string, who []rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{TypeMeta: rbacType("RoleBinding"), ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
		Subjects: who, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: refKind, Name: ref}}
}

// policyRules merges the verbs of one resource, then the resources of one group that
// need the same verbs.
func policyRules(rules []evidence.Rule, s evidence.Scope) []rbacv1.PolicyRule {
	verbs := map[[2]string][]string{} // group, resource[/sub]
	for _, r := range rules {
		if r.Scope != s {
			continue
		}
		res := r.Resource
		if r.Sub != "" {
			res += "/" + r.Sub
		}
		k := [2]string{r.Group, res}
		for _, v := range r.Verbs {
			if !slices.Contains(verbs[k], v) {
				verbs[k] = append(verbs[k], v)
			}
		}
	}
	merged := map[[2]string][]string{} // group, verbs
	for k, v := range verbs {
		sort.Strings(v)
		m := [2]string{k[0], strings.Join(v, ",")}
		merged[m] = append(merged[m], k[1])
	}
	var out []rbacv1.PolicyRule
	for m, res := range merged {
		sort.Strings(res)
		out = append(out, rbacv1.PolicyRule{APIGroups: []string{m[0]}, Resources: res, Verbs: strings.Split(m[1], ",")})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.APIGroups[0] != b.APIGroups[0] {
			return a.APIGroups[0] < b.APIGroups[0]
		}
		return a.Resources[0] < b.Resources[0]
	})
	return out
}

// YAML writes the objects as kubectl apply reads them.
func YAML(objs []runtime.Object) ([]byte, error) {
	var b bytes.Buffer
	for i, o := range objs {
		y, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("write %T as yaml: %w", o, err)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(bytes.ReplaceAll(y, []byte("  creationTimestamp: null\n"), nil))
	}
	return b.Bytes(), nil
}

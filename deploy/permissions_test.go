package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
)

const permissionsHead = `# Permissions

What irkit asks of a cluster, and what for. This page is made from the rules in the code
(` + "`go test ./deploy -update`" + `); so are the check before every session and ` + "`irkit rbac`" + `, which
prints the same as roles. Nothing here is a wildcard. Only revoke asks for Secrets: their
names, but RBAC knows no such right without their values.

A *required* right is one without which irkit refuses and changes nothing; without another,
something is left out, and the plan says what. *target* is the namespace of the pod,
*system* is irkit-system, *nodes* is irkit-node, *cluster* is cluster-wide.

`

// purposes are those of irkit rbac --for, with what they are.
func purposes() [][2]string {
	return [][2]string{
		{"contain", "Plan, contain, status and release. Roles: `irkit rbac`."},
		{"collect", "Evidence without isolation. Roles: `irkit rbac --for collect`."},
		{"snapshot", "Snapshots of the target's volumes, part of contain and collect where the pod has claims. Roles: `irkit rbac --for snapshot`."},
		{"revoke", "Credentials of the target's service account, by a person's choice. Roles: `irkit rbac --for revoke`."},
	}
}

// TestPermissionsAreThoseOfTheRules keeps docs/permissions.md equal to the code.
func TestPermissionsAreThoseOfTheRules(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(permissionsHead)
	for _, p := range purposes() {
		rules, err := playbooks.RulesFor([]string{p[0]}, actions.Standard(), actions.Sources())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", p[0], p[1])
		b.WriteString(permissionTable(rules))
		b.WriteString("\n")
	}
	b.WriteString("## node\n\nA hand on the target's node, where admission takes none beside it: root on the nodes, for few. Roles: `irkit rbac --for node`.\n\n")
	b.WriteString(permissionTable(nodepod.Rules()) + "\n")
	const path = "../docs/permissions.md"
	want := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/permissions.md is not what the rules say; run: go test ./deploy -update")
	}
}

// permissionTable is one row for each resource, scope and need: verbs and reasons joined.
func permissionTable(rules []evidence.Rule) string {
	type row struct {
		resource string
		scope    evidence.Scope
		required bool
	}
	verbs, why := map[row][]string{}, map[row][]string{}
	var rows []row
	for _, r := range rules {
		at := row{cluster.Resource(r), r.Scope, r.Required}
		if verbs[at] == nil {
			rows = append(rows, at)
		}
		for _, v := range r.Verbs {
			if !slices.Contains(verbs[at], v) {
				verbs[at] = append(verbs[at], v)
			}
		}
		if !slices.Contains(why[at], r.Why) {
			why[at] = append(why[at], r.Why)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return strings.Compare(string(a.scope)+a.resource, string(b.scope)+b.resource)
	})
	var b strings.Builder
	b.WriteString("| where | resource | verbs | required | for |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		need := "no"
		if r.required {
			need = "yes"
		}
		slices.Sort(verbs[r])
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", r.scope, r.resource, strings.Join(verbs[r], ", "), need, strings.ReplaceAll(strings.Join(why[r], "; "), "|", "\\|"))
	}
	return b.String()
}

// TestEveryPurposeIsDescribed: no purpose of irkit rbac is missing from the page, and none
// but revoke grants deletion of what is not irkit's or the target.
func TestEveryPurposeIsDescribed(t *testing.T) {
	var named []string
	for _, p := range purposes() {
		named = append(named, p[0])
	}
	for name := range actions.Sources() {
		if !slices.Contains(named, name) {
			t.Errorf("purpose %s is not in docs/permissions.md", name)
		}
	}
	for _, unknown := range [][]string{{"snapshots"}, {"everything"}, {}, {"contain", "nosuch"}} {
		if rules, err := playbooks.RulesFor(unknown, actions.Standard(), actions.Sources()); err == nil {
			t.Errorf("%q: %d rules", unknown, len(rules))
		}
	}
	rules, err := playbooks.RulesFor([]string{"collect"}, actions.Standard(), actions.Sources())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Scope == evidence.InTarget && r.Sub == "" && r.Resource != "pods" && r.Resource != "volumesnapshots" && slices.ContainsFunc(r.Verbs, func(v string) bool { return v == "create" || v == "delete" || v == "patch" }) {
			t.Errorf("collecting alone may %v %s", r.Verbs, cluster.Resource(r))
		}
		if r.Scope == evidence.InTarget && r.Resource == "pods" && r.Sub == "" && slices.Contains(r.Verbs, "delete") {
			t.Error("collecting alone may delete pods")
		}
	}
}

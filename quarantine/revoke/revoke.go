// Package revoke takes credentials of the target's service account away: its bindings, its
// legacy tokens, or the account itself, whose UID every token carries. Each is a layer, and
// each is chosen by a person: no playbook that irkit ships has one.
package revoke

import (
	"encoding/json"
	"fmt"
	"slices"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Names of the layers, in the order in which they are applied.
const (
	Bindings      = "bindings"       // the account named in (Cluster)RoleBindings
	LegacyTokens  = "legacy-tokens"  // its token secrets, marked invalid
	DeletedTokens = "deleted-tokens" // its token secrets, deleted
	Account       = "account"        // deleted and made anew
)

// Steps are all names, in order.
func Steps() []string { return []string{Bindings, LegacyTokens, DeletedTokens, Account} }

// Is reports the name of one of these layers: release leaves their changes alone.
func Is(layer string) bool { return slices.Contains(Steps(), layer) }

// Layers are all of them, by name.
func Layers(conn *cluster.Conn) map[string]quarantine.Layer {
	return map[string]quarantine.Layer{
		Bindings:      bindings{conn},
		LegacyTokens:  tokens{conn: conn},
		DeletedTokens: tokens{conn: conn, delete: true},
		Account:       account{conn},
	}
}

// Rules are the permissions of all of them, on any target, for `irkit rbac`. Not among them
// is bind: without it the API server lets nobody write a binding whose rights are not
// theirs, so that a binding can be deleted but not made again or shortened.
func Rules() []evidence.Rule {
	out := quarantine.SecretRules()
	for _, name := range Steps() {
		out = append(out, Layers(nil)[name].Traits().Rules...)
	}
	return out
}

// RulesOf are the permissions that these changes need in this target's namespace and the
// cluster; required but for those of bindings in other namespaces, where they may be held
// without being held everywhere.
func RulesOf(t evidence.Target, changes []evidence.Change) []evidence.Rule {
	var out []evidence.Rule
	for _, c := range changes {
		group, resource := "rbac.authorization.k8s.io", "rolebindings"
		switch c.Object.Kind {
		case "ClusterRoleBinding":
			resource = "clusterrolebindings"
		case "Secret":
			group, resource = "", "secrets"
		case "ServiceAccount":
			group, resource = "", "serviceaccounts"
		}
		verbs := map[evidence.Op][]string{evidence.OpDelete: {"delete"}, evidence.OpPatch: {"patch"}, evidence.OpCreate: {"create"}}[c.Op]
		if c.Layer == Account {
			verbs = []string{"delete", "create"}
		}
		scope := evidence.InTarget
		if c.Object.Namespace != t.Namespace {
			scope = evidence.InCluster
		}
		out = append(out, evidence.Rule{Group: group, Resource: resource, Verbs: verbs, Scope: scope,
			Required: c.Object.Namespace == "" || c.Object.Namespace == t.Namespace, Why: c.Why})
	}
	return out
}

// identity is the scene's, for a layer that cannot do without.
func identity(s quarantine.Scene, t evidence.Target, layer string) (*quarantine.Identity, error) {
	if s.Target != t {
		return nil, fmt.Errorf("prepare %s for %s: the scene is that of %s", layer, t, s.Target)
	}
	if s.Identity == nil {
		return nil, fmt.Errorf("prepare %s for %s: its service account was not surveyed: %w", layer, t, quarantine.ErrUnsuited)
	}
	return s.Identity, nil
}

// op is one operation of a JSON patch (RFC 6902). A null value is written.
type op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", v, err)) // only strings, maps and API values come here
	}
	return b
}

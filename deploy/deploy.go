// Package deploy holds what irkit needs in a cluster, as kubectl apply reads it: its
// namespaces, and the roles of a responder. rbac.yaml is made from the rules in the code; a
// test keeps both equal.
package deploy

import _ "embed"

//go:embed irkit-system.yaml
var system []byte

//go:embed irkit-node.yaml
var node []byte

//go:embed rbac.yaml
var rbac []byte

// System is namespace irkit-system, where the probe pod runs.
func System() []byte { return append([]byte(nil), system...) }

// Node is namespace irkit-node, where node pods run, with its Role, which nobody has yet.
func Node() []byte { return append([]byte(nil), node...) }

// RBAC are the roles of a responder, without bindings.
func RBAC() []byte { return append([]byte(nil), rbac...) }

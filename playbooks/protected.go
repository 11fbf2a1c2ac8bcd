package playbooks

import (
	"errors"
	"slices"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// ErrProtected refuses an order against a namespace that more than its own tenant lives
// on. Nothing was changed.
var ErrProtected = errors.New("namespace is protected")

// LabelProtected on a namespace, with any value but "false", asks for --force.
const LabelProtected = "irkit.dev/protected"

// protects says why a namespace's pods are isolated only with force; empty: it is one as
// any other. also are the names that the responder's own side protects.
func protects(ns quarantine.Namespace, also []string) string {
	switch ns.Name {
	case "kube-system", "kube-public", "kube-node-lease":
		return "it is Kubernetes' own: the control plane, DNS and the network live there"
	case cluster.SystemNamespace, cluster.NodeNamespace:
		return "it is irkit's own"
	case "cilium", "cilium-system", "cilium-secrets", "calico-system", "calico-apiserver", "tigera-operator", "kube-flannel",
		"kube-router", "antrea-system", "weave", "kube-ovn", "openshift-sdn", "openshift-ovn-kubernetes", "openshift-multus":
		return "a cluster's network usually lives there"
	case "openshift-apiserver", "openshift-etcd", "openshift-kube-apiserver", "openshift-kube-controller-manager",
		"openshift-kube-scheduler", "openshift-dns", "openshift-authentication":
		return "a cluster's control plane usually lives there"
	}
	if slices.Contains(also, ns.Name) {
		return "--protected or IRKIT_PROTECTED names it"
	}
	if v, there := ns.Labels[LabelProtected]; there && v != "false" {
		return "its label " + LabelProtected + " says so"
	}
	return ""
}

// guard says in the forecast that the target's namespace is protected, and what force
// makes of that. Collecting alone isolates nothing, and is not held up.
func (p *Prospect) guard(o Order) {
	if len(p.Needs.Layers) == 0 {
		return
	}
	for _, f := range p.Forecast.Findings {
		if f.Severity == evidence.Refused && f.Code == quarantine.AllowTooWide {
			p.Guard = f.Text
		}
	}
	why := protects(p.Scene.Namespace, o.Protected)
	if why == "" {
		return
	}
	f := evidence.Finding{Severity: evidence.Warning, Code: "protected-namespace", Object: p.Scene.Namespace.Name,
		Text: "namespace " + p.Scene.Namespace.Name + " is protected (" + why + "), and --force goes on all the same"}
	if !o.Force {
		p.Guard = "namespace " + p.Scene.Namespace.Name + " is protected: " + why
		f.Severity, f.Text = evidence.Refused, p.Guard+"; --force would go on"
	}
	p.Forecast.Findings = append([]evidence.Finding{f}, p.Forecast.Findings...)
}

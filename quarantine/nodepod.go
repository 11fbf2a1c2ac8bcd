package quarantine

import (
	"fmt"
	"strings"

	"irkit.dev/irkit/evidence"
)

// NodePods says whether a node pod (agent/nodepod) may be had. Survey does not know it:
// who asked for our rights fills it in.
type NodePods struct {
	Ready   bool     `json:"ready"`
	Missing []string `json:"missing,omitempty"` // what is not there or not allowed, a few words each
	Setup   string   `json:"setup,omitempty"`   // the command that sets it up
}

// NeedsNodePod says why a hand that can cut will not be admitted beside the target, as far
// as that shows before it is tried; empty: nothing speaks against it.
func NeedsNodePod(s Scene) string {
	if s.mirror() {
		return "a static pod takes no ephemeral container"
	}
	switch level := s.Namespace.Labels["pod-security.kubernetes.io/enforce"]; level {
	case "baseline", "restricted":
		return fmt.Sprintf("namespace %s enforces Pod Security level %s, which admits no hand that can cut", s.Namespace.Name, level)
	}
	return ""
}

// nodePod says what a cut from the node means, or what is missing for one.
func (f *forecaster) nodePod() {
	why := NeedsNodePod(f.s)
	if code, _ := unsuited(f.s, LayerNetns); why == "" || code != "" {
		return
	}
	if f.s.NodePods.Ready {
		f.add(evidence.Warning, "node-pod", LayerNetns, "", fmt.Sprintf(
			"%s: the cut will be made from a node pod in irkit-node, privileged on node %s until the session ends; the cut outlives it, and release starts one again", why, f.s.Target.Node))
		return
	}
	f.add(evidence.Warning, "node-pod-missing", LayerNetns, "", why+": the cut needs "+f.s.NodePods.without()+"; without it the policy alone has to hold")
}

// without is what is missing for a node pod, with what to do.
func (n NodePods) without() string {
	text := "a node pod, which cannot be had"
	if len(n.Missing) > 0 {
		text += " (" + strings.Join(n.Missing, ", ") + ")"
	}
	if n.Setup != "" {
		text += "; " + n.Setup + " sets it up"
	}
	return text
}

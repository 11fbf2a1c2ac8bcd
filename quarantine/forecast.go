package quarantine

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/evidence"
)

// Forecast says what will follow from the layers that are wanted, what cannot be, and
// why, before anything is written. Pure: the same scene gives the same forecast.
func Forecast(s Scene, t evidence.Target, w Want) evidence.Forecast {
	f := &forecaster{s: s, w: w, out: evidence.Forecast{Target: t, Layers: []string{}, Refused: []string{}, Findings: []evidence.Finding{}}}
	f.state()
	f.lock()
	f.network()
	f.deny()
	f.exceptions()
	f.probes()
	f.owner()
	f.service()
	f.protection()
	f.identity()
	f.node()
	for _, g := range s.Gaps {
		f.add(evidence.Note, "gap", "", "", fmt.Sprintf("not known: %s: %s", g.What, g.Why))
	}
	for _, l := range DefaultLayers() {
		switch {
		case !w.wants(l):
		case slices.Contains(f.out.Refused, l):
		default:
			f.out.Layers = append(f.out.Layers, l)
		}
	}
	return f.out
}

// forecaster gathers findings; each method below looks at one side of the scene.
type forecaster struct {
	s   Scene
	w   Want
	out evidence.Forecast
}

func (f *forecaster) add(sev evidence.Severity, code, layer, object, text string) {
	if layer != "" && !f.w.wants(layer) {
		return
	}
	if sev == evidence.Refused && layer != "" && !slices.Contains(f.out.Refused, layer) {
		f.out.Refused = append(f.out.Refused, layer)
	}
	f.out.Findings = append(f.out.Findings, evidence.Finding{Severity: sev, Code: code, Layer: layer, Object: object, Text: text})
}

func (f *forecaster) refuse(code, text string, layers ...string) {
	for _, l := range layers {
		f.add(evidence.Refused, code, l, "", text)
	}
}

// state looks at the pod itself. unsuited holds what refuses a layer, and Prepare of
// the layer refuses by the same rule.
func (f *forecaster) state() {
	s := f.s
	for _, l := range DefaultLayers() {
		code, why := unsuited(s, l)
		switch {
		case code == noDeny && f.w.wants(l): // most clusters have none: nothing is wrong
			f.out.Refused = append(f.out.Refused, l)
			f.add(evidence.Note, code, "", "", why)
		case code != "":
			f.refuse(code, why, l)
		}
	}
	if s.terminal() {
		f.add(evidence.Warning, "target-terminal", "", "", fmt.Sprintf("the pod has ended (%s): no process runs, and only what the API and the node keep can be collected", s.Pod.Status.Phase))
	}
	if s.Pod.DeletionTimestamp != nil {
		f.add(evidence.Warning, "target-deleting", "", "", fmt.Sprintf("the pod is being deleted: the kubelet ends it by %s at the latest, and nothing written to the API stops that",
			s.Pod.DeletionTimestamp.UTC().Format("15:04:05 UTC")))
	}
	if s.Namespace.Deleting {
		f.add(evidence.Warning, "namespace-deleting", "", "", "the namespace is being deleted: no object can be created in it, and the pod goes with it")
	}
	for _, st := range append(slices.Clone(s.Pod.Status.InitContainerStatuses), s.Pod.Status.ContainerStatuses...) {
		if why := notRunning(st); why != "" && !s.terminal() {
			f.add(evidence.Note, "container-not-running", "", st.Name, fmt.Sprintf("container %q does not run (%s): its memory and processes cannot be had", st.Name, why))
		}
	}
	f.nodePod()
	f.escape()
}

func notRunning(st corev1.ContainerStatus) string {
	switch {
	case st.State.Running != nil:
		return ""
	case st.State.Terminated != nil && st.State.Terminated.ExitCode == 0:
		return "" // an init container that did its work
	case st.State.Terminated != nil:
		return "ended, " + st.State.Terminated.Reason
	case st.State.Waiting != nil:
		return "waiting, " + st.State.Waiting.Reason
	}
	return "no state"
}

const noDeny = "no-deny-api"

// unsuited says why a layer cannot be applied in this scene; empty: it can.
func unsuited(s Scene, layer string) (code, why string) {
	network := layer == LayerNetns || layer == LayerNetpol || layer == LayerDeny
	switch {
	case layer == LayerDeny && len(s.CNI.Deny) == 0:
		return noDeny, "the cluster has no API in which a deny could be written: what another's policy allows, no policy of ours takes away"
	case network && s.Pod.Spec.HostNetwork:
		return "host-network", "the pod uses the node's network: cutting it would cut the node, and a NetworkPolicy does not reach it; contain the node instead"
	case layer == LayerNetns && s.windows():
		return "windows", "the pod runs on Windows, where the cut does not exist"
	case layer == LayerNetns && s.mirror() && !s.NodePods.Ready:
		return "static-pod", "a static pod takes no ephemeral container, so that no hand can be placed beside it; it needs " + s.NodePods.without()
	case layer == LayerDetach && s.mirror():
		return "static-pod", "a static pod belongs to its node's kubelet: labels and owner of its mirror decide nothing"
	case layer == LayerNetns && s.terminal():
		return "target-terminal", "the pod has ended: there is no network namespace to cut"
	case layer == LayerNetns && s.Pod.Spec.NodeName == "":
		return "target-pending", "the pod has no node yet: there is no network namespace to cut"
	case layer == LayerNetns && !anyRunning(s):
		return "target-pending", "no container of the pod runs: there is no hand to be placed beside it"
	case layer == LayerProtect && s.mirror():
		return "static-pod", "a static pod belongs to its node's kubelet: no eviction through the API ends it, and its mirror decides nothing"
	case layer == LayerCordon && s.Pod.Spec.NodeName == "":
		return "target-pending", "the pod has no node yet"
	case layer == LayerCordon && s.Node == nil:
		return "node-unknown", "the node could not be read, so that it cannot be cordoned"
	}
	return "", ""
}

func anyRunning(s Scene) bool {
	st := s.Pod.Status
	for _, c := range append(slices.Clone(st.ContainerStatuses), st.InitContainerStatuses...) {
		if c.State.Running != nil {
			return true
		}
	}
	return false
}

// escape names what lets the target act outside its own walls.
func (f *forecaster) escape() {
	s := f.s
	var ways []string
	if s.Pod.Spec.HostPID {
		ways = append(ways, "hostPID")
	}
	for _, v := range s.Pod.Spec.Volumes {
		if v.HostPath != nil {
			ways = append(ways, "hostPath "+v.HostPath.Path)
		}
	}
	var brake []string
	hands := hands(&s.Pod.Spec)
	for _, c := range allContainers(&s.Pod.Spec) {
		if slices.Contains(hands, c.Name) {
			f.add(evidence.Note, "hand-there", "", c.Name, fmt.Sprintf("ephemeral container %q is, by its name, a hand of an earlier irkit; what it may do is not counted as the target's", c.Name))
			continue
		}
		if privileged(c.SecurityContext) {
			ways = append(ways, fmt.Sprintf("container %q is privileged", c.Name))
		}
		if why := netAdmin(c.SecurityContext); why != "" {
			brake = append(brake, fmt.Sprintf("container %q %s", c.Name, why))
		}
	}
	if len(ways) > 0 {
		f.add(evidence.Warning, "node-reach", "", "", "the target could act on its node ("+strings.Join(ways, "; ")+"): containing the pod does not contain the node")
	}
	if len(brake) > 0 {
		f.add(evidence.Warning, "target-can-undo", LayerNetns, "", strings.Join(brake, "; ")+": it could take the cut away, which then is only a brake")
	}
}

// hands are the ephemeral containers that carry the name of irkit's hands.
func hands(spec *corev1.PodSpec) []string {
	var out []string
	for _, e := range spec.EphemeralContainers {
		if strings.HasPrefix(e.Name, "irkit-") {
			out = append(out, e.Name)
		}
	}
	return out
}

// allContainers are the containers of every kind.
func allContainers(spec *corev1.PodSpec) []corev1.Container {
	out := append(slices.Clone(spec.InitContainers), spec.Containers...)
	for _, e := range spec.EphemeralContainers {
		out = append(out, corev1.Container(e.EphemeralContainerCommon))
	}
	return out
}

func privileged(sc *corev1.SecurityContext) bool {
	return sc != nil && sc.Privileged != nil && *sc.Privileged
}

func netAdmin(sc *corev1.SecurityContext) string {
	if privileged(sc) {
		return "is privileged"
	}
	if sc != nil && sc.Capabilities != nil {
		for _, c := range sc.Capabilities.Add {
			if c == "NET_ADMIN" || c == "CAP_NET_ADMIN" || c == "ALL" {
				return "has " + string(c)
			}
		}
	}
	return ""
}

// lock looks for another irkit on the target.
func (f *forecaster) lock() {
	h := f.s.Quarantine
	switch {
	case h == nil:
	case h.Case == f.w.Case:
		f.add(evidence.Note, "held-by-this-case", "", "", fmt.Sprintf("case %q holds this pod already: what stands is kept, what is missing is added", h.Case))
	case f.w.Force:
		f.add(evidence.Warning, "held-by-other-case", "", "", fmt.Sprintf("case %q holds this pod and is taken over; release puts its mark back", h.Case))
	default:
		f.add(evidence.Refused, "held-by-other-case", "", "", fmt.Sprintf("case %q holds this pod: join it with --case %s, or take it over with --force", h.Case, h.Case))
	}
	for _, o := range f.s.Siblings {
		if o.Quarantine == f.w.Case && f.w.Case != "" {
			f.add(evidence.Note, "case-has-sibling", "", o.Name, fmt.Sprintf("pod %s is held by the same case: the policy stays until both are released", o.Name))
		}
	}
}

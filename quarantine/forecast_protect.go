package quarantine

import (
	"fmt"
	"strings"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// protection says who will find that the pod cannot be moved, and what ends it all the same.
func (f *forecaster) protection() {
	if !f.w.wants(LayerProtect) || f.s.mirror() {
		return
	}
	node := "its node"
	if n := f.s.Pod.Spec.NodeName; n != "" {
		node = "node " + n
	}
	f.add(evidence.Note, "evictions-stop", LayerProtect, "", fmt.Sprintf(
		"no eviction takes the pod: kubectl drain of %s does not end, and autoscalers leave that node alone, until release", node))
	f.add(evidence.Note, "deletion-goes-on", LayerProtect, "",
		"a DELETE, a NoExecute taint, the node's own shortage of memory or disk, and the node's end still end the pod's containers: a budget stops evictions alone")
	future := FutureLabels(f.s, f.w)
	for i := range f.s.Budgets {
		b := &f.s.Budgets[i]
		if made(b.Name, b.Labels, f.w.Case) || b.Spec.Selector == nil || !reach.Selects(b.Spec.Selector, future) {
			continue
		}
		f.add(evidence.Note, "budget-beside", LayerProtect, b.Name, fmt.Sprintf(
			"PodDisruptionBudget %s selects the pod too: an eviction is then answered with an error (500, more than one budget) instead of 429, and kubectl drain ends with it; the pod stays all the same", b.Name))
	}
	if f.s.terminal() {
		f.add(evidence.Note, "budget-ignored", LayerProtect, "", "the pod has ended: a budget does not keep a pod that does not run from eviction")
	}
	f.hold()
}

// hold says what the finalizer keeps, and whom it keeps waiting.
func (f *forecaster) hold() {
	if !f.w.Hold {
		return
	}
	if f.s.Pod.DeletionTimestamp != nil {
		f.add(evidence.Warning, "hold-too-late", LayerProtect, "", "the pod is being deleted already: the API server takes no finalizer any more, and --hold does nothing")
		return
	}
	f.add(evidence.Warning, "object-held", LayerProtect, "", fmt.Sprintf(
		"finalizer %s: a DELETE leaves the pod's object (its status, exit statuses and times) as Terminating until release, and keeps no process, memory or file, since the kubelet ends the containers all the same; kubectl delete of the pod waits, and so does the deletion of namespace %s",
		evidence.Finalizer, f.s.Target.Namespace))
	ref := f.s.controller()
	if ref == nil {
		return
	}
	keep, _ := keepOwner(f.s, f.w)
	if ref.Kind == "StatefulSet" || keep && strings.HasSuffix(ref.Kind, "Set") {
		f.add(evidence.Warning, "successor-waits", LayerProtect, ref.Kind+"/"+ref.Name, fmt.Sprintf(
			"%s/%s cannot make a successor as long as the pod is Terminating: deleting it does not bring the service back, irkit release --delete-pod does", ref.Kind, ref.Name))
	}
}

package quarantine

import (
	"fmt"
	"strings"

	"irkit.dev/irkit/evidence"
)

// owner looks at what the controller will do once the pod is detached.
func (f *forecaster) owner() {
	if !f.w.wants(LayerDetach) || f.s.mirror() {
		return
	}
	for _, r := range f.s.Pod.OwnerReferences {
		if r.Controller == nil || !*r.Controller {
			f.add(evidence.Warning, "other-owner", LayerDetach, r.Kind+"/"+r.Name, fmt.Sprintf("%s/%s owns the pod too and stays its owner: when it is deleted, the evidence is", r.Kind, r.Name))
		}
	}
	ref := f.s.controller()
	if ref == nil {
		f.add(evidence.Note, "no-owner", LayerDetach, "", "no controller owns the pod: nothing replaces it, and only its labels are stripped")
		f.reapers()
		return
	}
	name := ref.Kind + "/" + ref.Name
	keep, why := keepOwner(f.s, f.w)
	if keep {
		f.add(evidence.Note, "owner-kept", LayerDetach, name, fmt.Sprintf("labels are stripped and %s stays the owner (%s)", name, why))
	}
	code, text := replacement(ref.Kind, name, f.s.Target)
	if _, ok := known(ref.APIVersion, ref.Kind); !ok {
		code, text = "unknown-controller", fmt.Sprintf("%s is no controller that irkit knows: it may start another pod, label this one again, or delete it; it is watched", name)
	}
	f.add(evidence.Warning, code, LayerDetach, name, text)
	o, found := f.managing(string(ref.UID))
	if o.Deleting {
		f.add(evidence.Warning, "owner-deleting", LayerDetach, name, name+" is being deleted: as long as the pod is owned by it, the garbage collector deletes the pod too")
	}
	if found && o.Template != nil {
		f.add(evidence.Warning, "replacement-same", LayerDetach, name, fmt.Sprintf("what replaces the pod is made of the same: %s", templateText(o.Template)))
	}
	for _, up := range f.s.Owners {
		if up.Of == o.UID && up.Controller && found {
			f.add(evidence.Note, "owner-above", LayerDetach, up.Kind+"/"+up.Name, fmt.Sprintf("%s is managed by %s/%s, whose rollouts go on untouched", name, up.Kind, up.Name))
		}
	}
	if !keep {
		f.reapers()
	}
}

func (f *forecaster) managing(uid string) (Owner, bool) {
	for _, o := range f.s.Owners {
		if o.UID == uid {
			return o, o.Found
		}
	}
	return Owner{}, false
}

// replacement is the owner table: what each controller does when its pod is released
// (k8s.io/kubernetes: replica_set.go, stateful_pod_control.go, daemon_controller.go,
// job_controller.go).
func replacement(kind, name string, t evidence.Target) (code, text string) {
	switch kind {
	case "StatefulSet":
		return "ordinal-empty", fmt.Sprintf("%s cannot replace the pod, whose name is taken: the ordinal stays empty, ordered scaling and updates wait (no event says so: the controller only logs its create errors); its volume stays with the evidence; the pod returns cleanly", name)
	case "DaemonSet":
		return "twin-on-node", fmt.Sprintf("%s starts a twin on the same node at once (a clash where it holds a port of the node); on return the oldest pod wins", name)
	case "Job":
		return "job-runs-another", fmt.Sprintf("%s runs another pod; the time to live after the Job's end no longer removes this one, and on return it may exceed the completions", name)
	case "ReplicaSet", "ReplicationController":
		return "replacement-starts", fmt.Sprintf("%s starts a replacement at once; back in service there is one pod too many and the controller deletes one, not-ready first", name)
	}
	return "unknown-controller", fmt.Sprintf("what %s does is not known", name)
}

func templateText(t *Template) string {
	parts := []string{"image " + strings.Join(t.Images, ", ")}
	if len(t.Secrets) > 0 {
		parts = append(parts, "secrets "+strings.Join(t.Secrets, ", "))
	}
	account := t.ServiceAccount
	if account == "" {
		account = "default"
	}
	return strings.Join(append(parts, "service account "+account), "; ") + "; who came in once may come in again"
}

func (f *forecaster) reapers() {
	for _, r := range f.s.Reapers {
		f.add(evidence.Warning, "reaper", LayerDetach, r, "a pod without owner may be deleted by "+r)
	}
}

// node looks at the node.
func (f *forecaster) node() {
	if f.s.Node == nil {
		return
	}
	if f.s.Node.Unschedulable {
		after := "and at release"
		if h := f.s.Quarantine; h != nil && h.Case == f.w.Case {
			after = "and at release, unless this case cordoned it"
		}
		f.add(evidence.Note, "already-cordoned", LayerCordon, f.s.Node.Name, fmt.Sprintf("node %s is cordoned already: it is left so, now %s", f.s.Node.Name, after))
		return
	}
	f.add(evidence.Note, "node-cordoned", LayerCordon, f.s.Node.Name, fmt.Sprintf("node %s takes no new pods; those that run there stay, and nothing is drained", f.s.Node.Name))
}

package objects

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/evidence"
)

// owners files the chain of owners (ReplicaSet, Deployment, …) and gives the UIDs in
// it. An owner of the same name with another UID is not the pod's, and is said so.
func (r *run) owners(pod *corev1.Pod) map[types.UID]bool {
	seen := map[types.UID]bool{}
	todo := append([]metav1.OwnerReference{}, pod.OwnerReferences...)
	var chain []*unstructured.Unstructured
	for len(todo) > 0 && len(seen) < 32 && r.ctx.Err() == nil {
		ref := todo[0]
		todo = todo[1:]
		if seen[ref.UID] {
			continue
		}
		seen[ref.UID] = true
		w, err := owner(ref)
		if err != nil {
			r.absent(w, ref.Kind+" "+ref.Name, err)
			continue
		}
		o, err := r.get(w, ref.Name)
		if err == nil && o.GetUID() != ref.UID {
			a := r.artifact(w, r.path(w, ref.Name))
			a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: fmt.Sprintf("%s %s has UID %s, the owner had %s", ref.Kind, ref.Name, o.GetUID(), ref.UID)}
			r.add(a, nil)
			continue
		}
		if err != nil {
			r.absent(w, r.path(w, ref.Name), err)
			continue
		}
		chain = append(chain, o)
		todo = append(todo, o.GetOwnerReferences()...)
	}
	if len(chain) > 0 {
		r.objects(what{kind: "owners", class: evidence.Restricted}, "owner references of the pod", chain)
	}
	return seen
}

// owner is where an owner is read. Kinds that are not built in are guessed to have the
// usual plural; a wrong guess is answered with "not there".
func owner(ref metav1.OwnerReference) (what, error) {
	w := what{kind: "owners", namespaced: true, class: evidence.Restricted}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return w, fmt.Errorf("owner %s %s: %w", ref.Kind, ref.Name, err)
	}
	w.gvr, _ = meta.UnsafeGuessKindToResource(gv.WithKind(ref.Kind))
	w.namespaced = !(gv.Group == "" && ref.Kind == "Node") // mirror pods belong to their node
	return w, nil
}

// revisions files the ControllerRevisions of the owners: earlier templates.
func (r *run) revisions(owners map[types.UID]bool) {
	if len(owners) == 0 {
		return
	}
	r.list(what{"controllerrevisions", of("apps", "v1", "controllerrevisions"), true, evidence.Restricted, 0}, func(o *unstructured.Unstructured) bool {
		for _, ref := range o.GetOwnerReferences() {
			if owners[ref.UID] {
				return true
			}
		}
		return false
	})
}

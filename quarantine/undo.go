package quarantine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Undo is the data of the undo annotation: what another laptop needs to release the
// target without the case folder.
type Undo struct {
	V      int                     `json:"v"` // 1
	Case   string                  `json:"case"`
	Target evidence.Target         `json:"target"`
	Labels map[string]string       `json:"labels"` // all, as they stood before
	Owners []metav1.OwnerReference `json:"owners,omitempty"`
	// Changes are those whose release the layers know: netns, netpol, deny, detach, protect. That of the
	// label itself is made by Done, since it holds this.
	Changes []evidence.Change `json:"changes"`
}

// annotated is the annotation's form: the signed bytes as one string, and the signature.
type annotated struct {
	Undo      string `json:"undo"`
	Signature string `json:"signature,omitempty"`
}

// undoText is the annotation's value.
func undoText(u Undo, sign func([]byte) (string, error)) (string, error) {
	msg := encode(u)
	a := annotated{Undo: string(msg)}
	if sign != nil {
		sig, err := sign(msg)
		if err != nil {
			return "", fmt.Errorf("sign the undo data: %w", err)
		}
		a.Signature = sig
	}
	return string(encode(a)), nil
}

// ParseUndo splits an undo annotation into its data, the bytes that were signed, and their
// armoured SSHSIG (empty: unsigned). The tenant can write annotations: the caller
// verifies the signature (evidence.UndoNamespace) and that u.Target is the target, before
// it trusts.
func ParseUndo(annotation string) (u Undo, signed []byte, signature string, err error) {
	var a annotated
	if err := json.Unmarshal([]byte(annotation), &a); err != nil {
		return Undo{}, nil, "", fmt.Errorf("read annotation %s: %w", evidence.AnnotationOriginal, err)
	}
	if err := json.Unmarshal([]byte(a.Undo), &u); err != nil {
		return Undo{}, nil, "", fmt.Errorf("read undo data in annotation %s: %w", evidence.AnnotationOriginal, err)
	}
	if u.V != 1 {
		return Undo{}, nil, "", fmt.Errorf("read undo data: version %d is not known", u.V)
	}
	if err := checkCase(u.Case); err != nil {
		return Undo{}, nil, "", fmt.Errorf("read undo data: %w", err)
	}
	return u, []byte(a.Undo), a.Signature, nil
}

// Of pins undo data to the pod that it was found on. It fails with ErrForeign when the data
// names another pod, or another case than the quarantine label that is still on it: then
// somebody moved the annotation, and it says nothing about this pod.
func (u Undo) Of(t evidence.Target, live *corev1.Pod) (Undo, error) {
	was := u.Target
	if was.Namespace != t.Namespace || was.Pod != t.Pod || was.UID != t.UID || t.UID != string(live.UID) {
		return Undo{}, fmt.Errorf("read undo data on pod %s (uid %s): it is of pod %s (uid %s): %w", t, t.UID, was, was.UID, ErrForeign)
	}
	if was.ClusterUID != "" && t.ClusterUID != "" && was.ClusterUID != t.ClusterUID {
		return Undo{}, fmt.Errorf("read undo data on pod %s: it was written in another cluster (%s): %w", t, was.ClusterUID, ErrForeign)
	}
	if mark := live.Labels[evidence.LabelQuarantine]; mark != "" && mark != u.Case {
		return Undo{}, fmt.Errorf("read undo data on pod %s: it is of case %s, and the pod is held by case %q: %w", t, u.Case, mark, ErrForeign)
	}
	u.Target = t
	return u, nil
}

// Done is the undo data as a journal would have it, for PlanRelease, and what of it was
// not taken over, one sentence each. annotation is the value that it was parsed from.
//
// The data is the tenant's to write. So nothing is taken from it but which layers there
// were and the labels that stood before; everything else is made anew from the target and
// the case, as the layers themselves would. A change that names another object than the
// target or a policy of this case is left out, and so is a label that the API server
// would not take, that is irkit's own, or that the data tells in two ways.
func (u Undo) Done(annotation string) (done []Done, left []string) {
	done = []Done{{Change: labelChange(u.Target, u.Case, nil, annotation)}}
	seen := map[string]bool{}
	for _, c := range u.Changes {
		own, bad, why := u.own(c)
		left = append(left, bad...)
		switch {
		case why != "":
			left = append(left, fmt.Sprintf("change %q of layer %q (%s) is left out: %s", short(c.ID), short(c.Layer), short(c.Object.String()), why))
			continue
		case seen[own.ID]:
			continue
		}
		seen[own.ID] = true
		kept, bad := u.valid(own)
		left = append(left, bad...)
		done = append(done, Done{Change: kept})
	}
	return done, left
}

// own makes one of the data's changes anew, and says what of it is left out, or why it is
// not to be made at all.
func (u Undo) own(c evidence.Change) (own evidence.Change, left []string, why string) {
	t := u.Target
	if c.Object.Namespace != t.Namespace && (c.Layer != LayerDeny || c.Object.Namespace != "") {
		return own, nil, "it is not in the pod's namespace"
	}
	onPod := c.Object.Kind == "Pod" && c.Object.Name == t.Pod && c.Object.UID == t.UID
	switch c.Layer {
	case LayerDetach, LayerNetns:
		if !onPod {
			return own, nil, "it names another object than the pod"
		}
	case LayerProtect:
		budget := budgetChange(t, u.Case)
		switch {
		case c.Object.Kind == budget.Object.Kind && c.Object.Name == budget.Object.Name:
			return budget, nil, ""
		case !onPod:
			return own, nil, "it is neither the pod nor the budget of this case"
		}
		return ownProtection(t, c)
	}
	own, why = u.ownNetwork(c)
	return own, nil, why
}

// ownNetwork is own for what stops traffic, and for what takes the pod out of service.
func (u Undo) ownNetwork(c evidence.Change) (own evidence.Change, why string) {
	t := u.Target
	switch c.Layer {
	case LayerDetach:
		c.ID, c.Op, c.Object = LayerDetach+"/patch/pod/"+t.Namespace+"/"+t.Pod+"/"+t.UID, evidence.OpPatch, podObject(t)
		return c, ""
	case LayerNetns:
		return evidence.Change{
			ID: LayerNetns + "/cut/pod/" + t.Namespace + "/" + t.Pod + "/" + t.UID, Layer: LayerNetns, Op: evidence.OpCut, Object: podObject(t),
			Before: json.RawMessage("null"), After: encode(agent.Cut{Case: u.Case}), Why: "drop everything in the pod's network namespace",
		}, ""
	case LayerNetpol:
		switch {
		case c.Object.Kind != "NetworkPolicy":
			return own, "it is no NetworkPolicy"
		case c.Object.Name == policyName(u.Case):
			return policyChange(t, u.Case, c.Object.Name, map[string]string{evidence.LabelQuarantine: u.Case}, "stop all traffic of the case's pods"), ""
		case c.Object.Name == earlyName(u.Case, t):
			on := u.earlySelector(c)
			if len(on) == 0 {
				return own, "what it selected on are no labels that the pod had"
			}
			return policyChange(t, u.Case, c.Object.Name, on, "stop all traffic of the pod"), ""
		}
		return own, "it is no policy of this case"
	}
	if c.Layer == LayerDeny {
		for _, d := range deniers() {
			made := d.change(t, u.Case, map[string]any{})
			if d.kind == c.Object.Kind && made.Object.Name == c.Object.Name && made.Object.APIVersion == c.Object.APIVersion {
				return made, ""
			}
		}
		return own, "it is no policy of this case"
	}
	return own, "this irkit does not undo that layer from an annotation"
}

// earlySelector are the labels of the pod's own that the early policy selected on; its name
// holds the pod's UID, so that they only tell whether somebody changed it since.
func (u Undo) earlySelector(c evidence.Change) map[string]string {
	var p networkingv1.NetworkPolicy
	if json.Unmarshal(c.After, &p) != nil {
		return nil
	}
	on := map[string]string{}
	for k, v := range p.Spec.PodSelector.MatchLabels {
		if u.unfit(k, v) == "" {
			on[k] = v
		}
	}
	return on
}

// valid keeps of a detach change the labels that may go back.
func (u Undo) valid(c evidence.Change) (evidence.Change, []string) {
	if c.Layer != LayerDetach {
		return c, nil
	}
	before, err := decodeFields(c.Before)
	if err != nil {
		before = podFields{}
	}
	keep := podFields{podMeta{Labels: map[string]*string{}, OwnerReferences: controllerOf(u.Owners)}}
	gone := podFields{podMeta{Labels: map[string]*string{}}}
	var left []string
	for _, k := range slices.Sorted(maps.Keys(before.Metadata.Labels)) {
		v := before.Metadata.Labels[k]
		if v == nil {
			continue
		}
		if why := u.unfit(k, *v); why != "" {
			left = append(left, fmt.Sprintf("label %q is not put back: %s", short(k), why))
			continue
		}
		keep.Metadata.Labels[k], gone.Metadata.Labels[k] = v, nil
	}
	c.Before, c.After, c.Why = encode(keep), encode(gone), "take the pod out of service"
	return c, left
}

// unfit says why a label that undo data names is not one to write.
func (u Undo) unfit(key, val string) string {
	if strings.HasPrefix(key, evidence.Domain+"/") {
		return "it is irkit's own"
	}
	if bad := validation.IsQualifiedName(key); len(bad) > 0 {
		return "it is no label's name"
	}
	if bad := validation.IsValidLabelValue(val); len(bad) > 0 {
		return "its value is no label's value"
	}
	if said, there := u.Labels[key]; !there || said != val {
		return "the data tells it in two ways"
	}
	return ""
}

// controllerOf names the controller that will adopt, for the list of what is not written.
func controllerOf(refs []metav1.OwnerReference) *[]metav1.OwnerReference {
	for _, r := range refs {
		if r.Controller != nil && *r.Controller {
			r.Kind, r.Name = short(r.Kind), short(r.Name)
			return &[]metav1.OwnerReference{r}
		}
	}
	return nil
}

package quarantine

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// Changes are those whose release the layers know: netns, netpol, detach. That of the
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

// Done is the undo data as a journal would have it, for PlanRelease. annotation is the
// value that it was parsed from. A change that names another object than the target or
// a policy of this case is left out: undo data must not become a way to touch others.
func (u Undo) Done(annotation string) []Done {
	out := []Done{{Change: labelChange(u.Target, u.Case, nil, annotation)}}
	for _, c := range u.Changes {
		ok := c.Object.Namespace == u.Target.Namespace
		switch c.Layer {
		case LayerDetach, LayerNetns:
			ok = ok && c.Object.Kind == "Pod" && c.Object.Name == u.Target.Pod && c.Object.UID == u.Target.UID
		case LayerNetpol:
			ok = ok && c.Object.Kind == "NetworkPolicy" && (c.Object.Name == policyName(u.Case) || c.Object.Name == earlyName(u.Case, u.Target))
		default:
			ok = false
		}
		if ok {
			out = append(out, Done{Change: c})
		}
	}
	return out
}

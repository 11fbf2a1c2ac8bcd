package evidence

import "encoding/json"

// Op is the kind of a write.
type Op string

// The writes that irkit makes to a cluster.
const (
	OpCreate  Op = "create"
	OpPatch   Op = "patch"
	OpDelete  Op = "delete"
	OpInject  Op = "inject"  // an ephemeral container; cannot be taken back
	OpExec    Op = "exec"    // our binary, streamed into a debug container of ours
	OpCut     Op = "cut"     // packet filter in the pod's network namespace
	OpPinhole Op = "pinhole" // a hole in the cut that closes by itself
)

// Object names one API object. UID is empty while the object does not exist yet.
type Object struct {
	APIVersion string `json:"api_version"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
}

// String is kind/name, with the namespace where there is one.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + "/" + o.Name
	}
	return o.Kind + "/" + o.Name + " in " + o.Namespace
}

// Change is one write, whole: enough to show it before, to make it, to tell
// whether it was made, and to undo exactly it. The same value serves the plan, the
// diff, the dry run, the custody log and release.
//
// ID is deterministic (layer, operation and object), so that a session that is
// run again knows the change that it finds in its journal.
type Change struct {
	ID     string          `json:"id"`
	Layer  string          `json:"layer"` // the layer's name, or "hand", "probe"
	Op     Op              `json:"op"`
	Object Object          `json:"object"`
	Before json.RawMessage `json:"before,omitempty"` // the fields touched, as they stood; null: absent
	After  json.RawMessage `json:"after,omitempty"`  // the fields touched, as they shall stand
	Why    string          `json:"why"`              // one sentence for a person
	// Irreversible says in one sentence what stays for ever; empty when release undoes all.
	Irreversible string `json:"irreversible,omitempty"`
}

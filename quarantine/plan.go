package quarantine

import (
	"encoding/json"
	"time"

	"irkit.dev/irkit/evidence"
)

// Done is a change that the journal says was begun, with the data of its did record;
// Data is nil where only the intend is there (a crash in between): release then
// undoes what it finds.
type Done struct {
	Change evidence.Change
	Data   json.RawMessage
}

// Mode is what a release is for.
type Mode string

// Modes of a release.
const (
	ToService Mode = "to-service" // labels back; the controller adopts
	DeletePod Mode = "delete-pod" // the pod goes, with everything of ours
	// Credentials gives back what was revoked of the service account, and leaves the rest.
	Credentials Mode = "credentials"
)

// StepKind is what a step of a release does.
type StepKind string

// Kinds of steps.
const (
	StepUndo      StepKind = "undo"       // Layer.Release(Undo)
	StepWaitReady StepKind = "wait-ready" // Ready(); at most Limit, then ask
	StepDelete    StepKind = "delete-pod" // DeleteTarget()
)

// Step is one step of a release, in order.
type Step struct {
	Kind   StepKind         `json:"kind"`
	Layer  string           `json:"layer,omitempty"`
	Change *evidence.Change `json:"change,omitempty"` // the write itself, for journal and diff
	Undo   *evidence.Change `json:"undo,omitempty"`   // what the layer is to undo
	Limit  time.Duration    `json:"limit_ns,omitempty"`
	Why    string           `json:"why"`
}

// ReleasePlan is a release as a value.
type ReleasePlan struct {
	Mode    Mode     `json:"mode"`
	Steps   []Step   `json:"steps"`
	Residue []string `json:"residue"` // what stays, one sentence each
	Kept    []string `json:"kept"`    // what others changed since, and is left as it is
}

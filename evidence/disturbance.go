package evidence

import "time"

// Codes of a Disturbance.
const (
	LabelBack     = "label-back"     // a label that was stripped is on the pod again
	OwnerBack     = "owner-back"     // a controller owns the pod again
	MarkGone      = "mark-gone"      // the quarantine label or our note is gone or another
	PolicyGone    = "policy-gone"    // an object that we made was deleted, or another has its name
	PolicyChanged = "policy-changed" // an object that we made says something else now
	Unprotected   = "unprotected"    // what keeps the pod from eviction or its object from going was taken off
	Uncordoned    = "uncordoned"
	Deleting      = "deleting"  // the target is on its way out; who asked is in the audit log
	Gone          = "gone"      // the target is gone, or another pod has its name
	Restarted     = "restarted" // a container of the target; what was in its memory is lost
)

// Disturbance is something that was done to a containment since it was made, by
// someone else than irkit.
type Disturbance struct {
	At     time.Time `json:"at"` // when it was seen
	Code   string    `json:"code"`
	Layer  string    `json:"layer,omitempty"`
	Change string    `json:"change,omitempty"` // ID of the change that no longer stands
	Object string    `json:"object"`
	By     string    `json:"by,omitempty"` // field manager that wrote it, and when; the API server's word
	Text   string    `json:"text"`         // one sentence for a person
}

// Same reports that both tell of one thing, whenever it was seen: who writes the same
// again, does it again.
func (d Disturbance) Same(o Disturbance) bool {
	return d.Code == o.Code && d.Change == o.Change && d.Object == o.Object && d.Text == o.Text && d.By == o.By
}

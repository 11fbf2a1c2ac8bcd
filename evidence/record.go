package evidence

import "time"

// Phase says where in a write a custody record stands.
type Phase string

// Phases. A write has one intend, synced to disk before it, and one did or failed
// after; a record that is no write has none.
const (
	Intend  Phase = "intend"
	Did     Phase = "did"
	FailedP Phase = "failed"
)

// Action is what a custody record tells of.
type Action string

// Actions of custody records.
const (
	ActOpened        Action = "opened"
	ActAuthorised    Action = "authorised"
	ActIsolated      Action = "isolated" // a containment change
	ActRevoked       Action = "revoked"  // credentials of the target's service account
	ActHand          Action = "hand"     // our process beside the target, and probe pods
	ActSnapshot      Action = "snapshot" // of a volume: evidence, which release leaves
	ActCaptured      Action = "captured"
	ActCaptureFailed Action = "capture_failed"
	ActMeasured      Action = "measured" // a verdict
	ActStep          Action = "step"     // a playbook's step began, ended, failed
	ActSealed        Action = "sealed"
	ActUploaded      Action = "uploaded"
	ActLockVerified  Action = "lock_verified"
	ActHashVerified  Action = "hash_verified"
	ActReleased      Action = "released"
	// ActAdopted is a change that another machine made, as the undo annotation tells it, taken
	// over to be released here; phase intend, since nobody here saw it made.
	ActAdopted    Action = "adopted"
	ActRequested  Action = "requested"  // to the API server, and part of no change: audit_ids says which
	ActDisturbed  Action = "disturbed"  // others did something to the containment
	ActReasserted Action = "reasserted" // the hand put the cut back, by itself
	ActRecovered  Action = "recovered"  // what a crash left was set aside or filed
)

// Actor is who acts.
type Actor struct {
	Name   string   `json:"name"`             // the local account
	Kube   string   `json:"kube,omitempty"`   // the user that the API server knows
	Groups []string `json:"groups,omitempty"` // and its groups
	Key    string   `json:"key,omitempty"`    // SHA256:… fingerprint of the signing key
	Host   string   `json:"host,omitempty"`
}

// Authority says on what ground.
type Authority struct {
	Basis    string `json:"basis,omitempty"` // --authority
	Purpose  string `json:"purpose,omitempty"`
	Approver string `json:"approver,omitempty"`
}

// Alteration is a change that collecting could not avoid (ISO/IEC 27037).
type Alteration struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Record is one line of the custody log. Seq, Prev, ID and Time are set by the log.
type Record struct {
	V           int            `json:"v"` // 1
	Seq         int            `json:"seq"`
	Prev        string         `json:"prev"` // SHA-256 of the previous line without its LF; 64 zeros first
	ID          string         `json:"id"`   // ULID
	Bundle      string         `json:"bundle_id"`
	Case        string         `json:"case_id"`
	Time        time.Time      `json:"time_utc"`
	Action      Action         `json:"action"`
	Phase       Phase          `json:"phase,omitempty"`
	Actor       *Actor         `json:"actor,omitempty"`
	Authority   *Authority     `json:"authority,omitempty"`
	Tool        *Tool          `json:"tool,omitempty"`
	Target      *Target        `json:"target,omitempty"`
	Step        string         `json:"step,omitempty"`
	Change      *Change        `json:"change,omitempty"`
	AuditIDs    []string       `json:"audit_ids,omitempty"` // of the API server's own log
	Objects     []Part         `json:"objects,omitempty"`
	Seal        string         `json:"seal_sha256,omitempty"` // of tagmanifest-sha256.txt
	Earlier     *Earlier       `json:"earlier,omitempty"`
	Result      string         `json:"result,omitempty"` // ok, partial, failed
	Errors      []string       `json:"errors,omitempty"`
	Alterations []Alteration   `json:"alterations,omitempty"`
	Note        string         `json:"note,omitempty"`
	Data        map[string]any `json:"data,omitempty"` // what only this action has; no floats
}

// Tool says which program wrote the record.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	SHA256  string `json:"sha256,omitempty"` // of the running program's file
}

// Earlier links a further bag of a case to the one before.
type Earlier struct {
	Bundle string `json:"bundle_id"`
	Seal   string `json:"seal_sha256"`
	Head   string `json:"custody_head"`
}

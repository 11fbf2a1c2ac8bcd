package quarantine

import (
	"context"
	"encoding/json"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Names of the layers, as YAML, flags, log and verdict spell them.
const (
	LayerNetns  = "netns"
	LayerLabel  = "label"
	LayerNetpol = "netpol"
	LayerDeny   = "deny"
	LayerDetach = "detach"
	// LayerProtect keeps the evidence from eviction and, with Want.Hold, its API object.
	LayerProtect = "protect"
	LayerCordon  = "cordon"
)

// Errors of a Layer.
var (
	// ErrForeign says that what is to be written is held by another case, or that an
	// object of the name is there which irkit did not make. Nothing was written.
	ErrForeign = errors.New("held by someone else")
	// ErrContended says that the object changed under every try.
	ErrContended = errors.New("changed under every try")
	// ErrUnsuited says that the layer cannot be applied to this target; the forecast
	// says so too, as a finding of severity Refused.
	ErrUnsuited = errors.New("layer does not suit the target")
)

// Traits are what a layer is, as data.
type Traits struct {
	Name  string
	Rules []evidence.Rule
}

// Layer is one undoable part of the quarantine.
//
// Prepare is pure: the same scene gives the same changes, with the same IDs and in
// the order in which they are to be applied. It fails with ErrUnsuited where the layer
// cannot be, and answers no change where there is nothing to do.
//
// Apply makes one write, after it made sure that the object is the one that was
// prepared (UID), and is harmless when the write was made before: Result.Already
// is then set. A target that is gone or replaced is cluster.ErrReplaced. Release undoes
// exactly c, is harmless when that was done before or the object is gone, and keeps
// what others changed since, saying so in Result.Notes. With what Apply answered at
// hand, call Release with Merge(c, result).
type Layer interface {
	Traits() Traits
	Prepare(s Scene, t evidence.Target) ([]evidence.Change, error)
	Apply(ctx context.Context, c evidence.Change) (Result, error)
	Release(ctx context.Context, c evidence.Change) (Result, error)
}

// DryRunner is a layer whose writes the API server can try without making them.
type DryRunner interface {
	// ApplyDry sends the write of c with dryRun=All: admission and validation answer,
	// nothing is stored. A change that stands on an earlier one of the same plan is
	// tried as if that one had been made.
	ApplyDry(ctx context.Context, c evidence.Change) error
}

// DryReleaser is a layer whose undoing the API server can try without making it.
type DryReleaser interface {
	// ReleaseDry sends the write that Release of c would make with dryRun=All, as if the
	// steps of the same release before it had been made: t no longer needs what it shares
	// with other pods of its case. Result.Already: there is nothing to send; Notes say why.
	ReleaseDry(ctx context.Context, t evidence.Target, c evidence.Change) (Result, error)
}

// sending is how a release sends its writes; the zero value makes them.
type sending struct {
	dry     bool
	without string // a pod that no longer needs what others share with it
}

// trying sends with dryRun=All.
func trying(t evidence.Target) sending { return sending{dry: true, without: t.Pod} }

// delete are the options of a DELETE of the object with that UID.
func (s sending) delete(uid types.UID) metav1.DeleteOptions {
	o := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	if s.dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	return o
}

// Result is what a write found and did; it goes into the did record as data.
type Result struct {
	UID     string `json:"uid,omitempty"` // of the object, once it exists
	Already bool   `json:"already,omitempty"`
	// Before are the fields touched as they stood at the write itself; set only where they
	// are not those of the change.
	Before json.RawMessage `json:"before,omitempty"`
	// After are the fields as the write left them, set like Before.
	After  json.RawMessage `json:"after,omitempty"`
	Notes  []string        `json:"notes,omitempty"`  // one sentence each, for a person
	Opened *agent.Opened   `json:"opened,omitempty"` // of the cut
}

// Merge puts what a write answered into its change, so that release undoes what was
// done and not what was planned.
func Merge(c evidence.Change, r Result) evidence.Change {
	if r.UID != "" {
		c.Object.UID = r.UID
	}
	if r.Before != nil {
		c.Before = r.Before
	}
	if r.After != nil {
		c.After = r.After
	}
	return c
}

// Hands is where the netns layer finds its hand beside the target. The engine
// implements it over agent's hosts; each foothold that it starts is a change of its own.
type Hands interface {
	// Open makes the opening move with the living hand, or with one that it starts.
	Open(ctx context.Context, t evidence.Target, o agent.Opening) (agent.Opened, error)
	// Lift takes the cut away: with the living hand, else with a new one. When neither
	// may be had, the error wraps agent.ErrGone and the cut is named as residue.
	Lift(ctx context.Context, t evidence.Target, caseID string) error
}

// Want is what a playbook asks of the quarantine.
type Want struct {
	Layers    []string         // empty: DefaultLayers
	Case      string           // [a-z0-9-]{1,40}
	KeepOwner bool             // detach strips labels and keeps ownerReferences
	Hold      bool             // protect puts a finalizer on: a DELETE leaves the API object
	Allow     []evidence.Allow // honoured by every network layer
	AllowDNS  bool             // the DNS Service too
	// Force takes a target over that another case's mark is on; that mark is kept in the
	// change and put back by release.
	Force bool
	// Sign makes the armoured SSHSIG (namespace evidence.UndoNamespace) that stands beside
	// the undo data on the target; nil: unsigned.
	Sign func(message []byte) (string, error)
}

// DefaultLayers are all layers, in the order of their effect.
func DefaultLayers() []string {
	return []string{LayerNetns, LayerLabel, LayerNetpol, LayerDeny, LayerDetach, LayerProtect, LayerCordon}
}

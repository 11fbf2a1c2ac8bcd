package debugger

import (
	"context"
	"errors"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Choice is the profile that a server-side dry run admits, and the write that will
// be made with it. It is a plan: nothing was changed.
type Choice struct {
	Profile Profile
	// Inconclusive says that a webhook does not take part in dry runs, so that the
	// admission is only known when the write is made.
	Inconclusive bool
	Refused      []Refusal
	Change       evidence.Change
	// Standing says that the hand of this case is there already: no write is needed.
	Standing bool
}

// Info says where a hand sits and how it came there: for custody and the report.
type Info struct {
	Namespace    string                `json:"namespace"`
	Pod          string                `json:"pod"`
	PodUID       string                `json:"pod_uid"`
	Beside       string                `json:"beside,omitempty"` // the target container; empty: a probe pod
	Container    string                `json:"container"`        // the hand's own
	Image        string                `json:"image"`
	ImageID      string                `json:"image_id,omitempty"` // as the kubelet resolved it
	Profile      Profile               `json:"profile,omitempty"`
	Inconclusive bool                  `json:"inconclusive,omitempty"`
	Refused      []Refusal             `json:"refused,omitempty"`
	SharedPIDs   bool                  `json:"shared_pids,omitempty"` // one hand serves all containers
	Streamed     bool                  `json:"streamed,omitempty"`    // the binary came through exec
	Addr         string                `json:"addr,omitempty"`        // the pod's IP
	Running      time.Time             `json:"running"`               // when the container was seen to run
	Alterations  []evidence.Alteration `json:"alterations,omitempty"`
}

// Hand is an agent.Hand in a container that this package started.
type Hand struct {
	agent.Hand
	info      Info
	transport func() Transport
}

// Info says where the hand sits.
func (h *Hand) Info() Info { return h.info }

// Transport is the one in use: ws or spdy. It is known once the hand is attached.
func (h *Hand) Transport() Transport { return h.transport() }

// Choose finds by dry run (dryRun=All) the strongest of o.Profiles that the cluster
// admits, and changes nothing. It fails with NoProfileError when none is.
func Choose(ctx context.Context, o Options) (Choice, error) {
	return Choice{}, errors.ErrUnsupported
}

// Start injects the hand through o.Recorder (Op inject; in debug-image mode then Op
// exec), waits until it runs, attaches to it and checks that it is the binary that
// was meant. Running again finds a hand that stands, when o.Secret is the same; an
// ended one is used up, and a further container gets a further name.
//
// A hand that was injected but does not run is an error, and stays in the pod's
// specification: the API has no way to take it back (KEP-277).
func Start(ctx context.Context, o Options) (*Hand, error) {
	return nil, errors.ErrUnsupported
}

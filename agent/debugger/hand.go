package debugger

import (
	"net/netip"
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
	Beside       string                `json:"beside,omitempty"` // the target container; empty: a pod of our own
	Node         string                `json:"node,omitempty"`   // of a node pod: the target's
	Container    string                `json:"container"`        // the hand's own
	Image        string                `json:"image"`
	ImageID      string                `json:"image_id,omitempty"` // as the kubelet resolved it
	Profile      Profile               `json:"profile,omitempty"`
	Inconclusive bool                  `json:"inconclusive,omitempty"`
	Refused      []Refusal             `json:"refused,omitempty"`
	SharedPIDs   bool                  `json:"shared_pids,omitempty"` // one hand serves all containers
	Streamed     bool                  `json:"streamed,omitempty"`    // the binary came through exec
	Addrs        []netip.Addr          `json:"addrs,omitempty"`       // the pod's, one of each family
	Running      time.Time             `json:"running"`               // when the container was seen to run
	Alterations  []evidence.Alteration `json:"alterations,omitempty"`
}

// Trust is what the hand's bytes are worth, by where it sits: not less hidden from the
// target than this. A worker may know that it is less.
func (i Info) Trust() evidence.Trust {
	switch i.Profile {
	case Node:
		return evidence.TrustNode
	case P2, P3:
		return evidence.TrustDebuggerSame
	}
	return evidence.TrustDebugger
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

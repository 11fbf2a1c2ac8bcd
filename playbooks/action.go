package playbooks

import (
	"context"

	"irkit.dev/irkit/evidence"
)

// Action is one verb with its parameters, bound to a site. It does not know of other
// actions, does not log, and never decides whether the session goes on. An error says
// that something which was asked for was not done; what was done stands.
type Action interface {
	Run(ctx context.Context, t evidence.Target, sink evidence.Sink) (Outcome, error)
}

// Outcome is what a step came to, in a sentence for the log and for a person.
type Outcome struct {
	Summary string
	// Missing are things that could not be had and are entries with a reason: the
	// step is done, but not whole.
	Missing int
}

// Blueprint is a compiled action that knows no target yet.
type Blueprint interface {
	// Needs says, as data, what the action will use.
	Needs() Needs
	// Build binds it to a site. It touches nothing.
	Build(*Site) Action
}

// Needs are an action's wants, for forecast, preflight and dry run.
type Needs struct {
	Layers    []string        // of quarantine, that it applies
	Hand      bool            // a hand beside each regular container
	Probe     bool            // the probe pod
	Rules     []evidence.Rule // beyond those of layers and hands
	Artifacts []string        // kinds, for the completeness table
	Revoke    []string        // layers of quarantine/revoke
	Snapshots *Snapshots      // of the target's volumes; nil: none
}

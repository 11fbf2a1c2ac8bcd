package playbooks

import (
	"time"

	"go.yaml.in/yaml/v3"

	"irkit.dev/irkit/evidence"
)

// APIVersion and KindPlaybook head every playbook.
const (
	APIVersion   = evidence.Domain + "/v1alpha1"
	KindPlaybook = "Playbook"
)

// OnFailure says whether a session goes on after a failed step.
type OnFailure string

// What a step's failure means for the steps after it. Isolation is never rolled back
// because a later step failed.
const (
	Stop     OnFailure = "stop"
	Continue OnFailure = "continue" // the default
)

// Playbook is a document as written, checked for form.
type Playbook struct {
	Name        string
	Description string
	Steps       []Step
}

// Step is one action with what the engine needs to know about it.
type Step struct {
	ID        string
	Action    string     // the kind's name
	With      *yaml.Node // the action's own parameters
	Timeout   time.Duration
	OnFailure OnFailure
	Line      int
}

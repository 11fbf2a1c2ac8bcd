package debugger

import (
	"context"
	"errors"

	"irkit.dev/irkit/evidence"
)

// ProbeOptions says how the probe pod is started. It is a worker without a target
// that meets the restricted Pod Security Standard.
type ProbeOptions struct {
	Host
	Namespace string // SystemNamespace when empty
	// Node pins it where it is given; else the scheduler decides.
	Node        string
	PullSecrets []string
}

// ProbePodChange is the write that StartProbePod will make, for the plan.
func ProbePodChange(o ProbeOptions) (evidence.Change, error) {
	return evidence.Change{}, errors.ErrUnsupported
}

// StartProbePod creates the case's probe pod through o.Recorder (Op create) and
// attaches to it. A pod of that name that this case made is used as it stands. It ends
// by itself after MaxLife; DeleteProbePod takes it away before.
func StartProbePod(ctx context.Context, o ProbeOptions) (*Hand, error) {
	return nil, errors.ErrUnsupported
}

// DeleteProbePodChange is the write that takes the probe pod away again; it is pure.
func DeleteProbePodChange(o ProbeOptions, uid string) evidence.Change {
	return evidence.Change{}
}

// DeleteProbePod deletes the case's probe pod through o.Recorder (Op delete), with
// its UID as precondition. A pod that is gone, or that is not this case's, is left
// alone without an error. Only Client, Recorder, Case and Namespace are used.
func DeleteProbePod(ctx context.Context, o ProbeOptions) error {
	return errors.ErrUnsupported
}

package debugger

import (
	"errors"
	"fmt"
	"strings"
)

// Why a hand could not be started; for errors.Is.
var (
	// ErrNoProfile says that no profile was admitted; see NoProfileError.
	ErrNoProfile = errors.New("no profile is admitted")
	// ErrReplaced says that the pod of that name has another UID, or is gone.
	ErrReplaced = errors.New("pod was replaced")
	// ErrImage says that the image could not be had on the node.
	ErrImage = errors.New("image cannot be had on the node")
	// ErrConfig says that the kubelet could not create the container.
	ErrConfig = errors.New("container cannot be created")
	// ErrTargetDown says that the target container does not run, so that there are no
	// namespaces to join.
	ErrTargetDown = errors.New("target container is not running")
	// ErrEnded says that the hand's container ended before it was reached.
	ErrEnded = errors.New("container ended")
	// ErrNotStarted says that the container did not run in time.
	ErrNotStarted = errors.New("container did not start in time")
	// ErrStaticPod says that the API has no ephemeral containers for static pods.
	ErrStaticPod = errors.New("static pods take no ephemeral containers")
	// ErrUnsupported says that the cluster has no ephemeral containers.
	ErrUnsupported = errors.New("cluster has no ephemeral containers")
)

// Refusal says why one profile was not used.
type Refusal struct {
	Profile Profile `json:"profile"`
	Reason  string  `json:"reason"` // the admission's own words
	Err     error   `json:"-"`
}

// NoProfileError is what Start and Choose fail with when nothing was admitted.
type NoProfileError struct {
	Container string
	Refused   []Refusal
}

func (e *NoProfileError) Error() string {
	var why []string
	for _, r := range e.Refused {
		why = append(why, string(r.Profile)+": "+r.Reason)
	}
	return fmt.Sprintf("start hand beside container %s: %v (%s)", e.Container, ErrNoProfile, strings.Join(why, "; "))
}

// Unwrap makes errors.Is find ErrNoProfile and what each profile was refused with.
func (e *NoProfileError) Unwrap() []error {
	errs := []error{ErrNoProfile}
	for _, r := range e.Refused {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return errs
}

// StartError says in what state a container stays that does not run. Err is one of
// ErrImage, ErrConfig, ErrTargetDown, ErrEnded, ErrNotStarted.
type StartError struct {
	Pod, Container  string
	Reason, Message string // the kubelet's
	ExitCode        int32
	Err             error
}

func (e *StartError) Error() string {
	s := fmt.Sprintf("start container %s in pod %s", e.Container, e.Pod)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s + ": " + e.Err.Error()
}

// Unwrap is the kind of failure.
func (e *StartError) Unwrap() error { return e.Err }

package quarantine

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// Survey reads the scene with few parallel requests. What is optional and refused
// is a Gap; what is required is an error.
func Survey(ctx context.Context, conn *cluster.Conn, t evidence.Target) (Scene, error) { panic("soon") }

// SurveyRules are the permissions that Survey uses.
func SurveyRules() []evidence.Rule { panic("soon") }

// ProbePodRules are the permissions for the probe pod in irkit-system.
func ProbePodRules() []evidence.Rule { panic("soon") }

// ReleaseRules are the permissions of a release beyond those of the layers.
func ReleaseRules(m Mode) []evidence.Rule { panic("soon") }

// Forecast says what will follow. Pure.
func Forecast(s Scene, t evidence.Target, w Want) evidence.Forecast { panic("soon") }

// NewNetns is the cut; baseline is tried before it, limit for all (0: 150 ms).
func NewNetns(h Hands, w Want, baseline []evidence.Probe, limit time.Duration) Layer { panic("soon") }

// NewLabel adds the quarantine label and the signed undo annotation: the lock.
func NewLabel(conn *cluster.Conn, w Want) Layer { panic("soon") }

// NewNetpol creates the quarantine NetworkPolicy.
func NewNetpol(conn *cluster.Conn, w Want) Layer { panic("soon") }

// NewDetach strips labels and drops the controller's ownerReference.
func NewDetach(conn *cluster.Conn, w Want) Layer { panic("soon") }

// Probes are the connections that tell of containment here. The engine adds canaries.
func Probes(s Scene) Targets { panic("soon") }

// Judge gives the verdict. Pure.
func Judge(m Measurements) evidence.Verdict { panic("soon") }

// Patience is how long the policy alone is to be measured before it is said not to hold.
func Patience(s Scene) time.Duration { panic("soon") }

// PlanRelease orders the undoing of what the journal says. Pure. live is nil when the
// pod is gone.
func PlanRelease(live *corev1.Pod, t evidence.Target, done []Done, m Mode) (ReleasePlan, error) {
	panic("soon")
}

// Ready waits until the target is Ready; false when limit passed first.
func Ready(ctx context.Context, conn *cluster.Conn, t evidence.Target, limit time.Duration) (bool, error) {
	panic("soon")
}

// DeleteTarget deletes the pod with its UID as precondition; harmless when it is gone.
func DeleteTarget(ctx context.Context, conn *cluster.Conn, t evidence.Target) error { panic("soon") }

// Undo is the data of the undo annotation.
type Undo struct {
	Case    string            `json:"case"`
	Target  evidence.Target   `json:"target"`
	Changes []evidence.Change `json:"changes"` // of layers label and detach
}

// ParseUndo splits an undo annotation into what was signed and its signature (empty:
// unsigned). The caller verifies before it trusts.
func ParseUndo(annotation string) (u Undo, signed []byte, signature string, err error) { panic("soon") }

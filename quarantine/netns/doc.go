// Package netns makes and measures the cut inside one network namespace: packet
// filter rules that drop everything but the kubelet's probes, probes that try what
// still passes, and the reading of both from the kernel. It knows no Kubernetes.
//
// Everything here acts on the network namespace of the calling thread. A caller
// that entered it with setns must have locked its goroutine to the thread
// (runtime.LockOSThread); a process that was started in it need not. No function
// starts a thread or a goroutine of its own that makes a socket.
//
// The rules stand in the kernel and outlive this process. Their names come from the
// case, so that another worker, or a person with nft on the node, finds them:
// docs/cut.md says how.
package netns

import (
	"errors"
	"fmt"
)

// Errors of the cut. That of a namespace which is the node's is agent.ErrNodeNetwork.
var (
	// ErrNoCut says that no cut of that case stands in the namespace.
	ErrNoCut = errors.New("no cut of that case stands here")
	// ErrLifted says that another irkit lifted the cut that was kept.
	ErrLifted = errors.New("the cut was lifted by another irkit")
	// ErrUnsupported says that this system has no network namespaces.
	ErrUnsupported = errors.New("network namespaces are cut on Linux only")
)

// OtherCaseError is the refusal to cut where a cut of another case stands.
type OtherCaseError struct {
	Case string // whose cut stands
}

// Error names the case.
func (e *OtherCaseError) Error() string {
	return fmt.Sprintf("a cut of case %q stands in this network namespace", e.Case)
}

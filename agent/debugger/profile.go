package debugger

import (
	corev1 "k8s.io/api/core/v1"
)

// Profile names a security context of the hand's container, as in the ladder
// P1N, P1, P2, P3, P0 from the strongest down.
type Profile string

// Profiles. P1N and P1 run as root with every capability dropped but SYS_PTRACE
// and DAC_READ_SEARCH (proc(5): ptrace access mode READ_FSCREDS and file modes); P1N
// adds NET_ADMIN, without which there is no cut. The others come with a later version.
const (
	P1N Profile = "P1N"
	P1  Profile = "P1"
	P2  Profile = "P2"
	P3  Profile = "P3"
	P0  Profile = "P0"
	// Node is no ephemeral container's: a privileged pod on the target's node (agent/nodepod).
	Node Profile = "node"
)

// Cuts reports whether a hand of that profile can make the cut.
func (p Profile) Cuts() bool { return p == P1N || p == Node }

// securityContext is the profile's; readOnlyRoot where nothing is streamed in.
// runAsNonRoot and runAsUser are both set, since the pod's own are inherited.
func (p Profile) securityContext(readOnlyRoot bool) (*corev1.SecurityContext, error) {
	var caps []corev1.Capability
	switch p {
	case P1N:
		caps = []corev1.Capability{"DAC_READ_SEARCH", "NET_ADMIN", "SYS_PTRACE"}
	case P1:
		caps = []corev1.Capability{"DAC_READ_SEARCH", "SYS_PTRACE"}
	default:
		return nil, ErrLater
	}
	return &corev1.SecurityContext{
		RunAsUser:                new(int64(0)),
		RunAsGroup:               new(int64(0)),
		RunAsNonRoot:             new(false),
		Privileged:               new(false),
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(readOnlyRoot),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: caps},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}, nil
}

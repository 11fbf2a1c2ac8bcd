package debugger

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Profile names a security context of the hand's container, as in the ladder
// P1N, P1, P2, P3, P0 from the strongest down.
type Profile string

// Profiles. P1N and P1 run as root with every capability dropped but SYS_PTRACE
// and DAC_READ_SEARCH (proc(5): ptrace access mode READ_FSCREDS and file modes); P1N
// adds NET_ADMIN, without which there is no cut. P2 is root with the runtime's default
// capabilities, for a target that is the same: what Pod Security baseline admits. P3 is
// the target's own user and group without any capability: what restricted admits. P0
// is in no target's process namespace, and sees the pod's network alone.
const (
	P1N Profile = "P1N"
	P1  Profile = "P1"
	P2  Profile = "P2"
	P3  Profile = "P3"
	P0  Profile = "P0"
	// Node is no ephemeral container's: a privileged pod on the target's node (agent/nodepod).
	Node Profile = "node"
)

// Strong are the profiles that read every target, the cutting one first.
func Strong() []Profile { return []Profile{P1N, P1} }

// Weak are those that read a target of their own user, which could meddle with them.
func Weak() []Profile { return []Profile{P2, P3} }

// All is the whole ladder of ephemeral containers, from the strongest down.
func All() []Profile { return []Profile{P1N, P1, P2, P3, P0} }

// Cuts reports whether a hand of that profile can make the cut.
func (p Profile) Cuts() bool { return p.base() == P1N || p == Node }

// ErrUnsuited is the refusal of a profile that would read nothing of this target.
var ErrUnsuited = errors.New("profile would read nothing of this target")

// nobodyUser is P0's, as images without users have it.
const nobodyUser = 65532

// user is as whom a container runs; known is false where neither its status nor its
// specification says so.
type user struct {
	uid, gid int64
	known    bool
}

// userOf is from the status where the runtime tells (KEP-3619), else what was asked for.
func userOf(pod *corev1.Pod, c corev1.Container, status corev1.ContainerStatus) user {
	if u := status.User; u != nil && u.Linux != nil {
		return user{u.Linux.UID, u.Linux.GID, true}
	}
	var u user
	if s := pod.Spec.SecurityContext; s != nil {
		u.take(s.RunAsUser, s.RunAsGroup)
	}
	if s := c.SecurityContext; s != nil {
		u.take(s.RunAsUser, s.RunAsGroup)
	}
	return u
}

func (u *user) take(uid, gid *int64) {
	if uid != nil {
		u.uid, u.known = *uid, true
	}
	if gid != nil {
		u.gid = *gid
	}
}

// securityContext is the profile's beside a target of that user; readOnlyRoot where
// nothing is streamed in. runAsNonRoot and runAsUser are both set, since the pod's own
// are inherited.
func (p Profile) securityContext(readOnlyRoot bool, target user) (*corev1.SecurityContext, error) {
	var as user
	caps := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
	switch p {
	case P1N:
		caps.Add = []corev1.Capability{"DAC_READ_SEARCH", "NET_ADMIN", "SYS_PTRACE"}
	case P1:
		caps.Add = []corev1.Capability{"DAC_READ_SEARCH", "SYS_PTRACE"}
	case P2:
		if target.known && target.uid != 0 {
			return nil, fmt.Errorf("root without SYS_PTRACE beside user %d: %w", target.uid, ErrUnsuited)
		}
		caps = nil
	case P3:
		if !target.known {
			return nil, fmt.Errorf("the target's user is not known: %w", ErrUnsuited)
		}
		as = target
	case P0:
		as = user{uid: nobodyUser, gid: nobodyUser}
	default:
		return nil, fmt.Errorf("profile %q: %w", p, errors.ErrUnsupported)
	}
	return &corev1.SecurityContext{
		RunAsUser:                new(as.uid),
		RunAsGroup:               new(as.gid),
		RunAsNonRoot:             new(as.uid != 0),
		Privileged:               new(false),
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(readOnlyRoot),
		Capabilities:             caps,
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}, nil
}

// profileOf tells the profile of a hand that stands.
func profileOf(c corev1.EphemeralContainer) Profile {
	sc := c.SecurityContext
	switch {
	case c.TargetContainerName == "":
		return P0
	case sc == nil || sc.Capabilities == nil:
		return P2
	case len(sc.Capabilities.Add) == 0:
		return P3
	}
	for _, c := range sc.Capabilities.Add {
		if c == "NET_ADMIN" {
			return P1N
		}
	}
	return P1
}

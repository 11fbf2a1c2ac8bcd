package debugger

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// P1NR is P1N and NET_RAW, without which no packet is recorded. It is tried before P1N
// where packets were asked for, and only there.
const P1NR Profile = "P1NR"

// base is the profile without what packets need.
func (p Profile) base() Profile {
	if p == P1NR {
		return P1N
	}
	return p
}

// tried puts P1NR before P1N where packets were asked for.
func (o Options) tried(profiles []Profile) []Profile {
	if i := slices.Index(profiles, P1N); o.Packets && i >= 0 {
		return slices.Insert(slices.Clone(profiles), i, P1NR)
	}
	return profiles
}

// container is the ephemeral container of a profile that is tried.
func (o Options) container(pod *corev1.Pod, status corev1.ContainerStatus, s seat, p Profile) (corev1.EphemeralContainer, error) {
	c, err := o.ephemeral(pod, status, s, p.base())
	if err == nil && p == P1NR {
		add := &c.SecurityContext.Capabilities.Add
		*add = append(slices.Clone(*add), "NET_RAW")
		slices.Sort(*add)
	}
	return c, err
}

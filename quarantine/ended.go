package quarantine

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
)

// ended reports a pod that runs no more, or is about to: it never becomes Ready, and no hand
// can be started beside it.
func ended(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func phaseOf(p *corev1.Pod) string {
	switch {
	case p.DeletionTimestamp != nil:
		return "it is being deleted"
	case p.Status.Reason != "":
		return string(p.Status.Phase) + ", " + short(p.Status.Reason)
	}
	return string(p.Status.Phase)
}

// handName is how irkit's ephemeral containers are named.
var handName = regexp.MustCompile(`^irkit-[0-9a-f]{10}$`)

// HandsIn are the ephemeral containers of a pod that irkit started, running or not.
func HandsIn(p *corev1.Pod) []string {
	var out []string
	for _, c := range p.Spec.EphemeralContainers {
		if handName.MatchString(c.Name) {
			out = append(out, c.Name)
		}
	}
	return out
}

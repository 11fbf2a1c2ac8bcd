package playbooks

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// SkipMounts are a container's mount points whose content stays out: secret, projected
// and service account volumes always, the others unless volumes were asked for.
func (s *Site) SkipMounts(container string) []string {
	pod := s.Order.Pod
	all := slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == container })
	if i < 0 {
		return nil
	}
	var out []string
	for _, m := range all[i].VolumeMounts {
		v := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if v < 0 || !s.Order.IncludeVolumes || private(pod.Spec.Volumes[v]) {
			out = append(out, m.MountPath)
		}
	}
	return out
}

// private reports a volume that holds values which never enter by default.
func private(v corev1.Volume) bool {
	return v.Secret != nil || v.Projected != nil || v.ConfigMap != nil || v.DownwardAPI != nil || v.CSI != nil
}

// ContainerID is the runtime's identifier of a container, without its scheme.
func (s *Site) ContainerID(container string) string {
	for _, c := range slices.Concat(s.Order.Pod.Status.ContainerStatuses, s.Order.Pod.Status.InitContainerStatuses) {
		if c.Name == container {
			_, id, _ := strings.Cut(c.ContainerID, "://")
			return id
		}
	}
	return ""
}

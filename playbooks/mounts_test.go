package playbooks

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestMountsWhoseContentStaysOut(t *testing.T) {
	p := pod()
	for name, source := range map[string]corev1.VolumeSource{
		"secret": {Secret: &corev1.SecretVolumeSource{}}, "token": {Projected: &corev1.ProjectedVolumeSource{}}, "config": {ConfigMap: &corev1.ConfigMapVolumeSource{}},
		"labels": {DownwardAPI: &corev1.DownwardAPIVolumeSource{}}, "vault": {CSI: &corev1.CSIVolumeSource{}},
		"scratch": {EmptyDir: &corev1.EmptyDirVolumeSource{}}, "claim": {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}, "host": {HostPath: &corev1.HostPathVolumeSource{}},
	} {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "unknown", MountPath: "/unknown"})
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: "containerd://abc"}, {Name: "side"}}
	private := []string{"/config", "/labels", "/secret", "/token", "/unknown", "/vault"}
	volumes := []string{"/claim", "/host", "/scratch"}
	for _, c := range []struct {
		include bool
		want    []string
	}{{false, append(volumes, private...)}, {true, private}} {
		s := &Site{Order: Order{Pod: p, IncludeVolumes: c.include}}
		got := s.SkipMounts("app")
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("volumes asked for: %v: left out %q, want %q", c.include, got, c.want)
		}
		if len(s.SkipMounts("side"))+len(s.SkipMounts("none")) != 0 {
			t.Error("another container's mounts are left out")
		}
		if a, b, c := s.ContainerID("app"), s.ContainerID("side"), s.ContainerID("none"); a != "abc" || b != "" || c != "" {
			t.Errorf("container ids %q %q %q", a, b, c)
		}
	}
}

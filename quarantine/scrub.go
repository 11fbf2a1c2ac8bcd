package quarantine

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// scrubPod copies a pod without what a scene must not hold: values of environment
// variables, command lines (they often carry the same), probe commands and headers,
// attributes of inline volumes, last words of containers, last-applied-configuration.
// That a probe is an exec probe is kept.
func scrubPod(p *corev1.Pod) corev1.Pod {
	out := *p.DeepCopy()
	scrubMeta(&out.ObjectMeta)
	for i := range out.Spec.Containers {
		scrubContainer(&out.Spec.Containers[i])
	}
	for i := range out.Spec.InitContainers {
		scrubContainer(&out.Spec.InitContainers[i])
	}
	for i := range out.Spec.EphemeralContainers {
		c := corev1.Container(out.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		scrubContainer(&c)
		out.Spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	for i := range out.Spec.Volumes {
		v := &out.Spec.Volumes[i]
		if v.CSI != nil {
			v.CSI.VolumeAttributes = nil
		}
		if v.FlexVolume != nil {
			v.FlexVolume.Options = nil
		}
	}
	st := &out.Status
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			scrubState(&list[i].State)
			scrubState(&list[i].LastTerminationState)
		}
	}
	return out
}

func scrubState(s *corev1.ContainerState) {
	if s.Terminated != nil {
		s.Terminated.Message = ""
	}
	if s.Waiting != nil {
		s.Waiting.Message = ""
	}
}

func scrubContainer(c *corev1.Container) {
	c.Command, c.Args, c.Lifecycle = nil, nil, nil
	for i := range c.Env {
		c.Env[i].Value = ""
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		if p.Exec != nil {
			p.Exec.Command = nil
		}
		if p.HTTPGet != nil {
			p.HTTPGet.HTTPHeaders = nil
		}
	}
}

func scrubMeta(m *metav1.ObjectMeta) {
	m.ManagedFields = nil
	delete(m.Annotations, corev1.LastAppliedConfigAnnotation)
}

package debugger

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"irkit.dev/irkit/evidence"
)

const (
	probeContainer = "probe"
	probeUser      = 65532
)

// ProbeOptions says how the probe pod is started. It is a worker without a target
// that meets the restricted Pod Security Standard.
type ProbeOptions struct {
	Host
	Namespace string // SystemNamespace when empty
	// Node pins it where it is given; else the scheduler decides.
	Node        string
	PullSecrets []string
}

// own is the probe pod as one of irkit's own.
func (o ProbeOptions) own() OwnPod {
	if o.Namespace == "" {
		o.Namespace = SystemNamespace
	}
	return OwnPod{
		Host: o.Host, Namespace: o.Namespace, Name: probeName(o.Case), Layer: "probe", What: "probe pod",
		Why: "measure from outside whether the target can be reached", Pod: o.pod(), Args: []string{"--no-target"},
	}
}

// pod meets the restricted Pod Security Standard.
func (o ProbeOptions) pod() *corev1.Pod {
	p := &corev1.Pod{
		Spec: corev1.PodSpec{
			NodeName: o.Node,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(probeUser)), RunAsGroup: new(int64(probeUser)), FSGroup: new(int64(probeUser)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: probeContainer,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Privileged: new(false),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("96Mi")},
				},
			}},
		},
	}
	for _, s := range o.PullSecrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

// ProbePodChange is the write that StartProbePod will make, for the plan. Without
// o.Secret the key in it is another one each time.
func ProbePodChange(o ProbeOptions) (evidence.Change, error) { return o.own().CreateChange() }

// StartProbePod creates the case's probe pod and attaches to it, as OwnPod.Start does.
func StartProbePod(ctx context.Context, o ProbeOptions) (*Hand, error) { return o.own().Start(ctx) }

// DeleteProbePodChange is the write that takes the probe pod away again; it is pure.
func DeleteProbePodChange(o ProbeOptions, uid string) evidence.Change {
	return o.own().DeleteChange(uid)
}

// DeleteProbePod deletes the case's probe pod, as OwnPod.Delete does. Only Client,
// Recorder, Case and Namespace are used.
func DeleteProbePod(ctx context.Context, o ProbeOptions) error { return o.own().Delete(ctx) }

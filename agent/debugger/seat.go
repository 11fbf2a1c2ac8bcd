package debugger

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// seat is where a hand sits or will sit: a container of a pod, and irkit's key for it.
type seat struct {
	namespace, pod, podUID string
	container              string
	node                   string
	command                []string
	key                    ed25519.PrivateKey
	ephemeral              bool
	standing               bool // its container is in the pod already
}

// target reads the pod and refuses what cannot take a hand.
func (o Options) target(ctx context.Context) (*corev1.Pod, corev1.ContainerStatus, error) {
	var none corev1.ContainerStatus
	pod, err := o.Client.CoreV1().Pods(o.Target.Namespace).Get(ctx, o.Target.Pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, none, fmt.Errorf("start hand beside %s: %w: %w", o.Target, ErrReplaced, err)
	case err != nil:
		return nil, none, fmt.Errorf("start hand beside %s: %w", o.Target, err)
	case string(pod.UID) != o.Target.UID:
		return nil, none, fmt.Errorf("start hand beside %s: its UID is %s, not %s: %w", o.Target, pod.UID, o.Target.UID, ErrReplaced)
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return nil, none, fmt.Errorf("start hand beside %s: %w", o.Target, ErrStaticPod)
	}
	if c := containerOf(pod, o.Container); c.Name == "" {
		return nil, none, fmt.Errorf("start hand beside %s: no container %q", o.Target, o.Container)
	}
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if s.Name == o.Container && s.State.Running != nil && s.ContainerID != "" {
			return pod, s, nil
		}
	}
	return nil, none, fmt.Errorf("start hand beside %s: container %s: %w", o.Target, o.Container, ErrTargetDown)
}

// sharesPIDs reports a pod whose containers see each other's processes, so that
// targetContainerName is without effect (KEP-277).
func sharesPIDs(pod *corev1.Pod) bool {
	return pod.Spec.HostPID || pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace
}

// seat finds the hand of this case that stands in the pod, or the next free name.
func (o Options) seat(pod *corev1.Pod) (seat, error) {
	for n := range further {
		s := seat{
			namespace: pod.Namespace, pod: pod.Name, podUID: string(pod.UID), node: pod.Spec.NodeName,
			container: containerName(o.Case, o.Container, n), ephemeral: true,
		}
		key, err := newKey(o.Secret, s.podUID+"/"+s.container)
		if err != nil {
			return s, err
		}
		s.key = key
		c, status := ephemeral(pod, s.container)
		if c == nil {
			return s, nil
		}
		if keyOf(c.Command) == public(key) && alive(status) && (c.Image == o.image() || status != nil && status.State.Running != nil) {
			s.command, s.standing = c.Command, true
			return s, nil
		}
	}
	return seat{}, fmt.Errorf("start hand beside %s: all %d names of case %s are used up: %w", o.Target, further, o.Case, ErrEnded)
}

func alive(s *corev1.ContainerStatus) bool {
	if s == nil {
		return true // not looked at by the kubelet yet
	}
	return s.State.Terminated == nil && s.LastTerminationState.Terminated == nil
}

func ephemeral(pod *corev1.Pod, name string) (*corev1.EphemeralContainer, *corev1.ContainerStatus) {
	for i, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			for j, s := range pod.Status.EphemeralContainerStatuses {
				if s.Name == name {
					return &pod.Spec.EphemeralContainers[i], &pod.Status.EphemeralContainerStatuses[j]
				}
			}
			return &pod.Spec.EphemeralContainers[i], nil
		}
	}
	return nil, nil
}

// container is the ephemeral container as it is injected.
func (o Options) ephemeral(pod *corev1.Pod, status corev1.ContainerStatus, s seat, p Profile) (corev1.EphemeralContainer, error) {
	sc, err := p.securityContext(o.Image != "", userOf(pod, containerOf(pod, o.Container), status))
	if err != nil {
		return corev1.EphemeralContainer{}, err
	}
	_, id, _ := strings.Cut(status.ContainerID, "://")
	args := []string{"--key", public(s.key), "--max-life", o.MaxLife.String()}
	beside := o.Container
	switch {
	case p == P0:
		args, beside = append(args, "--network-only"), ""
	case sharesPIDs(pod):
		args = append(args, "--container-id", id, "--shared-pids")
		if pod.Spec.HostPID {
			args = append(args, "--host-pids")
		}
	default:
		args = append(args, "--container-id", id)
	}
	return corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: s.container, Image: o.image(), ImagePullPolicy: o.PullPolicy,
			Command: o.workCommand(args), SecurityContext: sc,
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		},
		TargetContainerName: beside,
	}, nil
}

// containerOf is the container as it is specified.
func containerOf(pod *corev1.Pod, name string) corev1.Container {
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if c.Name == name {
			return c
		}
	}
	return corev1.Container{}
}

// change is the injection as a value.
func (o Options) change(c corev1.EphemeralContainer) (evidence.Change, error) {
	after, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []corev1.EphemeralContainer{c}}})
	if err != nil {
		return evidence.Change{}, fmt.Errorf("describe container %s: %w", c.Name, err)
	}
	return evidence.Change{
		ID: "hand/inject/pod/" + o.Target.Namespace + "/" + o.Target.Pod + "/" + o.Target.UID + "/" + c.Name, Layer: "hand", Op: evidence.OpInject,
		Object: evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: o.Target.Namespace, Name: o.Target.Pod, UID: o.Target.UID},
		After:  after,
		Why:    "start irkit's hand beside container " + o.Container,
		Irreversible: "ephemeral container " + c.Name + " stays in the pod's specification until the pod is deleted: " +
			"the API takes none back (KEP-277)",
	}, nil
}

// patch is a strategic merge patch: containers are merged by name, and the UID makes it
// fail on a pod that took the name since.
func (o Options) patch(c corev1.EphemeralContainer) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": o.Target.UID},
		"spec":     map[string]any{"ephemeralContainers": []corev1.EphemeralContainer{c}},
	})
}

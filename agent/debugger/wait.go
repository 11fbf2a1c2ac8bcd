package debugger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// await watches the seat's pod until its container runs. It fails at once in every
// state that does not pass by itself.
func (h Host) await(ctx context.Context, s seat) (*corev1.Pod, *corev1.ContainerStatus, error) {
	waiting, cancel := context.WithTimeout(ctx, h.StartTimeout)
	defer cancel()
	last := &StartError{Pod: s.pod, Container: s.container, Err: ErrNotStarted}
	for {
		pod, status, err := h.watch(waiting, s, last)
		switch {
		case pod != nil || errors.Is(err, ErrReplaced):
			return pod, status, err
		case errors.As(err, new(*StartError)):
			return nil, nil, err
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("start container %s in pod %s: %w", s.container, s.pod, ctx.Err())
		case waiting.Err() != nil:
			return nil, nil, last
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			return nil, nil, fmt.Errorf("watch pod %s: %w", s.pod, err)
		}
		select { // a watch that ended; looked at anew
		case <-waiting.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (h Host) watch(ctx context.Context, s seat, last *StartError) (*corev1.Pod, *corev1.ContainerStatus, error) {
	pods := h.Client.CoreV1().Pods(s.namespace)
	pod, err := pods.Get(ctx, s.pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("start container %s in pod %s: %w: %w", s.container, s.pod, ErrReplaced, err)
	}
	if err != nil {
		return nil, nil, err
	}
	if status, err := s.look(pod, last); status != nil || err != nil {
		return found(pod, status, err)
	}
	w, err := pods.Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", s.pod).String(), ResourceVersion: pod.ResourceVersion,
	})
	if err != nil {
		return nil, nil, err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		switch e.Type {
		case watch.Added, watch.Modified:
			pod, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			if status, err := s.look(pod, last); status != nil || err != nil {
				return found(pod, status, err)
			}
		case watch.Deleted:
			return nil, nil, fmt.Errorf("start container %s in pod %s: %w", s.container, s.pod, ErrReplaced)
		case watch.Error:
			return nil, nil, apierrors.FromObject(e.Object)
		}
	}
	return nil, nil, nil
}

func found(pod *corev1.Pod, status *corev1.ContainerStatus, err error) (*corev1.Pod, *corev1.ContainerStatus, error) {
	if err != nil {
		return nil, nil, err
	}
	return pod, status, nil
}

// look answers the container's status when it runs, nothing while it may still come, and
// an error when it will not.
func (s seat) look(pod *corev1.Pod, last *StartError) (*corev1.ContainerStatus, error) {
	if string(pod.UID) != s.podUID {
		return nil, fmt.Errorf("start container %s in pod %s: its UID is %s, not %s: %w", s.container, s.pod, pod.UID, s.podUID, ErrReplaced)
	}
	fail := func(kind error, reason, message string) error {
		return &StartError{Pod: s.pod, Container: s.container, Reason: reason, Message: message, Err: kind}
	}
	statuses := pod.Status.ContainerStatuses
	if s.ephemeral {
		statuses = pod.Status.EphemeralContainerStatuses
	}
	for i, c := range statuses {
		if c.Name != s.container {
			continue
		}
		if t := c.State.Terminated; t != nil {
			kind := ErrEnded
			if isTargetDown(t.Message) {
				kind = ErrTargetDown
			}
			return nil, &StartError{Pod: s.pod, Container: s.container, Reason: t.Reason, Message: t.Message, ExitCode: t.ExitCode, Err: kind}
		}
		if c.State.Running != nil {
			return &statuses[i], nil
		}
		if w := c.State.Waiting; w != nil {
			last.Reason, last.Message = w.Reason, w.Message
			if kind := stuck(w.Reason, w.Message); kind != nil {
				return nil, fail(kind, w.Reason, w.Message)
			}
		}
	}
	switch {
	case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		return nil, fail(ErrEnded, "pod is "+string(pod.Status.Phase), pod.Status.Message)
	case pod.DeletionTimestamp != nil:
		return nil, fail(ErrEnded, "pod is being deleted", "")
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			last.Reason, last.Message = c.Reason, c.Message
		}
	}
	return nil, nil
}

// stuck says which waiting does not pass by itself, or only after minutes.
func stuck(reason, message string) error {
	if isTargetDown(message) {
		return ErrTargetDown
	}
	switch reason {
	case "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable":
		return ErrImage
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
		return ErrConfig
	}
	return nil
}

// isTargetDown knows the words of the kubelet and of containerd for a target that is not
// running.
func isTargetDown(message string) bool {
	return strings.Contains(message, "unable to find target container") || strings.Contains(message, "is not running - in state")
}

package debugger

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// keyLater stands in a drafted command where the hand's public key will be.
const keyLater = "(made at the start)"

// Draft is the write by which a hand would be started beside o.Container of a pod that was
// read, with the strongest profile, for a plan: it asks nobody, and the hand's key is left
// out. ok is false where the hand of this case stands already.
func Draft(o Options, pod *corev1.Pod) (c evidence.Change, ok bool, err error) {
	o.Host = o.withDefaults()
	s, err := o.seat(pod)
	if err != nil || s.standing {
		return c, false, err
	}
	var status corev1.ContainerStatus
	for _, cs := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if cs.Name == o.Container {
			status = cs
		}
	}
	profile := P1N
	if len(o.Profiles) > 0 {
		profile = o.Profiles[0]
	}
	container, err := o.container(pod, status, s, o.tried([]Profile{profile})[0])
	if err != nil {
		return c, false, err
	}
	hideKey(container.Command, public(s.key))
	c, err = o.change(container)
	return c, err == nil, err
}

// hideKey takes the key out of a command that is shown and not run.
func hideKey(command []string, key string) {
	for i, word := range command {
		if word == key {
			command[i] = keyLater
		}
	}
}

// DraftProbePod is the creation of the probe pod, for a plan: as ProbePodChange, without
// the hand's key.
func DraftProbePod(o ProbeOptions) (evidence.Change, error) { return o.own().Draft() }

// TryProbePod has the API server check the creation of the probe pod with dryRun=All. One
// that this case made already is no error.
func TryProbePod(ctx context.Context, o ProbeOptions) error { return o.own().Try(ctx) }

// Draft is the creation of the pod, for a plan: as CreateChange, without the hand's key.
func (o OwnPod) Draft() (evidence.Change, error) {
	o.Host = o.withDefaults()
	return o.change(o.pod(keyLater), 0)
}

// Try has the API server check the creation with dryRun=All. A pod that this case made
// already is no error.
func (o OwnPod) Try(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	o.Host = o.withDefaults()
	want := o.pod(keyLater)
	_, err := o.Client.CoreV1().Pods(o.Namespace).Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager, DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsAlreadyExists(err) {
		_, err = o.stands(ctx)
	}
	if err != nil {
		return fmt.Errorf("create %s %s in %s: %w", o.What, want.Name, o.Namespace, err)
	}
	return nil
}

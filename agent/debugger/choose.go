package debugger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
)

// Choose finds by dry run (dryRun=All) the strongest of o.Profiles that the cluster
// admits, and changes nothing. It fails with NoProfileError when none is. A hand of
// this case that stands is answered as it is, without a dry run.
func Choose(ctx context.Context, o Options) (Choice, error) {
	if err := o.validate(); err != nil {
		return Choice{}, err
	}
	o.Host = o.withDefaults()
	d, err := o.draft(ctx)
	if err != nil {
		return Choice{}, err
	}
	return d.choice, nil
}

// draft is a choice with what was read and made for it.
type draft struct {
	choice    Choice
	pod       *corev1.Pod
	status    corev1.ContainerStatus
	seat      seat
	container corev1.EphemeralContainer
}

func (o Options) draft(ctx context.Context) (draft, error) {
	pod, status, err := o.target(ctx)
	if err != nil {
		return draft{}, err
	}
	d := draft{pod: pod, status: status}
	if d.seat, err = o.seat(pod); err != nil {
		return d, err
	}
	if d.seat.standing {
		c, _ := ephemeral(pod, d.seat.container)
		d.container = *c
		d.choice = Choice{Profile: profileOf(*c), Standing: true}
		d.choice.Change, err = o.change(*c)
		return d, err
	}
	d.choice.Refused = slices.Clone(o.Refused)
	return d, o.ladder(ctx, &d, o.Profiles)
}

// ladder tries the profiles by dry run, from the first down.
func (o Options) ladder(ctx context.Context, d *draft, profiles []Profile) error {
	if profiles == nil {
		profiles = Strong()
	}
	for _, p := range o.tried(profiles) {
		c, err := o.container(d.pod, d.status, d.seat, p)
		if err != nil {
			d.refuse(p, err)
			continue
		}
		err = o.inject(ctx, c, metav1.DryRunAll)
		switch {
		case err == nil, inconclusive(err):
			d.container, d.seat.command = c, c.Command
			d.choice.Profile, d.choice.Inconclusive = p, err != nil
			d.choice.Change, err = o.change(c)
			return err
		case denied(err):
			d.refuse(p, err)
		default:
			return err
		}
	}
	return &NoProfileError{Container: o.Container, Refused: d.choice.Refused}
}

func (d *draft) refuse(p Profile, err error) {
	reason := err.Error()
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		reason = s.Status().Message
	}
	d.choice.Refused = append(d.choice.Refused, Refusal{Profile: p, Reason: reason, Err: err})
}

// inject makes the write, or with dryRun tries it. Made twice with the same container
// it changes nothing the second time.
func (o Options) inject(ctx context.Context, c corev1.EphemeralContainer, dryRun ...string) error {
	body, err := o.patch(c)
	if err != nil {
		return fmt.Errorf("describe container %s: %w", c.Name, err)
	}
	err = cluster.Persist(ctx, func() error { // merged by name: made twice it is one
		_, err := o.Client.CoreV1().Pods(o.Target.Namespace).Patch(ctx, o.Target.Pod, types.StrategicMergePatchType, body,
			metav1.PatchOptions{FieldManager: fieldManager, DryRun: dryRun}, "ephemeralcontainers")
		return err
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("inject container %s into %s: %w", c.Name, o.Target, o.explain(err))
}

// explain tells apart what the API server's answer leaves to be told apart.
func (o Options) explain(err error) error {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return err
	}
	st := s.Status()
	switch {
	case st.Code == http.StatusNotFound && (st.Details == nil || st.Details.Name == ""):
		return fmt.Errorf("%w: %w", ErrUnsupported, err) // as kubectl debug tells them apart
	case st.Code == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	case strings.Contains(st.Message, "static pods do not support"):
		return fmt.Errorf("%w: %w", ErrStaticPod, err)
	case st.Code == http.StatusUnprocessableEntity || st.Code == http.StatusConflict:
		for _, cause := range causes(st) {
			if cause.Field == "metadata.uid" {
				return fmt.Errorf("%w: %w", ErrReplaced, err)
			}
		}
		if strings.Contains(st.Message, "UID") {
			return fmt.Errorf("%w: %w", ErrReplaced, err)
		}
	}
	return err
}

func causes(st metav1.Status) []metav1.StatusCause {
	if st.Details == nil {
		return nil
	}
	return st.Details.Causes
}

// denied reports an answer by which an admission, or a right, stands against this
// profile, and perhaps not against the next.
func denied(err error) bool {
	if errors.Is(err, ErrReplaced) || errors.Is(err, ErrStaticPod) || errors.Is(err, ErrUnsupported) {
		return false
	}
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotAcceptable(err)
}

// inconclusive reports a dry run that a webhook did not take part in: that says nothing
// about the write itself.
func inconclusive(err error) bool {
	return err != nil && strings.Contains(err.Error(), "does not support dry run")
}

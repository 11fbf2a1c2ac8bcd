package debugger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
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

func (o ProbeOptions) withDefaults() ProbeOptions {
	o.Host = o.Host.withDefaults()
	if o.Namespace == "" {
		o.Namespace = SystemNamespace
	}
	return o
}

// pod is the probe pod as it is created: no account, no right, a life that ends.
func (o ProbeOptions) pod(key string) *corev1.Pod {
	restricted := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), Privileged: new(false),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: probeName(o.Case), Namespace: o.Namespace, Labels: map[string]string{evidence.LabelCase: o.Case},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, NodeName: o.Node,
			ActiveDeadlineSeconds:         new(int64(max(1, o.MaxLife/time.Second))),
			TerminationGracePeriodSeconds: new(int64(1)),
			AutomountServiceAccountToken:  new(false), EnableServiceLinks: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(probeUser)), RunAsGroup: new(int64(probeUser)), FSGroup: new(int64(probeUser)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: probeContainer, Image: o.image(), ImagePullPolicy: o.PullPolicy, SecurityContext: restricted,
				Command:                  o.workCommand([]string{"--key", key, "--no-target", "--max-life", o.MaxLife.String()}),
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("96Mi")},
				},
			}},
		},
	}
	if o.Image == "" {
		p.Spec.Volumes = []corev1.Volume{{Name: "agent", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "agent", MountPath: "/irkit"}}
	}
	for _, s := range o.PullSecrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	return p
}

func (o ProbeOptions) object(uid string) evidence.Object {
	return evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: o.Namespace, Name: probeName(o.Case), UID: uid}
}

// ProbePodChange is the write that StartProbePod will make, for the plan. Without
// o.Secret the key in it is another one each time.
func ProbePodChange(o ProbeOptions) (evidence.Change, error) {
	if err := o.validate(); err != nil {
		return evidence.Change{}, err
	}
	o = o.withDefaults()
	key, err := newKey(o.Secret, o.Namespace+"/"+probeName(o.Case))
	if err != nil {
		return evidence.Change{}, err
	}
	return o.change(o.pod(public(key)), 0)
}

// change is the creation as a value. A pod that takes the place of an ended one is
// another change than the first.
func (o ProbeOptions) change(p *corev1.Pod, n int) (evidence.Change, error) {
	after, err := json.Marshal(p)
	if err != nil {
		return evidence.Change{}, fmt.Errorf("describe probe pod: %w", err)
	}
	id := "probe/create/pod/" + o.Namespace + "/" + p.Name
	if n > 0 {
		id += fmt.Sprintf("/%d", n)
	}
	return evidence.Change{
		ID: id, Layer: "probe", Op: evidence.OpCreate, Object: o.object(""), After: after,
		Why: "measure from outside whether the target can be reached",
	}, nil
}

// StartProbePod creates the case's probe pod through o.Recorder (Op create) and
// attaches to it. A pod of that name that this case made and whose key is known is used
// as it stands; an ended one is deleted (Op delete) and takes a new one's place. It ends
// by itself after MaxLife; DeleteProbePod takes it away before.
func StartProbePod(ctx context.Context, o ProbeOptions) (*Hand, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	name := probeName(o.Case)
	key, err := newKey(o.Secret, o.Namespace+"/"+name)
	if err != nil {
		return nil, err
	}
	s := seat{namespace: o.Namespace, pod: name, container: probeContainer, key: key}
	p, err := o.stands(ctx)
	if err != nil {
		return nil, err
	}
	if p != nil && (keyOf(p.Spec.Containers[0].Command) != public(key) || over(p)) {
		if err := o.remove(ctx, p); err != nil {
			return nil, err
		}
		p = nil
	}
	if s.standing = p != nil; !s.standing {
		if p, err = o.create(ctx, o.pod(public(key))); err != nil {
			return nil, err
		}
	}
	s.podUID, s.command = string(p.UID), p.Spec.Containers[0].Command
	o.Progress("wait for probe pod " + name)
	p, status, err := o.await(ctx, s)
	if err != nil {
		return nil, err
	}
	s.node = p.Spec.NodeName
	return o.reach(ctx, s, Info{
		Namespace: s.namespace, Pod: s.pod, PodUID: s.podUID, Container: s.container, Image: p.Spec.Containers[0].Image,
	}, p, status)
}

// stands reads the probe pod, or answers nil. A pod of that name that is not this
// case's is an error: names are deterministic, so someone means it.
func (o ProbeOptions) stands(ctx context.Context) (*corev1.Pod, error) {
	p, err := o.Client.CoreV1().Pods(o.Namespace).Get(ctx, probeName(o.Case), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for probe pod: %w", err)
	case p.Labels[evidence.LabelCase] != o.Case || len(p.Spec.Containers) != 1:
		return nil, fmt.Errorf("look for probe pod: pod %s in %s is not of case %s", p.Name, o.Namespace, o.Case)
	}
	return p, nil
}

func over(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// create records and makes the pod. One whose creation stands in the journal, and
// which is gone, was deleted since: that is a further change.
func (o ProbeOptions) create(ctx context.Context, want *corev1.Pod) (*corev1.Pod, error) {
	for n := range further {
		c, err := o.change(want, n)
		if err != nil {
			return nil, err
		}
		if _, err = o.Recorder.Do(ctx, c, func(ctx context.Context) (json.RawMessage, error) {
			var p *corev1.Pod
			err := cluster.Persist(ctx, func() (err error) {
				p, err = o.Client.CoreV1().Pods(o.Namespace).Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
				return err
			})
			if apierrors.IsAlreadyExists(err) { // made by a session that ended between the write and its record
				p, err = o.stands(ctx)
			}
			if err != nil || p == nil {
				return nil, fmt.Errorf("create probe pod %s in %s: %w", want.Name, o.Namespace, err)
			}
			return json.Marshal(map[string]string{"uid": string(p.UID)})
		}); err != nil {
			return nil, err
		}
		p, err := o.stands(ctx)
		if p != nil || err != nil {
			return p, err
		}
	}
	return nil, errors.New("create probe pod: it is deleted again and again")
}

// DeleteProbePodChange is the write that takes the probe pod away again; it is pure.
func DeleteProbePodChange(o ProbeOptions, uid string) evidence.Change {
	o = o.withDefaults()
	return evidence.Change{
		ID: "probe/delete/pod/" + o.Namespace + "/" + probeName(o.Case) + "/" + uid, Layer: "probe", Op: evidence.OpDelete,
		Object: o.object(uid), Why: "the probe pod is not needed any more",
	}
}

// DeleteProbePod deletes the case's probe pod through o.Recorder (Op delete), with
// its UID as precondition. A pod that is gone, or that is not this case's, is left
// alone without an error. Only Client, Recorder, Case and Namespace are used.
func DeleteProbePod(ctx context.Context, o ProbeOptions) error {
	o = o.withDefaults()
	p, err := o.Client.CoreV1().Pods(o.Namespace).Get(ctx, probeName(o.Case), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && p.Labels[evidence.LabelCase] != o.Case:
		return nil
	case err != nil:
		return fmt.Errorf("look for probe pod: %w", err)
	}
	return o.delete(ctx, p.UID)
}

func (o ProbeOptions) delete(ctx context.Context, uid types.UID) error {
	_, err := o.Recorder.Do(ctx, DeleteProbePodChange(o, string(uid)), func(ctx context.Context) (json.RawMessage, error) {
		err := cluster.Persist(ctx, func() error {
			return o.Client.CoreV1().Pods(o.Namespace).Delete(ctx, probeName(o.Case), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("delete probe pod in %s: %w", o.Namespace, err)
		}
		return json.Marshal(map[string]string{"uid": string(uid)})
	})
	return err
}

// remove deletes an ended pod and waits until its name is free.
func (o ProbeOptions) remove(ctx context.Context, p *corev1.Pod) error {
	if p.DeletionTimestamp == nil {
		if err := o.delete(ctx, p.UID); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	for {
		now, err := o.stands(ctx)
		if err != nil {
			return err
		}
		if now == nil || now.UID != p.UID {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the old probe pod %s is gone: %w", p.Name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

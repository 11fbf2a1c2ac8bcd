package debugger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// OwnPod is a pod of irkit's own in which a hand sits: the probe pod, or a node pod. Its
// name belongs to the case, so that a session that is run again finds what the one before
// left. It has one container.
type OwnPod struct {
	Host
	Namespace, Name string
	Layer           string // of the changes: probe, hand
	What            string // the pod in a sentence: "probe pod"
	Why             string // it is made; one sentence
	// Pod is what is its own of the pod: node, labels, security contexts, resources, and the
	// container's name. The rest is the same for all: no account, no right, a life that
	// ends. A pod that stands is used only when it was made for this hand's key.
	Pod  *corev1.Pod
	Args []string // of the worker, beside its key and its life
	// Info is what is known of the hand before it is reached.
	Info Info
}

// CreateChange is the write that Start will make, for the plan. Without Secret the key in
// it is another one each time.
func (o OwnPod) CreateChange() (evidence.Change, error) {
	if err := o.validate(); err != nil {
		return evidence.Change{}, err
	}
	o.Host = o.withDefaults()
	key, err := newKey(o.Secret, o.whose())
	if err != nil {
		return evidence.Change{}, err
	}
	return o.change(o.pod(public(key)), 0)
}

// Start creates the pod through o.Recorder (Op create) and attaches to the hand in it. A
// pod of that name that this case made and whose key is known is used as it stands; an
// ended one is deleted (Op delete) and takes a new one's place. It ends by itself after
// MaxLife; Delete takes it away before.
func (o OwnPod) Start(ctx context.Context) (*Hand, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Host = o.withDefaults()
	key, err := newKey(o.Secret, o.whose())
	if err != nil {
		return nil, err
	}
	want := o.pod(public(key))
	s := seat{namespace: o.Namespace, pod: o.Name, container: want.Spec.Containers[0].Name, key: key}
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
		if p, err = o.create(ctx, want); err != nil {
			return nil, err
		}
	}
	s.podUID, s.command = string(p.UID), p.Spec.Containers[0].Command
	o.Progress("wait for " + o.What + " " + o.Name)
	p, status, err := o.await(ctx, s)
	if err != nil {
		return nil, err
	}
	s.node = p.Spec.NodeName
	info := o.Info
	info.Namespace, info.Pod, info.PodUID, info.Container = s.namespace, s.pod, s.podUID, s.container
	info.Image = p.Spec.Containers[0].Image
	return o.reach(ctx, s, info, p, status)
}

// Delete deletes the pod through o.Recorder (Op delete), with its UID as precondition. A
// pod that is gone, or that is not this case's, is left alone without an error. Of the
// Host only Client, Recorder and Case are used.
func (o OwnPod) Delete(ctx context.Context) error {
	p, err := o.Client.CoreV1().Pods(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && p.Labels[evidence.LabelCase] != o.Case:
		return nil
	case err != nil:
		return fmt.Errorf("look for %s: %w", o.What, err)
	}
	return o.delete(ctx, p.UID)
}

// DeleteChange is the write that takes the pod away again; it is pure.
func (o OwnPod) DeleteChange(uid string) evidence.Change {
	return evidence.Change{
		ID: o.id("delete") + "/" + uid, Layer: o.Layer, Op: evidence.OpDelete,
		Object: o.object(uid), Why: "the " + o.What + " is not needed any more",
	}
}

// pod is the whole of it, as it is created.
func (o OwnPod) pod(key string) *corev1.Pod {
	p := o.Pod.DeepCopy()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.Name, p.Namespace = o.Name, o.Namespace
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[evidence.LabelCase] = o.Case
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.Spec.ActiveDeadlineSeconds = new(int64(max(1, o.MaxLife/time.Second)))
	p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	p.Spec.AutomountServiceAccountToken, p.Spec.EnableServiceLinks = new(false), new(false)
	p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	c := &p.Spec.Containers[0]
	c.Image, c.ImagePullPolicy = o.image(), o.PullPolicy
	c.Command = o.workCommand(append(append([]string{"--key", key}, o.Args...), "--max-life", o.MaxLife.String()))
	c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	if o.Image == "" { // room for the binary
		p.Spec.Volumes = []corev1.Volume{{Name: "agent", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		c.VolumeMounts = []corev1.VolumeMount{{Name: "agent", MountPath: "/irkit"}}
	}
	return p
}

// whose is what the hand's key is made of: one that serves another container since is
// another hand.
func (o OwnPod) whose() string {
	return strings.Join(append([]string{o.Namespace + "/" + o.Name}, o.Args...), " ")
}

func (o OwnPod) id(op string) string {
	return o.Layer + "/" + op + "/pod/" + o.Namespace + "/" + o.Name
}

func (o OwnPod) object(uid string) evidence.Object {
	return evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: o.Namespace, Name: o.Name, UID: uid}
}

// change is the creation as a value. A pod that takes the place of an ended one is
// another change than the first.
func (o OwnPod) change(p *corev1.Pod, n int) (evidence.Change, error) {
	after, err := json.Marshal(p)
	if err != nil {
		return evidence.Change{}, fmt.Errorf("describe %s: %w", o.What, err)
	}
	id := o.id("create")
	if n > 0 {
		id += fmt.Sprintf("/%d", n)
	}
	return evidence.Change{ID: id, Layer: o.Layer, Op: evidence.OpCreate, Object: o.object(""), After: after, Why: o.Why}, nil
}

// stands reads the pod, or answers nil. A pod of that name that is not this case's is an
// error: names are deterministic, so someone means it.
func (o OwnPod) stands(ctx context.Context) (*corev1.Pod, error) {
	p, err := o.Client.CoreV1().Pods(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for %s: %w", o.What, err)
	case p.Labels[evidence.LabelCase] != o.Case || len(p.Spec.Containers) != 1:
		return nil, fmt.Errorf("look for %s: pod %s in %s is not of case %s", o.What, p.Name, o.Namespace, o.Case)
	}
	return p, nil
}

func over(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// create records and makes the pod. One whose creation stands in the journal, and
// which is gone, was deleted since: that is a further change.
func (o OwnPod) create(ctx context.Context, want *corev1.Pod) (*corev1.Pod, error) {
	for n := range furtherPods {
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
				return nil, fmt.Errorf("create %s %s in %s: %w", o.What, want.Name, o.Namespace, err)
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
	return nil, errors.New("create " + o.What + ": it is deleted again and again")
}

func (o OwnPod) delete(ctx context.Context, uid types.UID) error {
	_, err := o.Recorder.Do(ctx, o.DeleteChange(string(uid)), func(ctx context.Context) (json.RawMessage, error) {
		err := cluster.Persist(ctx, func() error {
			return o.Client.CoreV1().Pods(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("delete %s in %s: %w", o.What, o.Namespace, err)
		}
		return json.Marshal(map[string]string{"uid": string(uid)})
	})
	return err
}

// remove deletes an ended pod and waits until its name is free.
func (o OwnPod) remove(ctx context.Context, p *corev1.Pod) error {
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
			return fmt.Errorf("wait until the old %s %s is gone: %w", o.What, p.Name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

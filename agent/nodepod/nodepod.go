package nodepod

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// Setup is the command that makes namespace and rights.
const Setup = "irkit rbac --node --user RESPONDER | kubectl apply -f -"

// ErrSetup says that the namespace of node pods is not there, or that we may not make a
// pod in it; Setup is what to run.
var ErrSetup = errors.New("node pods are not set up")

const (
	container = "node"
	// annotationTarget says for a person on the node's side whom the pod is for.
	annotationTarget = "irkit.dev/target"
)

// Options says for which pod a node pod is started.
type Options struct {
	debugger.Host
	Target    evidence.Target
	Namespace string // cluster.NodeNamespace when empty
	// Refused is why no hand sits beside the target, for the record.
	Refused []debugger.Refusal
}

// Start creates the node pod on the target's node, through o.Recorder (Op create; layer
// "hand"), and attaches to the hand in it, which sees every container of the pod and
// sits in the pod's network namespace. A target that uses the node's network has none of
// its own: its hand reads, and refuses every cut with agent.ErrNodeNetwork.
//
// Running again finds the pod that stands, when o.Secret is the same. An error that wraps
// ErrSetup means that nothing was made, and nothing can be until Setup was run.
func Start(ctx context.Context, o Options) (*debugger.Hand, error) {
	if err := o.Target.Validate(); err != nil {
		return nil, err
	}
	pod, err := o.live(ctx)
	if err != nil {
		return nil, err
	}
	id, err := runningContainer(pod)
	if err != nil {
		return nil, fmt.Errorf("start node pod for %s: %w", o.Target, err)
	}
	h, err := o.own(pod.Spec.NodeName, UID(pod), id).Start(ctx)
	if err != nil {
		return nil, o.explain(err)
	}
	return h, nil
}

// Delete deletes the node pod of this case and target, through o.Recorder (Op delete). One
// that is gone is no error; nor is it one that we may not even look for any. Of the Host
// only Client, Recorder and Case are used.
func Delete(ctx context.Context, o Options) error {
	err := o.own("", "", "").Delete(ctx)
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	return err
}

// Name is that of the node pod of a case and target.
func Name(caseID string, t evidence.Target) string { return debugger.PodName("node", caseID, t.UID) }

// Is reports a change that makes or takes away a node pod.
func Is(c evidence.Change) bool {
	return c.Layer == "hand" && c.Object.Kind == "Pod" && strings.HasPrefix(c.Object.Name, "irkit-node-") &&
		(c.Op == evidence.OpCreate || c.Op == evidence.OpDelete)
}

// Draft is the write that Start will make for a pod that was read, without the hand's
// key, for a plan: it asks nobody.
func Draft(o Options, pod *corev1.Pod) (evidence.Change, error) { return o.drafted(pod).Draft() }

// Try has the API server check that write with dryRun=All.
func Try(ctx context.Context, o Options, pod *corev1.Pod) error {
	if err := o.drafted(pod).Try(ctx); err != nil {
		return o.explain(err)
	}
	return nil
}

func (o Options) drafted(pod *corev1.Pod) debugger.OwnPod {
	id, err := runningContainer(pod)
	if err != nil {
		id = "(none runs)"
	}
	return o.own(pod.Spec.NodeName, UID(pod), id)
}

func why(t evidence.Target) string {
	return "run a privileged node pod on node " + t.Node + ", for this session: no hand that can cut is admitted beside the target"
}

// UID is by which the node's control groups know a pod: that of a static pod is the digest
// of its manifest, which its mirror in the API tells (kubelet, config.hash).
func UID(pod *corev1.Pod) string {
	if hash := pod.Annotations[corev1.MirrorPodAnnotationKey]; hash != "" {
		return hash
	}
	return string(pod.UID)
}

func (o Options) live(ctx context.Context) (*corev1.Pod, error) {
	pod, err := o.Client.CoreV1().Pods(o.Target.Namespace).Get(ctx, o.Target.Pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("start node pod for %s: %w: %w", o.Target, debugger.ErrReplaced, err)
	case err != nil:
		return nil, fmt.Errorf("start node pod for %s: %w", o.Target, err)
	case string(pod.UID) != o.Target.UID:
		return nil, fmt.Errorf("start node pod for %s: its UID is %s, not %s: %w", o.Target, pod.UID, o.Target.UID, debugger.ErrReplaced)
	case pod.Spec.NodeName == "":
		return nil, fmt.Errorf("start node pod for %s: it has no node yet: %w", o.Target, debugger.ErrTargetDown)
	}
	return pod, nil
}

// runningContainer is the ID of the first regular container that runs, without its scheme.
func runningContainer(pod *corev1.Pod) (string, error) {
	for _, c := range pod.Spec.Containers {
		i := slices.IndexFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == c.Name && s.State.Running != nil })
		if i < 0 {
			continue
		}
		if _, id, ok := strings.Cut(pod.Status.ContainerStatuses[i].ContainerID, "://"); ok && id != "" {
			return id, nil
		}
	}
	return "", fmt.Errorf("none of its containers runs: %w", debugger.ErrTargetDown)
}

func (o Options) own(node, uid, id string) debugger.OwnPod {
	if o.Namespace == "" {
		o.Namespace = cluster.NodeNamespace
	}
	name := Name(o.Case, o.Target)
	return debugger.OwnPod{
		Host: o.Host, Namespace: o.Namespace, Name: name, Layer: "hand", What: "node pod", Why: why(o.Target),
		Pod: o.pod(node), Args: []string{"--node", "--pod-uid", uid, "--container-id", id},
		Info: debugger.Info{
			Profile: debugger.Node, SharedPIDs: true, Refused: o.Refused, Node: node,
			Alterations: []evidence.Alteration{{
				What: "privileged pod " + name + " ran in namespace " + o.Namespace + " on node " + node + ", and its process in the target's network namespace",
				Why:  "no hand could work beside the target",
			}},
		},
	}
}

// pod is privileged and sees the node's processes; it mounts nothing of the node.
func (o Options) pod(node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{"app.kubernetes.io/name": "irkit", "app.kubernetes.io/component": "node"},
			Annotations: map[string]string{annotationTarget: o.Target.String() + " " + o.Target.UID},
		},
		Spec: corev1.PodSpec{
			NodeName: node, // bypasses the scheduler: a cordoned node takes it too
			HostPID:  true,
			Containers: []corev1.Container{{
				Name: container,
				SecurityContext: &corev1.SecurityContext{
					Privileged: new(true), RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), RunAsNonRoot: new(false),
					ReadOnlyRootFilesystem: new(true),
				},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("0"), corev1.ResourceMemory: resource.MustParse("0")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
				},
			}},
		},
	}
}

// explain tells what is not set up from what failed.
func (o Options) explain(err error) error {
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status) || errors.Is(err, agent.ErrGone):
		return err
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err) && strings.Contains(err.Error(), "namespaces"):
		return fmt.Errorf("%w (%s): %w", ErrSetup, Setup, err)
	}
	return err
}

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"irkit.dev/irkit/evidence"
)

// DerivedUID begins a cluster UID that was not read but derived.
const DerivedUID = "derived:"

// ClusterUID is the UID of namespace kube-system, which names a cluster for its life.
// Where reading that is forbidden it is "derived:" and a digest of the API server's
// address and certificate authority: stable for one kubeconfig, but another way
// to the same cluster gives another value.
func (c *Conn) ClusterUID(ctx context.Context) (string, error) {
	ns, err := c.Client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err == nil && ns.UID != "" {
		return string(ns.UID), nil
	}
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		return "", c.Explain("read the cluster's identity", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", c.Cluster)
	if c.Config != nil {
		h.Write(c.Config.CAData)
		fmt.Fprintf(h, "\n%s", c.Config.CAFile)
	}
	return DerivedUID + hex.EncodeToString(h.Sum(nil))[:32], nil
}

// Resolve looks up a pod by "web-0" or "pod/web-0" in the connection's namespace and
// pins it.
func (c *Conn) Resolve(ctx context.Context, name string) (evidence.Target, *corev1.Pod, error) {
	kind, rest, typed := strings.Cut(name, "/")
	if typed {
		switch strings.ToLower(kind) {
		case "pod", "pods", "po":
			name = rest
		default:
			return evidence.Target{}, nil, fmt.Errorf("resolve %q: only pods can be targets", name)
		}
	}
	if name == "" || strings.Contains(name, "/") {
		return evidence.Target{}, nil, fmt.Errorf("resolve %q: not a pod's name", name)
	}
	id := c.clusterUID(ctx)
	defer func() { _, _ = id() }()
	pod, err := c.Client.CoreV1().Pods(c.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return evidence.Target{}, nil, hinted(fmt.Errorf("find pod %s in namespace %s: %w", name, c.Namespace, oneLine(err)),
			fmt.Sprintf("context is %q; is it another namespace (-n)?", c.Context))
	}
	if err != nil {
		return evidence.Target{}, nil, c.Explain(fmt.Sprintf("find pod %s in namespace %s", name, c.Namespace), err)
	}
	return pin(pod, id)
}

// ResolveSelector looks up the one pod that a label selector matches; none and
// several (ErrAmbiguous) are errors.
func (c *Conn) ResolveSelector(ctx context.Context, selector string) (evidence.Target, *corev1.Pod, error) {
	did := fmt.Sprintf("find the pod with -l %q in namespace %s", selector, c.Namespace)
	sel, err := labels.Parse(selector)
	if err != nil {
		return evidence.Target{}, nil, fmt.Errorf("%s: %w", did, oneLine(err))
	}
	if sel.Empty() {
		return evidence.Target{}, nil, fmt.Errorf("%s: an empty selector means every pod", did)
	}
	id := c.clusterUID(ctx)
	defer func() { _, _ = id() }()
	list, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: sel.String(), Limit: 20})
	if err != nil {
		return evidence.Target{}, nil, c.Explain(did, err)
	}
	switch len(list.Items) {
	case 0:
		return evidence.Target{}, nil, hinted(fmt.Errorf("%s: none", did), "is it another namespace (-n)?")
	case 1:
		return pin(&list.Items[0], id)
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return evidence.Target{}, nil, hinted(fmt.Errorf("%s: %w: %s", did, ErrAmbiguous, strings.Join(names, ", ")), "name one of them")
}

// clusterUID asks at once, and is waited for when the pod is known. It must be waited for on
// every way out: nothing of a call goes on after it returned.
func (c *Conn) clusterUID(ctx context.Context) (wait func() (string, error)) {
	var id string
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		id, err = c.ClusterUID(ctx)
	}()
	return func() (string, error) {
		<-done
		return id, err
	}
}

func pin(pod *corev1.Pod, clusterUID func() (string, error)) (evidence.Target, *corev1.Pod, error) {
	id, err := clusterUID()
	if err != nil {
		return evidence.Target{}, nil, err
	}
	t := evidence.Target{ClusterUID: id, Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName}
	return t, pod, t.Validate()
}

// Live reads the target as it stands now. ErrReplaced: no pod of that name is there,
// or one with another UID.
func (c *Conn) Live(ctx context.Context, t evidence.Target) (*corev1.Pod, error) {
	pod, err := c.Client.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read pod %s: no such pod: %w", t, ErrReplaced)
	}
	if err != nil {
		return nil, c.Explain("read pod "+t.String(), err)
	}
	if string(pod.UID) != t.UID {
		return nil, fmt.Errorf("read pod %s: its uid is %s, not %s: %w", t, pod.UID, t.UID, ErrReplaced)
	}
	return pod, nil
}

package apply

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Until asks again and again until the answer is no error; the last answer
// explains a wait that ended with its context.
func Until(ctx context.Context, what string, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-time.After(150 * time.Millisecond):
		}
	}
}

// PodsReady is nil when every pod that these objects stand for exists and is
// ready.
func (c *Cluster) PodsReady(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		selector, count, ok := pods(object)
		if !ok {
			continue
		}
		list, err := c.CoreV1().Pods(object.GetNamespace()).List(ctx, selector)
		if err != nil {
			return err
		}
		ready := 0
		for i := range list.Items {
			if isReady(&list.Items[i]) {
				ready++
			}
		}
		if ready < count || len(list.Items) != count {
			return fmt.Errorf("%s: %d of %d pods are ready, %d exist", title(object), ready, count, len(list.Items))
		}
	}
	return nil
}

// pods says how many pods an object stands for, and how to find them.
func pods(object *unstructured.Unstructured) (selector metav1.ListOptions, count int, ok bool) {
	switch object.GetKind() {
	case "Pod":
		return metav1.ListOptions{FieldSelector: "metadata.name=" + object.GetName()}, 1, true
	case "Deployment", "StatefulSet":
		labels, _, _ := unstructured.NestedStringMap(object.Object, "spec", "selector", "matchLabels")
		replicas, found, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
		if !found {
			replicas = 1
		}
		return metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: labels})},
			int(replicas), true
	}
	return metav1.ListOptions{}, 0, false
}

func isReady(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// NodeReady is nil when the node takes pods.
func (c *Cluster) NodeReady(ctx context.Context, name string) error {
	node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not ready", name)
}

// Schedulable takes every cordon off: one that a killed test left would keep each new
// pod waiting.
func (c *Cluster) Schedulable(ctx context.Context) error {
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range nodes.Items {
		if !nodes.Items[i].Spec.Unschedulable {
			continue
		}
		patch := []byte(`{"spec":{"unschedulable":null}}`)
		if _, err := c.CoreV1().Nodes().Patch(ctx, nodes.Items[i].Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("cannot uncordon node %s: %w", nodes.Items[i].Name, err)
		}
	}
	return nil
}

// Serves is nil when the API server says that it is ready.
func (c *Cluster) Serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := c.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err
}

package apply

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Empty deletes namespaces, and their pods without a grace period or finalizers,
// and waits until all of it is gone. What is not there is no error.
func (c *Cluster) Empty(ctx context.Context, namespaces []*unstructured.Unstructured) error {
	for _, namespace := range namespaces {
		err := c.CoreV1().Namespaces().Delete(ctx, namespace.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot delete %s: %w", title(namespace), err)
		}
	}
	for _, namespace := range namespaces {
		name := namespace.GetName()
		err := Until(ctx, "namespace "+name+" to be gone", func(ctx context.Context) error {
			_, err := c.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
			return c.dropPods(ctx, name)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropPods hurries a dying namespace's pods along. Its answer is always an error:
// the namespace is still there.
func (c *Cluster) dropPods(ctx context.Context, namespace string) error {
	pods := c.CoreV1().Pods(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		if err := c.drop(ctx, &list.Items[i]); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return fmt.Errorf("it still has %d pods", len(list.Items))
}

func (c *Cluster) drop(ctx context.Context, pod *corev1.Pod) error {
	pods, soon := c.CoreV1().Pods(pod.Namespace), int64(1)
	if len(pod.Finalizers) > 0 {
		freed := pod.DeepCopy()
		freed.Finalizers = nil
		if _, err := pods.Update(ctx, freed, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
			return err
		}
	}
	if pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds <= soon {
		return nil // already on its way
	}
	return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &soon})
}

package apply

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Empty deletes namespaces, and their pods without a grace period or finalizers,
// and waits until all of it is gone. What is not there is no error.
func (c *Cluster) Empty(ctx context.Context, namespaces []*unstructured.Unstructured) error {
	// A namespace that still has pods when it dies takes four times as long.
	for _, namespace := range namespaces {
		if err := c.dropWorkloads(ctx, namespace.GetName()); err != nil {
			return err
		}
	}
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
			if err := c.dropPods(ctx, name); err != nil {
				return err
			}
			return errors.New("it is still there")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropWorkloads deletes what makes pods, then the pods, and waits until they are
// gone.
func (c *Cluster) dropWorkloads(ctx context.Context, namespace string) error {
	background := metav1.DeletePropagationBackground
	options, all := metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}
	apps, batch := c.AppsV1(), c.BatchV1()
	err := errors.Join(
		batch.CronJobs(namespace).DeleteCollection(ctx, options, all),
		batch.Jobs(namespace).DeleteCollection(ctx, options, all),
		apps.DaemonSets(namespace).DeleteCollection(ctx, options, all),
		apps.StatefulSets(namespace).DeleteCollection(ctx, options, all),
		apps.Deployments(namespace).DeleteCollection(ctx, options, all),
		apps.ReplicaSets(namespace).DeleteCollection(ctx, options, all),
	)
	if err != nil {
		return fmt.Errorf("cannot delete the workloads of %s: %w", namespace, err)
	}
	return Until(ctx, "the pods of "+namespace+" to be gone", func(ctx context.Context) error {
		return c.dropPods(ctx, namespace)
	})
}

// dropPods hurries a namespace's pods along. Its answer is nil when none is left.
func (c *Cluster) dropPods(ctx context.Context, namespace string) error {
	pods := c.CoreV1().Pods(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return err
	}
	for i := range list.Items {
		if err := c.drop(ctx, &list.Items[i]); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return fmt.Errorf("%d are left", len(list.Items))
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

// Drop deletes objects and waits until they are gone. What is not there is no error.
func (c *Cluster) Drop(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		client, err := c.client(object)
		if err != nil {
			return err
		}
		if err := Until(ctx, title(object)+" to be gone", func(ctx context.Context) error {
			err := client.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				return err
			}
			return errors.New("it is still there")
		}); err != nil {
			return err
		}
	}
	return nil
}

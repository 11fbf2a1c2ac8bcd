// Package scene holds the workloads that incidents happen to, and puts them in
// place.
package scene

import (
	"context"
	"embed"
	"errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"irkit.dev/irkit/lab/apply"
)

//go:embed *.yaml
var files embed.FS

// Set makes the nodes take pods, applies the scene, and waits until every pod of it is
// ready.
func Set(ctx context.Context, cluster *apply.Cluster) error {
	objects, err := apply.Objects(files)
	if err != nil {
		return err
	}
	if err := errors.Join(cluster.Schedulable(ctx), cluster.Apply(ctx, objects)); err != nil {
		return err
	}
	return apply.Until(ctx, "the scene", func(ctx context.Context) error {
		return cluster.PodsReady(ctx, objects)
	})
}

// Reset deletes the scene's namespaces with all that is in them, also what is
// not the scene's, and sets it anew.
func Reset(ctx context.Context, cluster *apply.Cluster) error {
	objects, err := apply.Objects(files)
	if err != nil {
		return err
	}
	if err := cluster.Empty(ctx, ofKind(objects, "Namespace")); err != nil {
		return err
	}
	// A volume whose claim is gone belongs to it for ever: the new claim would wait.
	if err := cluster.Drop(ctx, ofKind(objects, "PersistentVolume")); err != nil {
		return err
	}
	return Set(ctx, cluster)
}

func ofKind(objects []*unstructured.Unstructured, kind string) []*unstructured.Unstructured {
	var of []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() == kind {
			of = append(of, object)
		}
	}
	return of
}

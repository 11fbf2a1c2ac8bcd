package quarantine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// beyond reads what only some clusters have, all at once.
func (y *surveyor) beyond(ctx context.Context) error {
	if y.conn.Dynamic == nil {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	if slices.Contains(y.apis, "kyverno.io") {
		g.Go(func() error { return y.cleanup(gctx) })
	}
	for _, r := range reach.Served(y.apis) {
		g.Go(func() error { return y.foreign(gctx, r) })
	}
	return g.Wait()
}

// foreign reads the policies of one kind. A kind that the group does not serve has none.
func (y *surveyor) foreign(ctx context.Context, r reach.Resource) error {
	var api dynamic.ResourceInterface = y.conn.Dynamic.Resource(r.GroupVersionResource)
	if r.Namespaced {
		api = y.conn.Dynamic.Resource(r.GroupVersionResource).Namespace(y.scene.Target.Namespace)
	}
	err := pages(func(o metav1.ListOptions) (string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return "", err
		}
		y.mu.Lock()
		defer y.mu.Unlock()
		for i := range l.Items {
			p, err := foreignPolicy(r, &l.Items[i])
			if err != nil {
				return "", err
			}
			y.scene.Foreign = append(y.scene.Foreign, p)
		}
		return l.GetContinue(), nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return y.gap(fmt.Sprintf("%s.%s (which may let traffic through)", r.Resource, r.Group), err)
}

func foreignPolicy(r reach.Resource, o *unstructured.Unstructured) (reach.Foreign, error) {
	p := reach.Foreign{Labels: o.GetLabels(), Object: evidence.Object{APIVersion: r.GroupVersion().String(), Kind: r.Kind,
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}}
	for field, into := range map[string]*json.RawMessage{"spec": &p.Spec, "specs": &p.Specs} {
		v, ok := o.Object[field]
		if !ok {
			continue
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return p, fmt.Errorf("read %s of %s: %w", field, p.Title(), err)
		}
		*into = raw
	}
	return p, nil
}

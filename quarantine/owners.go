package quarantine

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// ownerKind is a controller that is known to adopt and release pods by labels
// (k8s.io/kubernetes, pkg/controller/controller_ref_manager.go).
type ownerKind struct {
	group, kind, resource string
}

func ownerKinds() []ownerKind {
	return []ownerKind{
		{"apps", "ReplicaSet", "replicasets"},
		{"apps", "Deployment", "deployments"},
		{"apps", "StatefulSet", "statefulsets"},
		{"apps", "DaemonSet", "daemonsets"},
		{"batch", "Job", "jobs"},
		{"batch", "CronJob", "cronjobs"},
		{"", "ReplicationController", "replicationcontrollers"},
	}
}

// known is the kind of a controller reference, where it is one that adopts again by
// labels; else ok is false.
func known(apiVersion, kind string) (ownerKind, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return ownerKind{}, false
	}
	i := slices.IndexFunc(ownerKinds(), func(k ownerKind) bool { return k.group == gv.Group && k.kind == kind })
	if i < 0 {
		return ownerKind{}, false
	}
	return ownerKinds()[i], true
}

// owners reads the pod's owners and then theirs.
func (y *surveyor) owners(ctx context.Context) error {
	refs, of := y.scene.Pod.OwnerReferences, string(y.scene.Pod.UID)
	for depth := 0; depth < 2 && len(refs) > 0; depth++ {
		got := make([]Owner, len(refs))
		next := make([][]metav1.OwnerReference, len(refs))
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(8)
		for i, r := range refs {
			g.Go(func() (err error) {
				got[i], next[i], err = y.owner(gctx, r, of)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		y.scene.Owners = append(y.scene.Owners, got...)
		refs = nil
		for i, n := range next {
			if got[i].Controller && len(n) > 0 {
				refs, of = n, got[i].UID
			}
		}
	}
	return nil
}

func (y *surveyor) owner(ctx context.Context, r metav1.OwnerReference, of string) (Owner, []metav1.OwnerReference, error) {
	o := Owner{Of: of, Controller: r.Controller != nil && *r.Controller,
		Object: evidence.Object{APIVersion: r.APIVersion, Kind: r.Kind, Namespace: y.scene.Target.Namespace, Name: r.Name, UID: string(r.UID)}}
	if _, ok := known(r.APIVersion, r.Kind); !ok {
		return o, nil, nil // not ours to know how to read
	}
	meta, sel, tpl, err := readOwner(ctx, y.conn, o.Object)
	if apierrors.IsNotFound(err) || (err == nil && string(meta.UID) != o.UID) {
		return o, nil, nil
	}
	if err != nil {
		return o, nil, y.gap(o.String()+" (the target's owner)", err)
	}
	o.Found, o.Deleting, o.Labels = true, meta.DeletionTimestamp != nil, meta.Labels
	if sel != nil {
		o.Selector = metav1.FormatLabelSelector(sel)
	}
	if tpl != nil {
		o.Template = template(tpl)
	}
	return o, meta.OwnerReferences, nil
}

func readOwner(ctx context.Context, conn *cluster.Conn, o evidence.Object) (*metav1.ObjectMeta, *metav1.LabelSelector, *corev1.PodTemplateSpec, error) {
	get := metav1.GetOptions{}
	switch o.Kind {
	case "ReplicaSet":
		v, err := conn.Client.AppsV1().ReplicaSets(o.Namespace).Get(ctx, o.Name, get)
		if err != nil {
			return nil, nil, nil, err
		}
		return &v.ObjectMeta, v.Spec.Selector, &v.Spec.Template, nil
	case "Deployment":
		v, err := conn.Client.AppsV1().Deployments(o.Namespace).Get(ctx, o.Name, get)
		if err != nil {
			return nil, nil, nil, err
		}
		return &v.ObjectMeta, v.Spec.Selector, &v.Spec.Template, nil
	case "StatefulSet":
		v, err := conn.Client.AppsV1().StatefulSets(o.Namespace).Get(ctx, o.Name, get)
		if err != nil {
			return nil, nil, nil, err
		}
		return &v.ObjectMeta, v.Spec.Selector, &v.Spec.Template, nil
	case "DaemonSet":
		v, err := conn.Client.AppsV1().DaemonSets(o.Namespace).Get(ctx, o.Name, get)
		if err != nil {
			return nil, nil, nil, err
		}
		return &v.ObjectMeta, v.Spec.Selector, &v.Spec.Template, nil
	case "Job":
		v, err := conn.Client.BatchV1().Jobs(o.Namespace).Get(ctx, o.Name, get)
		if err != nil {
			return nil, nil, nil, err
		}
		return &v.ObjectMeta, v.Spec.Selector, &v.Spec.Template, nil
	case "CronJob":
		v, err := conn.Client.BatchV1().CronJobs(o.Namespace).Get(ctx, o.Name, get)
		if err != nil {
			return nil, nil, nil, err
		}
		return &v.ObjectMeta, nil, &v.Spec.JobTemplate.Spec.Template, nil
	}
	v, err := conn.Client.CoreV1().ReplicationControllers(o.Namespace).Get(ctx, o.Name, get)
	if err != nil {
		return nil, nil, nil, err
	}
	return &v.ObjectMeta, &metav1.LabelSelector{MatchLabels: v.Spec.Selector}, v.Spec.Template, nil
}

// template names what a replacement is made of: images, secrets by name, account.
func template(t *corev1.PodTemplateSpec) *Template {
	out := &Template{ServiceAccount: t.Spec.ServiceAccountName}
	secret := func(name string) {
		if name != "" && !slices.Contains(out.Secrets, name) {
			out.Secrets = append(out.Secrets, name)
		}
	}
	for _, c := range append(slices.Clone(t.Spec.InitContainers), t.Spec.Containers...) {
		if !slices.Contains(out.Images, c.Image) {
			out.Images = append(out.Images, c.Image)
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				secret(e.ValueFrom.SecretKeyRef.Name)
			}
		}
		for _, e := range c.EnvFrom {
			if e.SecretRef != nil {
				secret(e.SecretRef.Name)
			}
		}
	}
	for _, v := range t.Spec.Volumes {
		if v.Secret != nil {
			secret(v.Secret.SecretName)
		}
		if v.Projected == nil {
			continue
		}
		for _, src := range v.Projected.Sources {
			if src.Secret != nil {
				secret(src.Secret.Name)
			}
		}
	}
	for _, s := range t.Spec.ImagePullSecrets {
		secret(s.Name)
	}
	slices.Sort(out.Secrets)
	return out
}

package revoke

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// binding is one object of either kind, as the API has it.
type binding struct {
	get    func(context.Context) (body, version, error)
	delete func(context.Context, metav1.DeleteOptions) error
	patch  func(context.Context, []byte, metav1.PatchOptions) error
	create func(context.Context, body) (uid string, err error)
}

// version pins what was read. The fake clientset has no resource versions.
type version struct {
	uid     string
	version *string
}

func read(m *metav1.ObjectMeta, ref rbacv1.RoleRef, subjects []rbacv1.Subject) (body, version) {
	b := body{RoleRef: ref, Subjects: subjects}
	b.Metadata.Name, b.Metadata.Namespace, b.Metadata.Labels = m.Name, m.Namespace, m.Labels
	b.Metadata.Annotations, b.Metadata.OwnerReferences = m.Annotations, m.OwnerReferences
	v := version{uid: string(m.UID)}
	if m.ResourceVersion != "" {
		v.version = &m.ResourceVersion
	}
	return b, v
}

func (b body) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: b.Metadata.Name, Namespace: b.Metadata.Namespace, Labels: b.Metadata.Labels,
		Annotations: b.Metadata.Annotations, OwnerReferences: b.Metadata.OwnerReferences}
}

// at is the object that a change names.
func (l bindings) at(o evidence.Object) (binding, error) {
	made := metav1.CreateOptions{FieldManager: quarantine.FieldManager}
	switch {
	case o.Kind == "RoleBinding" && o.Namespace != "" && o.Name != "":
		api := l.conn.Client.RbacV1().RoleBindings(o.Namespace)
		return binding{
			get: func(ctx context.Context) (body, version, error) {
				r, err := api.Get(ctx, o.Name, metav1.GetOptions{})
				if err != nil {
					return body{}, version{}, err
				}
				b, v := read(&r.ObjectMeta, r.RoleRef, r.Subjects)
				return b, v, nil
			},
			delete: func(ctx context.Context, d metav1.DeleteOptions) error { return api.Delete(ctx, o.Name, d) },
			patch: func(ctx context.Context, p []byte, opts metav1.PatchOptions) error {
				_, err := api.Patch(ctx, o.Name, types.JSONPatchType, p, opts)
				return err
			},
			create: func(ctx context.Context, b body) (string, error) {
				r, err := api.Create(ctx, &rbacv1.RoleBinding{ObjectMeta: b.meta(), RoleRef: b.RoleRef, Subjects: b.Subjects}, made)
				if err != nil {
					return "", err
				}
				return string(r.UID), nil
			},
		}, nil
	case o.Kind == "ClusterRoleBinding" && o.Namespace == "" && o.Name != "":
		api := l.conn.Client.RbacV1().ClusterRoleBindings()
		return binding{
			get: func(ctx context.Context) (body, version, error) {
				r, err := api.Get(ctx, o.Name, metav1.GetOptions{})
				if err != nil {
					return body{}, version{}, err
				}
				b, v := read(&r.ObjectMeta, r.RoleRef, r.Subjects)
				return b, v, nil
			},
			delete: func(ctx context.Context, d metav1.DeleteOptions) error { return api.Delete(ctx, o.Name, d) },
			patch: func(ctx context.Context, p []byte, opts metav1.PatchOptions) error {
				_, err := api.Patch(ctx, o.Name, types.JSONPatchType, p, opts)
				return err
			},
			create: func(ctx context.Context, b body) (string, error) {
				r, err := api.Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: b.meta(), RoleRef: b.RoleRef, Subjects: b.Subjects}, made)
				if err != nil {
					return "", err
				}
				return string(r.UID), nil
			},
		}, nil
	}
	return binding{}, fmt.Errorf("change names no binding: %s", o)
}

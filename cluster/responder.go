package cluster

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// Responder is the user to whom `irkit rbac` bound the rights in a namespace; empty where
// there is none, or where we may not see it.
func (c *Conn) Responder(ctx context.Context, namespace string) string {
	b, err := c.Client.RbacV1().RoleBindings(namespace).Get(ctx, defaultName+"-"+string(evidence.InTarget), metav1.GetOptions{})
	if err != nil {
		return ""
	}
	for _, s := range b.Subjects {
		if s.Kind == rbacv1.UserKind {
			return s.Name
		}
	}
	return ""
}

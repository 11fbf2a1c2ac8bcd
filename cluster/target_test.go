package cluster_test

import (
	"errors"
	"strings"
	"testing"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

func world() (*cluster.Conn, *fake.Clientset) {
	meta := func(ns, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": "web", "name": name}}
	}
	client := fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "cluster-1"}},
		&corev1.Pod{ObjectMeta: meta("prod", "web-0"), Spec: corev1.PodSpec{NodeName: "n1"}}, &corev1.Pod{ObjectMeta: meta("prod", "web-1")}, &corev1.Pod{ObjectMeta: meta("stage", "web-0")})
	return &cluster.Conn{Client: client, Namespace: "prod", Cluster: "https://c"}, client
}

func TestResolve(t *testing.T) {
	c, client := world()
	want := evidence.Target{ClusterUID: "cluster-1", Namespace: "prod", Pod: "web-0", UID: "uid-web-0", Node: "n1"}
	for _, name := range []string{"web-0", "pod/web-0", "po/web-0", "Pods/web-0"} {
		if got, p, err := c.Resolve(t.Context(), name); err != nil || got != want || p.Name != "web-0" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "pod/", "deployment/web", "pod/a/b", "none"} {
		if _, _, err := c.Resolve(t.Context(), name); err == nil {
			t.Errorf("%q is resolved", name)
		}
	}
	if got, _, err := c.ResolveSelector(t.Context(), "name=web-1"); err != nil || got.Pod != "web-1" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, err := c.ResolveSelector(t.Context(), "app=web"); !errors.Is(err, cluster.ErrAmbiguous) || !strings.Contains(err.Error(), "web-0, web-1") {
		t.Errorf("two pods: %v", err)
	}
	for _, sel := range []string{"app=none", "", "app in ("} {
		if _, _, err := c.ResolveSelector(t.Context(), sel); err == nil {
			t.Errorf("%q is resolved", sel)
		}
	}
	client.PrependReactor("get", "namespaces", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "kube-system", errors.New("no"))
	})
	a, _, err := c.Resolve(t.Context(), "web-0")
	b, _, _ := c.Resolve(t.Context(), "web-0")
	if err != nil || !strings.HasPrefix(a.ClusterUID, cluster.DerivedUID) || a != b {
		t.Errorf("without the namespace: %+v, %+v, %v", a, b, err)
	}
	c.Cluster = "https://other"
	if o, _, _ := c.Resolve(t.Context(), "web-0"); o.ClusterUID == a.ClusterUID {
		t.Error("two clusters have the same derived uid")
	}
}

func TestCheckAsksForEveryVerbWhereItMustHold(t *testing.T) {
	c, client := world()
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a ktesting.Action) (bool, runtime.Object, error) {
		r := a.(ktesting.CreateAction).GetObject().(*authz.SelfSubjectAccessReview).DeepCopy()
		x := r.Spec.ResourceAttributes
		denied := x.Verb == "patch" && x.Namespace == "prod" || x.Resource == "nodes" && x.Namespace == "" || x.Verb == "*"
		r.Status.Allowed = !denied
		r.Status.Reason = "because"
		return true, r, nil
	})
	client.PrependReactor("create", "selfsubjectreviews", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, &authn.SelfSubjectReview{Status: authn.SelfSubjectReviewStatus{UserInfo: authn.UserInfo{Username: "jo", Groups: []string{"ir"}}}}, nil
	})
	got, err := c.Check(t.Context(), evidence.Target{Namespace: "prod"}, []evidence.Rule{
		{Resource: "pods", Sub: "ephemeralcontainers", Verbs: []string{"get", "patch"}, Scope: evidence.InTarget},
		{Resource: "pods", Verbs: []string{"patch"}, Scope: evidence.InSystem},
		{Resource: "nodes", Verbs: []string{"get"}, Scope: evidence.InCluster},
	})
	if err != nil || len(got) != 2 || got[0].String() != "patch pods/ephemeralcontainers in prod" || got[1].String() != "get nodes cluster-wide" || got[0].Reason != "because" {
		t.Errorf("%v, %v", got, err)
	}
	if who, err := c.WhoAmI(t.Context()); err != nil || who.Name != "jo" || who.Groups[0] != "ir" {
		t.Errorf("%+v, %v", who, err)
	}
	if admin, err := c.Admin(t.Context()); err != nil || admin {
		t.Errorf("admin %v, %v", admin, err)
	}
}

func TestRBACGrantsTheRulesAndNoMore(t *testing.T) {
	rules := []evidence.Rule{
		{Resource: "pods", Verbs: []string{"get"}, Scope: evidence.InTarget}, {Resource: "pods", Verbs: []string{"patch", "get"}, Scope: evidence.InTarget},
		{Resource: "pods", Sub: "exec", Verbs: []string{"create"}, Scope: evidence.InSystem}, {Resource: "nodes", Verbs: []string{"get"}, Scope: evidence.InCluster},
	}
	objs := cluster.RBAC(rules, cluster.Grant{Namespace: "prod", Subjects: []rbacv1.Subject{{Kind: "Group", Name: "ir", APIGroup: rbacv1.GroupName}}})
	y, err := cluster.YAML(objs)
	if err != nil {
		t.Fatal(err)
	}
	kinds := []string{}
	for _, o := range objs {
		kinds = append(kinds, o.GetObjectKind().GroupVersionKind().Kind)
	}
	if got := strings.Join(kinds, " "); got != "ClusterRole ClusterRoleBinding ClusterRole RoleBinding Role RoleBinding" {
		t.Errorf("kinds %s\n%s", got, y)
	}
	target := objs[2].(*rbacv1.ClusterRole)
	if len(target.Rules) != 1 || strings.Join(target.Rules[0].Verbs, ",") != "get,patch" {
		t.Errorf("verbs of one resource are not merged: %+v", target.Rules)
	}
	if strings.Contains(string(y), "creationTimestamp") || strings.Contains(string(y), "'*'") {
		t.Errorf("%s", y)
	}
}

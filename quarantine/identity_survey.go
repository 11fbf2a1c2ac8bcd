package quarantine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// access is what the readers of RBAC found: each writes fields of its own.
type access struct {
	roles, clusterRoleRules   map[evidence.Object][]rbacv1.PolicyRule
	bindings, clusterBindings []binding
	unread                    [4]bool
	asked                     []Power
	askErr                    error
}

func (y *surveyor) clusterRoles(ctx context.Context) error {
	y.rbac.clusterRoleRules = map[evidence.Object][]rbacv1.PolicyRule{}
	err := pages(func(o metav1.ListOptions) (string, error) {
		l, err := y.conn.Client.RbacV1().ClusterRoles().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, r := range l.Items {
			y.rbac.clusterRoleRules[roleObject("ClusterRole", "", r.Name)] = r.Rules
		}
		return l.Continue, nil
	})
	y.rbac.unread[0] = err != nil
	return y.gap("cluster roles (what the service account may do)", err)
}

func (y *surveyor) clusterBindings(ctx context.Context) error {
	err := pages(func(o metav1.ListOptions) (string, error) {
		l, err := y.conn.Client.RbacV1().ClusterRoleBindings().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, b := range l.Items {
			y.rbac.clusterBindings = append(y.rbac.clusterBindings, bindingOf("ClusterRoleBinding", b.ObjectMeta, b.RoleRef, b.Subjects))
		}
		return l.Continue, nil
	})
	y.rbac.unread[1] = err != nil
	return y.gap("cluster role bindings (what the service account may do)", err)
}

// roles reads all roles; where that is forbidden, those of the target's namespace.
func (y *surveyor) roles(ctx context.Context) error {
	y.rbac.roles = map[evidence.Object][]rbacv1.PolicyRule{}
	read := func(namespace string) error {
		return pages(func(o metav1.ListOptions) (string, error) {
			l, err := y.conn.Client.RbacV1().Roles(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for _, r := range l.Items {
				y.rbac.roles[roleObject("Role", r.Namespace, r.Name)] = r.Rules
			}
			return l.Continue, nil
		})
	}
	all := read(metav1.NamespaceAll)
	y.rbac.unread[2] = all != nil
	if !apierrors.IsForbidden(all) {
		return y.gap("roles (what the service account may do)", all)
	}
	if err := read(y.scene.Target.Namespace); err != nil {
		return y.gap("roles (what the service account may do)", err)
	}
	return y.gap("roles of other namespaces (what the service account may do)", all)
}

func (y *surveyor) bindings(ctx context.Context) error {
	read := func(namespace string) error {
		y.rbac.bindings = nil
		return pages(func(o metav1.ListOptions) (string, error) {
			l, err := y.conn.Client.RbacV1().RoleBindings(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for _, b := range l.Items {
				y.rbac.bindings = append(y.rbac.bindings, bindingOf("RoleBinding", b.ObjectMeta, b.RoleRef, b.Subjects))
			}
			return l.Continue, nil
		})
	}
	all := read(metav1.NamespaceAll)
	y.rbac.unread[3] = all != nil
	if !apierrors.IsForbidden(all) {
		return y.gap("role bindings (what the service account may do)", all)
	}
	if err := read(y.scene.Target.Namespace); err != nil {
		return y.gap("role bindings (what the service account may do)", err)
	}
	return y.gap("role bindings of other namespaces (what the service account may do)", all)
}

func roleObject(kind, namespace, name string) evidence.Object {
	return evidence.Object{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind, Namespace: namespace, Name: name}
}

func bindingOf(kind string, m metav1.ObjectMeta, ref rbacv1.RoleRef, subjects []rbacv1.Subject) binding {
	o := roleObject(kind, m.Namespace, m.Name)
	o.UID = string(m.UID)
	scrubMeta(&m)
	return binding{object: o, ref: ref, subjects: subjects, labels: m.Labels, annotations: m.Annotations}
}

// account reads the account that the pod names, and asks what it may do.
func (y *surveyor) account(ctx context.Context) error {
	ns := y.scene.Target.Namespace
	i := &Identity{Object: evidence.Object{APIVersion: "v1", Kind: "ServiceAccount", Namespace: ns, Name: accountOf(&y.scene.Pod.Spec)},
		Used: secretsUsed(&y.scene.Pod.Spec), Pods: []string{}, Sources: []string{}}
	y.scene.Identity = i
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		sa, err := y.conn.Client.CoreV1().ServiceAccounts(ns).Get(gctx, i.Name, metav1.GetOptions{})
		if err != nil {
			return y.gap("service account "+i.Name+" (its cloud identities)", err)
		}
		scrubMeta(&sa.ObjectMeta)
		i.Account, i.UID = sa, string(sa.UID)
		return nil
	})
	g.Go(func() error {
		y.rbac.asked, y.rbac.askErr = ask(gctx, y.conn, i)
		return nil
	})
	return g.Wait()
}

// settleIdentity joins what the readers found.
func (y *surveyor) settleIdentity() {
	i, spec := y.scene.Identity, &y.scene.Pod.Spec
	for n := range y.pods {
		if p := &y.pods[n]; string(p.UID) != y.scene.Target.UID && accountOf(&p.Spec) == i.Name && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			i.Pods = append(i.Pods, p.Name)
		}
	}
	slices.Sort(i.Pods)
	whole := y.rbac.unread == [4]bool{}
	if y.rbac.askErr == nil {
		i.Sources = append(i.Sources, "asked")
	} else if !whole || !apierrors.IsForbidden(y.rbac.askErr) { // else what RBAC says is known
		_ = y.gap("what an authoriser beside RBAC lets the service account do", y.rbac.askErr) // always nil
	}
	if whole {
		i.Sources = append(i.Sources, "rbac")
	}
	roles := maps.Clone(y.rbac.roles)
	maps.Copy(roles, y.rbac.clusterRoleRules)
	i.Grants = grantsOf(i, slices.Concat(y.rbac.bindings, y.rbac.clusterBindings), roles)
	i.Powers = powersOf(i.Grants)
	for _, p := range y.rbac.asked {
		if !slices.ContainsFunc(i.Powers, func(o Power) bool {
			return o.Code == p.Code && len(o.Names) == 0 && (o.Namespace == "" || o.Namespace == p.Namespace)
		}) {
			i.Powers = append(i.Powers, p)
		}
	}
	i.Secrets = reachOf(i.Powers)
	i.settle(spec)
}

// settle is what follows from the account, the pod, and the legacy tokens.
func (i *Identity) settle(spec *corev1.PodSpec) {
	i.Tokens = tokensOf(spec, i.Legacy, i.Account)
	i.Cloud = cloudOf(i.Account, i.Tokens)
}

// ask asks the API server whether the account, in its namespace, may read secrets or undo a
// layer: that must not hang on RBAC being the only authoriser.
func ask(ctx context.Context, conn *cluster.Conn, i *Identity) ([]Power, error) {
	known := slices.DeleteFunc(knownPowers(), func(k knownPower) bool { return k.layers == nil && k.code != "read-secrets" })
	has := make([]bool, len(known))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for n, k := range known {
		g.Go(func() error {
			ra := &authz.ResourceAttributes{Namespace: i.Namespace, Verb: k.verbs[0], Group: k.group, Resource: k.resource, Subresource: k.sub}
			if k.clusterWide() {
				ra.Namespace = ""
			}
			r, err := conn.Client.AuthorizationV1().SubjectAccessReviews().Create(gctx, &authz.SubjectAccessReview{
				Spec: authz.SubjectAccessReviewSpec{User: i.User(), Groups: AccountGroups(i.Namespace), ResourceAttributes: ra}}, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			has[n] = r.Status.Allowed
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []Power
	for n, k := range known {
		if has[n] {
			at := i.Namespace
			if k.clusterWide() {
				at = ""
			}
			out = append(out, Power{Code: k.code, Text: k.text, Namespace: at, By: []string{"asked"}, Layers: k.layers})
		}
	}
	return out, nil
}

// errNoMetadata is what a connection without a metadata client answers.
var errNoMetadata = errors.New("this connection cannot ask for metadata alone")

// SurveySecrets adds to a scene the names of the namespace's secrets, and which of them are
// tokens of the target's account. It asks for metadata alone, but who may list secrets may
// read them: that right is not among SurveyRules (see SecretRules). A refusal is a Gap.
func SurveySecrets(ctx context.Context, conn *cluster.Conn, s *Scene) error {
	if s.Identity == nil {
		return nil
	}
	i := s.Identity
	var names []string
	var legacy []LegacyToken
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return secrets(gctx, conn, i.Namespace, "", func(m metav1.ObjectMeta) { names = append(names, m.Name) })
	})
	g.Go(func() error {
		return secrets(gctx, conn, i.Namespace, "type="+string(corev1.SecretTypeServiceAccountToken), func(m metav1.ObjectMeta) {
			uid := m.Annotations[corev1.ServiceAccountUIDKey]
			if m.Annotations[corev1.ServiceAccountNameKey] != i.Name || uid != "" && i.UID != "" && uid != i.UID {
				return
			}
			legacy = append(legacy, LegacyToken{Name: m.Name, UID: string(m.UID), Labels: m.Labels, Invalid: m.Labels[InvalidSince]})
		})
	})
	if err := g.Wait(); err != nil {
		why := "not allowed"
		if !apierrors.IsForbidden(err) {
			why = err.Error()
		}
		s.Gaps = append(s.Gaps, Gap{What: "names of secrets in " + i.Namespace + ", and tokens of the account among them", Why: why})
		return nil
	}
	for _, n := range names {
		if i.Secrets.reads(i.Namespace, n) {
			i.Secrets.Names = append(i.Secrets.Names, n)
		}
	}
	slices.Sort(i.Secrets.Names)
	slices.SortFunc(legacy, func(a, b LegacyToken) int { return strings.Compare(a.Name, b.Name) })
	i.Legacy = legacy
	i.settle(&s.Pod.Spec)
	return nil
}

// InvalidSince is the label that makes a legacy token invalid at once, and valid again when
// it is taken off (k8s.io/kubernetes, pkg/serviceaccount/legacy.go).
const InvalidSince = "kubernetes.io/legacy-token-invalid-since"

func secrets(ctx context.Context, conn *cluster.Conn, namespace, fields string, each func(metav1.ObjectMeta)) error {
	if conn.Metadata == nil {
		return errNoMetadata
	}
	api := conn.Metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(namespace)
	return pages(func(o metav1.ListOptions) (string, error) {
		o.FieldSelector = fields
		l, err := api.List(ctx, o)
		if err != nil {
			return "", fmt.Errorf("list the names of secrets in %s: %w", namespace, err)
		}
		for _, m := range l.Items {
			each(m.ObjectMeta)
		}
		return l.Continue, nil
	})
}

// SecretRules are the permissions of SurveySecrets.
func SecretRules() []evidence.Rule {
	return []evidence.Rule{{Resource: "secrets", Verbs: []string{"list"}, Scope: evidence.InTarget,
		Why: "name the account's legacy tokens and the secrets in its reach; irkit asks for metadata alone, but this right lets values be read"}}
}

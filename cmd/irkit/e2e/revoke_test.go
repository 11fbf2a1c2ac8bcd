//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/revoke"

	cl "irkit.dev/irkit/cluster"
)

// trusted is a service account that may more than is good: delete NetworkPolicies and read
// secrets, by a binding of its own and by one that it shares; and its legacy token.
func trusted(t *testing.T, c kubernetes.Interface) (account, legacy string) {
	t.Helper()
	ctx := t.Context()
	sa, err := c.CoreV1().ServiceAccounts(ownNamespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "trusted-", Labels: map[string]string{"team": "blue"}, Annotations: map[string]string{"iam.gke.io/gcp-service-account": "web@project.iam.gserviceaccount.com"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	account = sa.Name
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies"}, Verbs: []string{"delete", "list"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list"}}}}
	subject := func(name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ownNamespace, Name: name}
	}
	bind := func(name string, who ...rbacv1.Subject) runtime.Object {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ownNamespace, Labels: map[string]string{"by": "hand"}}, Subjects: who,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account}}
	}
	role.Namespace = ownNamespace
	grant(t, c, role, bind(account+"-own", subject(account)), bind(account+"-shared", subject("first-of-others"), subject(account), subject("last-of-others")))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: account + "-token", Annotations: map[string]string{corev1.ServiceAccountNameKey: account}}, Type: corev1.SecretTypeServiceAccountToken}
	if _, err := c.CoreV1().Secrets(ownNamespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = c.CoreV1().ServiceAccounts(ownNamespace).Delete(ctx, account, metav1.DeleteOptions{}) // and with it its tokens
	})
	eventually(t, time.Minute, "the legacy token is made", func() bool {
		s, err := c.CoreV1().Secrets(ownNamespace).Get(ctx, secret.Name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		legacy = string(s.Data[corev1.ServiceAccountTokenKey])
		return legacy != ""
	})
	return account, legacy
}

// grant creates objects of RBAC for the time of the test.
func grant(t *testing.T, c kubernetes.Interface, objs ...runtime.Object) {
	t.Helper()
	made, r := metav1.CreateOptions{}, c.RbacV1()
	for _, o := range objs {
		var err error
		var undo func(context.Context) error
		switch o := o.(type) {
		case *rbacv1.Role:
			_, err = r.Roles(o.Namespace).Create(t.Context(), o, made)
			undo = func(ctx context.Context) error {
				return r.Roles(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{})
			}
		case *rbacv1.RoleBinding:
			_, err = r.RoleBindings(o.Namespace).Create(t.Context(), o, made)
			undo = func(ctx context.Context) error {
				return r.RoleBindings(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{})
			}
		case *rbacv1.ClusterRole:
			_, err = r.ClusterRoles().Create(t.Context(), o, made)
			undo = func(ctx context.Context) error { return r.ClusterRoles().Delete(ctx, o.Name, metav1.DeleteOptions{}) }
		case *rbacv1.ClusterRoleBinding:
			_, err = r.ClusterRoleBindings().Create(t.Context(), o, made)
			undo = func(ctx context.Context) error {
				return r.ClusterRoleBindings().Delete(ctx, o.Name, metav1.DeleteOptions{})
			}
		default:
			t.Fatalf("%T", o)
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := undo(context.WithoutCancel(t.Context())); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
}

// said runs a command in a pod, as the cluster's administrator.
func said(t *testing.T, c kubernetes.Interface, pod *corev1.Pod, argv ...string) string {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	req := c.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: argv, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	x, err := remotecommand.NewSPDYExecutor(cfg, http.MethodPost, req.URL())
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if err := x.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}); err != nil {
		t.Fatalf("%q: %v: %s", argv, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// answer is the status with which the API server answers whoever holds a token and asks for
// the namespace's secrets.
func answer(t *testing.T, token string) int {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	cfg = rest.AnonymousClientConfig(cfg)
	cfg.BearerToken = token
	_, err = kubernetes.NewForConfigOrDie(cfg).CoreV1().Secrets(ownNamespace).List(t.Context(), metav1.ListOptions{Limit: 1})
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &status):
		return int(status.Status().Code)
	}
	t.Fatal(err)
	return 0
}

func becomes(t *testing.T, token string, want int, what string) {
	t.Helper()
	began := time.Now()
	// The API server keeps a good answer on a token for 10 s.
	eventually(t, 90*time.Second, what, func() bool { return answer(t, token) == want })
	t.Logf("%s: %d after %s", what, want, time.Since(began).Round(10*time.Millisecond))
}

// TestRevoke: a token that was taken from a pod works until its rights, its secret or its
// account are revoked; others keep theirs; what can be is given back.
func TestRevoke(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	account, legacy := trusted(t, c)
	as := func(p *corev1.Pod) {
		yes := true
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = account, &yes
	}
	pod := own(t, c, "revoked", corev1.Container{Image: debug, Command: []string{"sleep", "3600"}}, as)
	other := own(t, c, "bystander", corev1.Container{Image: debug, Command: []string{"sleep", "3600"}}, as)
	token := said(t, c, pod, "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	for name, k := range map[string]string{"bound": token, "legacy": legacy} {
		if got := answer(t, k); got != http.StatusOK {
			t.Fatalf("the %s token is answered with %d before anything is revoked", name, got)
		}
	}

	p := newPerson(t)
	do := func(flags ...string) ran {
		t.Helper()
		return p.irkit(append([]string{"revoke", pod.Name, "-n", ownNamespace, "--yes"}, flags...)...)
	}
	// As the responder without more: it is said what there is, and nothing can be taken.
	p.irkit("contain", pod.Name, "-n", ownNamespace, "--image", image, "--dry-run=client").want(t, 0).
		says(t, "target-can-undo", "NetworkPolicies in "+ownNamespace, "every secret of "+ownNamespace)
	do("--bindings").want(t, 6).says(t, "missing permissions", "rolebindings")

	me := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "responder"}
	grant(t, c, cl.RBAC(revoke.Rules(), cl.Grant{Name: "irkit-revoke-e2e", Namespace: ownNamespace, Subjects: []rbacv1.Subject{me}})...)
	grant(t, c, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account + "-bind", Namespace: ownNamespace}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, ResourceNames: []string{account}, Verbs: []string{"bind"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: account + "-bind", Namespace: ownNamespace}, Subjects: []rbacv1.Subject{me},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account + "-bind"}})
	plan := do("--dry-run=client").want(t, 0)
	plan.says(t, other.Name, account+"-own", account+"-token", "gcloud iam service-accounts", "web@project.iam.gserviceaccount.com")
	do("--bindings", "--legacy-tokens", "--recreate-account", "--dry-run=server").want(t, 0).says(t, "admitted")
	if answer(t, token) != http.StatusOK || answer(t, legacy) != http.StatusOK {
		t.Fatal("a dry run revoked something")
	}

	t.Run("bindings", func(t *testing.T) {
		r := do("--bindings", "-o", "json").want(t, 0).result(t)
		if err := verifyStock(t, r.Bundle); err != nil {
			t.Error(err)
		}
		becomes(t, token, http.StatusForbidden, "the token has no rights")
		if got := subjects(t, c, account+"-shared"); !slices.Equal(got, []string{"first-of-others", "last-of-others"}) {
			t.Errorf("the shared binding names %q", got)
		}
		p.irkit("status", r.Case).says(t, "revoked", "bindings: RoleBinding/"+account+"-own")
		do("--undo").want(t, 0)
		becomes(t, token, http.StatusOK, "the token has its rights again")
		if got := subjects(t, c, account+"-shared"); !slices.Equal(got, []string{"first-of-others", account, "last-of-others"}) {
			t.Errorf("the shared binding names %q", got)
		}
	})
	t.Run("legacy token marked", func(t *testing.T) {
		do("--legacy-tokens").want(t, 0)
		becomes(t, legacy, http.StatusUnauthorized, "the legacy token is refused")
		do("--undo").want(t, 0)
		becomes(t, legacy, http.StatusOK, "the legacy token is valid again")
	})
	t.Run("legacy token deleted", func(t *testing.T) {
		do("--delete-legacy-tokens").want(t, 0)
		becomes(t, legacy, http.StatusUnauthorized, "the legacy token is refused for ever")
		if got := answer(t, token); got != http.StatusOK {
			t.Errorf("the pod's own token is answered with %d", got)
		}
	})
	t.Run("account made anew", func(t *testing.T) {
		was, err := c.CoreV1().ServiceAccounts(ownNamespace).Get(t.Context(), account, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := do("--recreate-account").want(t, 0)
		r.says(t, other.Name, "for ever")
		becomes(t, token, http.StatusUnauthorized, "every token of the account is refused")
		is, err := c.CoreV1().ServiceAccounts(ownNamespace).Get(t.Context(), account, metav1.GetOptions{})
		if err != nil || is.UID == was.UID || !equalMaps(is.Labels, was.Labels) || !equalMaps(is.Annotations, was.Annotations) {
			t.Errorf("%+v, %v", is, err)
		}
		if strings.Contains(r.stdout+r.stderr, token) || len(whereIs(t, p.home, legacy)) > 0 {
			t.Error("a token was printed or kept")
		}
	})
	h := p.log(t)
	for _, word := range []string{`"action":"` + string(evidence.ActRevoked) + `"`, quarantine.InvalidSince} {
		if !strings.Contains(h, word) {
			t.Errorf("custody does not say %s", word)
		}
	}
}

// TestWhatTheAccountCanUndoIsABrake: a policy that the pod's account may delete is no more
// than a brake, until its rights are revoked.
func TestWhatTheAccountCanUndoIsABrake(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	account, _ := trusted(t, c)
	pod := own(t, c, "brake", corev1.Container{Image: debug, Command: []string{"sleep", "3600"}}, func(p *corev1.Pod) {
		yes := true
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = account, &yes
	})
	revoker(t, c, account)
	p := newPerson(t)
	p.kube = admin // who may act as the revoker, and acts as nobody else
	as := []string{"--as", "revoker"}
	undoes := func(v *evidence.Verdict) bool {
		t.Helper()
		if v == nil {
			t.Fatal("no verdict")
		}
		for _, l := range v.Layers {
			if l.Layer == quarantine.LayerNetpol {
				return l.Undoes
			}
		}
		t.Fatalf("no policy among %+v", v.Layers)
		return false
	}
	v := p.contain(pod.Name, ownNamespace, append(as, "--skip", "cordon")...).result(t)
	if !undoes(v.Verdict) {
		t.Errorf("%+v", v.Verdict.Layers)
	}
	p.irkit(append([]string{"revoke", pod.Name, "-n", ownNamespace, "--bindings", "--yes"}, as...)...).want(t, 0)
	var now []struct {
		Verdict *evidence.Verdict `json:"verdict"`
		Revoked []string          `json:"revoked"`
	}
	r := p.irkit(append([]string{"status", "--case", v.Case, "-o", "json"}, as...)...)
	if err := json.Unmarshal([]byte(r.stdout), &now); err != nil || len(now) != 1 || len(now[0].Revoked) != 2 {
		t.Fatalf("%v, %+v", err, now)
	}
	if undoes(now[0].Verdict) {
		t.Errorf("after the revocation: %+v", now[0].Verdict.Layers)
	}
	p.release(pod.Name, ownNamespace, append(as, "--delete-pod")...).want(t, 0).says(t, "stays revoked")
}

// revoker is a user who may contain in the tests' own namespace, and revoke what the account
// has there: the rights that irkit prints for both, and that to bind the account's role.
func revoker(t *testing.T, c kubernetes.Interface, account string) {
	t.Helper()
	who := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "revoker"}}
	rules, err := playbooks.RulesFor([]string{"contain", "revoke"}, actions.Standard(), actions.Sources())
	if err != nil {
		t.Fatal(err)
	}
	grant(t, c, cl.RBAC(rules, cl.Grant{Name: "irkit-revoker-e2e", Namespace: ownNamespace, Subjects: who})...)
	name := account + "-rebind"
	grant(t, c, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ownNamespace}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, ResourceNames: []string{account}, Verbs: []string{"bind"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ownNamespace}, Subjects: who,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}})
}

func subjects(t *testing.T, c kubernetes.Interface, binding string) []string {
	t.Helper()
	b, err := c.RbacV1().RoleBindings(ownNamespace).Get(t.Context(), binding, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range b.Subjects {
		out = append(out, s.Name)
	}
	return out
}

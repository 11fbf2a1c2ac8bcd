package quarantine_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metadatafake "k8s.io/client-go/metadata/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// asWeb is a pod of account web that holds a token.
func asWeb(p *corev1.Pod) {
	p.Spec.ServiceAccountName = "web"
	seconds := int64(3607)
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds, Path: "token"}}}}}})
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "kube-api-access", MountPath: "/x"}}
}

func webAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "prod", UID: "sa-1",
		Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/web", corev1.LastAppliedConfigAnnotation: "hunter2"}}}
}

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: strings.Split(groups, ","), Resources: strings.Split(resources, ","), ResourceNames: names}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) runtime.Object {
	if namespace == "" {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Rules: rules}
}

func bound(namespace, name, refKind, ref string, who ...rbacv1.Subject) runtime.Object {
	meta, r := metav1.ObjectMeta{Name: name, Namespace: namespace, UID: "b-1"}, rbacv1.RoleRef{Kind: refKind, Name: ref}
	if namespace == "" {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: r, Subjects: who}
	}
	return &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: r, Subjects: who}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "prod", Name: name}
}

func codes(i *quarantine.Identity) []string {
	var out []string
	for _, p := range i.Powers {
		out = append(out, p.Code+"@"+p.Namespace)
	}
	return out
}

func TestIdentityIsReadFromRBACAndThePod(t *testing.T) {
	s, _, _ := scene(t, pod("ReplicaSet", asWeb, func(p *corev1.Pod) {
		p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: "K", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "db"}}}})
	}), webAccount(), pod("", asWeb, func(p *corev1.Pod) { p.Name, p.UID = "other", "o" }),
		role("prod", "ops", rule("delete", "networking.k8s.io", "networkpolicies"), rule("get", "", "secrets", "db", "tls")),
		bound("prod", "ops", "Role", "ops", account("web"), account("batch")),
		role("", "reader", rule("get,list", "", "secrets"), rule("get", "", "nodes/proxy")),
		bound("stage", "all", "ClusterRole", "reader", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts:prod"}),
		bound("stage", "theirs", "ClusterRole", "reader", rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "web"}),
		bound("", "user", "ClusterRole", "gone", rbacv1.Subject{Kind: rbacv1.UserKind, Name: "system:serviceaccount:prod:web"}),
	)
	i := s.Identity
	if i == nil || i.Name != "web" || i.UID != "sa-1" || !slices.Equal(i.Pods, []string{"other"}) || !slices.Equal(i.Used, []string{"db", "pull"}) {
		t.Fatalf("%+v", i)
	}
	if got := codes(i); !slices.Equal(got, []string{"read-secrets@prod", "read-secrets@stage", "delete-policies@prod"}) {
		t.Errorf("powers %q", got) // nodes/proxy: no RoleBinding gives it; web of stage: another account
	}
	if len(i.Grants) != 3 || i.Grants[2].Group == "" || i.Grants[0].RoleRead && i.Grants[0].Role.Name == "gone" {
		t.Errorf("grants %+v", i.Grants)
	}
	if r := i.Secrets; r.Everywhere || !slices.Equal(r.Namespaces, []string{"stage"}) || !slices.Equal(r.Named["prod"], []string{"db", "tls"}) {
		t.Errorf("secrets %+v", i.Secrets)
	}
	if len(i.Tokens) != 1 || i.Tokens[0].Seconds != 3607 || !i.Tokens[0].Mounted || len(i.Cloud) != 1 || i.Cloud[0].Provider != "aws-irsa" {
		t.Errorf("tokens %+v, cloud %+v", i.Tokens, i.Cloud)
	}
	if !slices.Equal(i.Sources, []string{"asked", "rbac"}) || len(s.Gaps) > 0 {
		t.Errorf("sources %q, gaps %v", i.Sources, s.Gaps)
	}
	b, err := json.Marshal(s)
	if err != nil || strings.Contains(string(b), "hunter2") {
		t.Errorf("the scene holds what it must not: %v", err)
	}
}

func TestAnAccountThatCanUndoALayer(t *testing.T) {
	grant := []runtime.Object{webAccount(), role("prod", "ops", rule("deletecollection", "networking.k8s.io", "*"), rule("create", "*", "pods/exec")), bound("prod", "ops", "Role", "ops", account("web"))}
	s, _, _ := scene(t, pod("", asWeb), grant...)
	u := s.Identity.Undoes()
	if len(u) != 2 || !strings.Contains(u[quarantine.LayerNetpol], "delete or change NetworkPolicies in prod") || u[quarantine.LayerNetns] == "" {
		t.Errorf("%q", u)
	}
	f := quarantine.Forecast(s, target(), want)
	if !slices.ContainsFunc(f.Findings, func(x evidence.Finding) bool {
		return x.Code == "target-can-undo" && x.Layer == quarantine.LayerNetpol && x.Severity == evidence.Warning
	}) {
		t.Errorf("%+v", f.Findings)
	}
	without, _, _ := scene(t, pod("", asWeb, func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts = nil }), grant...)
	if u := without.Identity.Undoes(); len(u) > 0 {
		t.Errorf("without a token in any container: %q", u)
	}
	other := []runtime.Object{webAccount(), role("", "ops", rule("*", "*", "*")), bound("stage", "ops", "ClusterRole", "ops", account("web"))}
	elsewhere, _, _ := scene(t, pod("", asWeb), other...)
	if u := elsewhere.Identity.Undoes(); len(u) > 0 || len(elsewhere.Identity.Powers) == 0 {
		t.Errorf("with rights in another namespace alone: %q", u)
	}
	if u := (*quarantine.Identity)(nil).Undoes(); len(u) > 0 {
		t.Error("nobody can undo")
	}
}

func TestAPolicyThatTheAccountCanDeleteIsPartial(t *testing.T) {
	s, _, _ := scene(t, pod("", asWeb), webAccount(), role("", "admin", rule("*", "*", "*")), bound("", "admin", "ClusterRole", "admin", account("web")))
	v := quarantine.Judge(quarantine.Measurements{Scene: s, Case: "c-1", Applied: []quarantine.Applied{{Layer: quarantine.LayerNetpol}}})
	if len(v.Layers) != 1 || !v.Layers[0].Undoes || !strings.Contains(strings.Join(v.Layers[0].Why, " "), "service account web may") {
		t.Errorf("%+v", v.Layers)
	}
}

func TestIdentityWithoutRightsToReadIt(t *testing.T) {
	objs := append(append(surroundings(), owners()...), pod("", asWeb), webAccount(),
		role("prod", "ops", rule("delete", "networking.k8s.io", "networkpolicies")), bound("prod", "ops", "Role", "ops", account("web")))
	conn, client := world(t, objs...)
	for _, r := range []string{"clusterroles", "clusterrolebindings", "subjectaccessreviews", "serviceaccounts"} {
		forbid(client, r)
	}
	for _, r := range []string{"roles", "rolebindings"} { // of the namespace alone
		client.PrependReactor("list", r, func(a ktesting.Action) (bool, runtime.Object, error) {
			if a.GetNamespace() != "" {
				return false, nil, nil
			}
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: r}, "", errors.New("no"))
		})
	}
	s, err := quarantine.Survey(t.Context(), conn, target())
	if err != nil || len(s.Identity.Sources) != 0 || len(s.Gaps) != 6 || !slices.Equal(codes(s.Identity), []string{"delete-policies@prod"}) {
		t.Errorf("%v, gaps %v, %q", err, s.Gaps, codes(s.Identity))
	}
}

func TestWhatAnotherAuthoriserAllowsIsAsked(t *testing.T) {
	conn, client := world(t, append(append(surroundings(), owners()...), pod("", asWeb), webAccount())...)
	client.PrependReactor("create", "subjectaccessreviews", func(a ktesting.Action) (bool, runtime.Object, error) {
		r := a.(ktesting.CreateAction).GetObject().(*authz.SubjectAccessReview).DeepCopy()
		r.Status.Allowed = r.Spec.ResourceAttributes.Resource == "networkpolicies" && r.Spec.User == "system:serviceaccount:prod:web" && len(r.Spec.Groups) == 3
		return true, r, nil
	})
	s, err := quarantine.Survey(t.Context(), conn, target())
	if err != nil || s.Identity.Undoes()[quarantine.LayerNetpol] == "" || s.Identity.Powers[0].By[0] != "asked" {
		t.Errorf("%v, %+v", err, s.Identity)
	}
}

func TestSecretsAreSurveyedByNameAlone(t *testing.T) {
	s, conn, _ := scene(t, pod("", asWeb), webAccount(), role("prod", "ops", rule("get", "", "secrets", "db")), bound("prod", "ops", "Role", "ops", account("web")))
	if err := quarantine.SurveySecrets(t.Context(), conn, &s); err != nil || len(s.Gaps) != 1 {
		t.Fatalf("without a metadata client: %v, %v", err, s.Gaps)
	}
	meta := func(name string, notes map[string]string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: "s-" + "1", Annotations: notes}}
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	conn.Metadata = metadatafake.NewSimpleMetadataClient(scheme, meta("db", nil), meta("tls", nil),
		meta("web-token", map[string]string{corev1.ServiceAccountNameKey: "web", corev1.ServiceAccountUIDKey: "sa-1"}),
		meta("former", map[string]string{corev1.ServiceAccountNameKey: "web", corev1.ServiceAccountUIDKey: "sa-0"}),
		meta("theirs", map[string]string{corev1.ServiceAccountNameKey: "batch"}))
	if err := quarantine.SurveySecrets(t.Context(), conn, &s); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Identity.Secrets.Names, []string{"db"}) || len(s.Identity.Legacy) != 1 || s.Identity.Legacy[0].Name != "web-token" {
		t.Errorf("%+v, %+v", s.Identity.Secrets, s.Identity.Legacy)
	}
}

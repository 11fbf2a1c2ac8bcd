package revoke_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/metadata"
	metadatafake "k8s.io/client-go/metadata/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/layertest"
	"irkit.dev/irkit/quarantine/revoke"
)

var (
	roleBindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}
	accounts     = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	secrets      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// town is a fake cluster with account prod/web: bound alone in "own", with others in
// "shared", to the cluster in "wide", through a group in "everybody"; and one legacy token.
type town struct {
	conn   *cluster.Conn
	client *fake.Clientset
	meta   *metadatafake.FakeMetadataClient
	scene  quarantine.Scene
	target evidence.Target
	// patches are the options of those that the metadata client sent: its fake drops them.
	patches []metav1.PatchOptions
}

// keeper is a metadata client that keeps the options of patches.
type keeper struct {
	metadata.Interface
	sent *[]metav1.PatchOptions
}

func (k *keeper) Resource(r schema.GroupVersionResource) metadata.Getter {
	return &keeping{k.Interface.Resource(r), k.sent}
}

type keeping struct {
	metadata.Getter
	sent *[]metav1.PatchOptions
}

func (k *keeping) Namespace(ns string) metadata.ResourceInterface {
	return &kept{k.Getter.Namespace(ns), k.sent}
}

type kept struct {
	metadata.ResourceInterface
	sent *[]metav1.PatchOptions
}

func (k *kept) Patch(ctx context.Context, name string, pt types.PatchType, data []byte, o metav1.PatchOptions, sub ...string) (*metav1.PartialObjectMetadata, error) {
	*k.sent = append(*k.sent, o)
	return k.ResourceInterface.Patch(ctx, name, pt, data, o, sub...)
}

func sa(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "prod", Name: name}
}

func newTown(t *testing.T) *town {
	t.Helper()
	meta := func(ns, name, uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: ns, Name: name, UID: "uid-" + "x", Labels: map[string]string{"team": "blue"}, Annotations: map[string]string{"note": uid}}
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "ops"}
	group := rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:prod"}
	user := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "system:serviceaccount:prod:web"}
	own := &rbacv1.RoleBinding{ObjectMeta: meta("prod", "own", "1"), RoleRef: ref, Subjects: []rbacv1.Subject{sa("web")}}
	shared := &rbacv1.RoleBinding{ObjectMeta: meta("prod", "shared", "2"), RoleRef: ref, Subjects: []rbacv1.Subject{sa("batch"), sa("web"), sa("cron")}}
	wide := &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", "wide", "3"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}, Subjects: []rbacv1.Subject{user}}
	everybody := &rbacv1.RoleBinding{ObjectMeta: meta("prod", "everybody", "4"), RoleRef: ref, Subjects: []rbacv1.Subject{group}}
	yes := true
	account := &corev1.ServiceAccount{ObjectMeta: meta("prod", "web", "5"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}, AutomountServiceAccountToken: &yes}
	account.UID = "sa-1"

	w := &town{target: evidence.Target{ClusterUID: "c", Namespace: "prod", Pod: "web-0", UID: "u", Node: "n1"}}
	w.client = fake.NewClientset(own, shared, wide, everybody, account)
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w.meta = metadatafake.NewSimpleMetadataClient(scheme, &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-token", UID: "s-1", Labels: map[string]string{"kubernetes.io/legacy-token-last-used": "2026-01-01"}}})
	w.conn = &cluster.Conn{Client: w.client, Metadata: &keeper{w.meta, &w.patches}}
	i := &quarantine.Identity{Object: evidence.Object{APIVersion: "v1", Kind: "ServiceAccount", Namespace: "prod", Name: "web", UID: "sa-1"}, Account: account.DeepCopy(),
		Legacy: []quarantine.LegacyToken{{Name: "web-token", UID: "s-1"}}, Pods: []string{"web-1"}}
	grant := func(kind string, m metav1.ObjectMeta, r rbacv1.RoleRef, s []rbacv1.Subject) {
		i.Grants = append(i.Grants, quarantine.Grant{Binding: evidence.Object{Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: string(m.UID)},
			Role: evidence.Object{Kind: r.Kind, Name: r.Name}, Namespace: m.Namespace, Subjects: s, Labels: m.Labels, Annotations: m.Annotations})
	}
	grant("RoleBinding", own.ObjectMeta, own.RoleRef, own.Subjects)
	grant("RoleBinding", shared.ObjectMeta, shared.RoleRef, shared.Subjects)
	grant("ClusterRoleBinding", wide.ObjectMeta, wide.RoleRef, wide.Subjects)
	i.Grants = append(i.Grants, quarantine.Grant{Binding: evidence.Object{Kind: "RoleBinding", Namespace: "prod", Name: "everybody", UID: "uid-x"}, Group: group.Name, Namespace: "prod"})
	w.scene = quarantine.Scene{Taken: time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC), Target: w.target, Identity: i}
	return w
}

// world shows bindings and secrets, but not the UIDs of what is made again.
func (w *town) world(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	rb, err := w.client.RbacV1().RoleBindings("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range rb.Items {
		fmt.Fprintln(&b, x.Name, x.Labels, x.Annotations, x.RoleRef, x.Subjects)
	}
	crb, err := w.client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range crb.Items {
		fmt.Fprintln(&b, x.Name, x.Labels, x.RoleRef, x.Subjects)
	}
	s, err := w.meta.Resource(secrets).Namespace("prod").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range s.Items {
		fmt.Fprintln(&b, x.Name, x.UID, x.Labels)
	}
	return b.String()
}

func count(actions []ktesting.Action, dry bool) int {
	n := 0
	for _, a := range actions {
		var opts []string
		switch a := a.(type) {
		case ktesting.CreateActionImpl:
			opts = a.CreateOptions.DryRun
		case ktesting.PatchActionImpl:
			opts = a.PatchOptions.DryRun
		case ktesting.DeleteActionImpl:
			opts = a.DeleteOptions.DryRun
		default:
			continue
		}
		if (len(opts) == 1 && opts[0] == metav1.DryRunAll) == dry {
			n++
		}
	}
	return n
}

func (w *town) writes(dry bool) int {
	n := count(w.client.Actions(), dry)
	for _, a := range w.meta.Actions() {
		if _, patch := a.(ktesting.PatchActionImpl); !patch {
			n += count([]ktesting.Action{a}, dry)
		}
	}
	for _, o := range w.patches {
		if slices.Equal(o.DryRun, []string{metav1.DryRunAll}) == dry {
			n++
		}
	}
	return n
}

func fixture(layer string, replace func(*testing.T, *town)) func(t *testing.T) layertest.Fixture {
	return func(t *testing.T) layertest.Fixture {
		w := newTown(t)
		f := layertest.Fixture{Layer: revoke.Layers(w.conn)[layer], Scene: w.scene, Target: w.target, World: func() string { return w.world(t) },
			Writes: func() int { return w.writes(false) }, Dry: func() int { return w.writes(true) }}
		if replace != nil {
			f.Replace = func() { replace(t, w) }
		}
		return f
	}
}

func TestBindingsConform(t *testing.T) {
	layertest.Run(t, fixture(revoke.Bindings, func(t *testing.T, w *town) {
		for _, name := range []string{"own", "shared"} {
			o, err := w.client.Tracker().Get(roleBindings, "prod", name)
			if err != nil {
				t.Fatal(err)
			}
			b := o.(*rbacv1.RoleBinding).DeepCopy()
			b.UID = "another"
			if err := w.client.Tracker().Update(roleBindings, b, "prod"); err != nil {
				t.Fatal(err)
			}
		}
		o, err := w.client.RbacV1().ClusterRoleBindings().Get(t.Context(), "wide", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		o.UID = "another"
		if err := w.client.Tracker().Update(roleBindings.GroupVersion().WithResource("clusterrolebindings"), o, ""); err != nil {
			t.Fatal(err)
		}
	}))
}

func TestLegacyTokensConform(t *testing.T) {
	layertest.Run(t, fixture(revoke.LegacyTokens, func(t *testing.T, w *town) {
		m := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-token", UID: "another"}}
		if err := w.meta.Tracker().Update(secrets, m, "prod"); err != nil {
			t.Fatal(err)
		}
	}))
}

func prepared(t *testing.T, w *town, layer string) []evidence.Change {
	t.Helper()
	cs, err := revoke.Layers(w.conn)[layer].Prepare(w.scene, w.target)
	if err != nil || len(cs) == 0 {
		t.Fatalf("%d changes, %v", len(cs), err)
	}
	return cs
}

func TestOthersKeepTheirRights(t *testing.T) {
	w := newTown(t)
	l := revoke.Layers(w.conn)[revoke.Bindings]
	cs := prepared(t, w, revoke.Bindings)
	if len(cs) != 3 || cs[0].Op != evidence.OpDelete || cs[1].Op != evidence.OpPatch || cs[2].Op != evidence.OpDelete {
		t.Fatalf("%+v", cs)
	}
	// In between somebody was added.
	b, err := w.client.RbacV1().RoleBindings("prod").Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.Subjects = append(b.Subjects, sa("new"))
	if err := w.client.Tracker().Update(roleBindings, b, "prod"); err != nil {
		t.Fatal(err)
	}
	subjects := func() []string {
		b, err := w.client.RbacV1().RoleBindings("prod").Get(t.Context(), "shared", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range b.Subjects {
			out = append(out, s.Name)
		}
		return out
	}
	r, err := l.Apply(t.Context(), cs[1])
	if err != nil || !slices.Equal(subjects(), []string{"batch", "cron", "new"}) {
		t.Fatalf("%v, %v", err, subjects())
	}
	if _, err := l.Release(t.Context(), quarantine.Merge(cs[1], r)); err != nil || !slices.Equal(subjects(), []string{"batch", "web", "cron", "new"}) {
		t.Errorf("%v, %v", err, subjects())
	}
}

func TestABindingThatOthersWereAddedToIsNotDeleted(t *testing.T) {
	w := newTown(t)
	cs := prepared(t, w, revoke.Bindings)
	b, err := w.client.RbacV1().RoleBindings("prod").Get(t.Context(), "own", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.Subjects = append(b.Subjects, sa("new"))
	if err := w.client.Tracker().Update(roleBindings, b, "prod"); err != nil {
		t.Fatal(err)
	}
	if _, err := revoke.Layers(w.conn)[revoke.Bindings].Apply(t.Context(), cs[0]); !errors.Is(err, quarantine.ErrForeign) || w.writes(false) != 0 {
		t.Errorf("%v, %d writes", err, w.writes(false))
	}
}

func TestNothingThatABindingSaysIsLostByDeletingIt(t *testing.T) {
	w := newTown(t)
	l := revoke.Layers(w.conn)[revoke.Bindings]
	before := w.world(t)
	c := prepared(t, w, revoke.Bindings)[0]
	if _, err := l.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// After a crash only the plan is known.
	if _, err := l.Release(t.Context(), c); err != nil || w.world(t) != before {
		t.Errorf("%v\n%s\n%s", err, before, w.world(t))
	}
}

func TestSomeoneElsesMarkOnATokenStays(t *testing.T) {
	w := newTown(t)
	l := revoke.Layers(w.conn)[revoke.LegacyTokens]
	c := prepared(t, w, revoke.LegacyTokens)[0]
	m := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-token", UID: "s-1", Labels: map[string]string{quarantine.InvalidSince: "2020-01-01"}}}
	if err := w.meta.Tracker().Update(secrets, m, "prod"); err != nil {
		t.Fatal(err)
	}
	r, err := l.Apply(t.Context(), c)
	if err != nil || !r.Already {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = l.Release(t.Context(), quarantine.Merge(c, r))
	if err != nil || !r.Already || len(r.Notes) != 1 || !strings.Contains(w.world(t), "2020-01-01") {
		t.Errorf("%+v, %v, %s", r, err, w.world(t))
	}
}

func TestADeletedTokenIsSaidToBeGoneForEver(t *testing.T) {
	w := newTown(t)
	l := revoke.Layers(w.conn)[revoke.DeletedTokens]
	c := prepared(t, w, revoke.DeletedTokens)[0]
	if c.Irreversible == "" {
		t.Error("not marked")
	}
	if err := l.(quarantine.DryRunner).ApplyDry(t.Context(), c); err != nil || w.writes(true) != 1 {
		t.Errorf("dry: %v, %d", err, w.writes(true))
	}
	for n := range 2 {
		// The fake deletes in a dry run, too.
		if r, err := l.Apply(t.Context(), c); err != nil || n > 0 && !r.Already {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if strings.Contains(w.world(t), "web-token") {
		t.Error("it is still there")
	}
	if r, err := l.Release(t.Context(), c); err != nil || len(r.Notes) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// uids gives every account that is made a UID, as an API server does.
func uids(w *town) {
	n := 1
	w.client.PrependReactor("create", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
		n++
		a.(ktesting.CreateAction).GetObject().(*corev1.ServiceAccount).UID = "sa-new"
		return false, nil, nil
	})
}

func TestAnAccountIsMadeAnewWithWhatItHad(t *testing.T) {
	w := newTown(t)
	uids(w)
	l := revoke.Layers(w.conn)[revoke.Account]
	c := prepared(t, w, revoke.Account)[0]
	r, err := l.Apply(t.Context(), c)
	if err != nil || r.UID != "sa-new" || c.Irreversible == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, a := range w.client.Actions() {
		if d, ok := a.(ktesting.DeleteActionImpl); ok && (d.DeleteOptions.Preconditions == nil || string(*d.DeleteOptions.Preconditions.UID) != "sa-1") {
			t.Errorf("deleted without its UID: %+v", d.DeleteOptions)
		}
	}
	got, err := w.client.CoreV1().ServiceAccounts("prod").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || got.Labels["team"] != "blue" || got.Annotations["note"] != "5" || len(got.ImagePullSecrets) != 1 || got.AutomountServiceAccountToken == nil {
		t.Errorf("%+v, %v", got, err)
	}
	writes := w.writes(false)
	if r, err := l.Apply(t.Context(), c); err != nil || !r.Already || w.writes(false) != writes {
		t.Errorf("a second time: %+v, %v", r, err)
	}
	if r, err := l.Release(t.Context(), c); err != nil || len(r.Notes) != 1 || w.writes(false) != writes {
		t.Errorf("release: %+v, %v", r, err)
	}
}

func TestAnAccountLostInTheMiddleIsMade(t *testing.T) {
	w := newTown(t)
	uids(w)
	c := prepared(t, w, revoke.Account)[0]
	if err := w.client.Tracker().Delete(accounts, "prod", "web"); err != nil {
		t.Fatal(err)
	}
	if r, err := revoke.Layers(w.conn)[revoke.Account].Apply(t.Context(), c); err != nil || r.UID != "sa-new" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAnAccountThatTheClusterMakesByItselfGetsItsFieldsBack(t *testing.T) {
	w := newTown(t)
	c := prepared(t, w, revoke.Account)[0]
	w.client.PrependReactor("create", "serviceaccounts", func(ktesting.Action) (bool, runtime.Object, error) {
		o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web", UID: "sa-9"}}
		if _, err := w.client.Tracker().Get(accounts, "prod", "web"); err != nil {
			if err := w.client.Tracker().Add(o); err != nil {
				return true, nil, err
			}
		}
		return true, nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "serviceaccounts"}, "web")
	})
	r, err := revoke.Layers(w.conn)[revoke.Account].Apply(t.Context(), c)
	if err != nil || r.UID != "sa-9" || len(r.Notes) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	got, err := w.client.CoreV1().ServiceAccounts("prod").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || got.Labels["team"] != "blue" || len(got.ImagePullSecrets) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnAccountIsTriedDry(t *testing.T) {
	w := newTown(t)
	c := prepared(t, w, revoke.Account)[0]
	if err := revoke.Layers(w.conn)[revoke.Account].(quarantine.DryRunner).ApplyDry(t.Context(), c); err != nil || w.writes(true) != 2 || w.writes(false) != 0 {
		t.Errorf("%v, %d dry, %d not", err, w.writes(true), w.writes(false))
	}
}

func find(all []evidence.Finding, code string) string {
	for _, f := range all {
		if f.Code == code {
			return string(f.Severity) + " " + f.Text
		}
	}
	return ""
}

func TestForecast(t *testing.T) {
	w := newTown(t)
	all, refused := revoke.Forecast(w.scene, []string{revoke.Bindings, revoke.Account}, false)
	if len(refused) > 0 || !strings.Contains(find(all, "blast-radius"), "web-1") || find(all, "rights-stay") != "" || find(all, "cached-for-seconds") == "" {
		t.Errorf("%v, %+v", refused, all)
	}
	w.scene.Identity.Name = "default"
	all, refused = revoke.Forecast(w.scene, []string{revoke.Account}, false)
	if !slices.Equal(refused, []string{revoke.Account}) || !strings.HasPrefix(find(all, "account-protected"), "refused") {
		t.Errorf("%v, %+v", refused, all)
	}
	all, refused = revoke.Forecast(w.scene, []string{revoke.Account}, true)
	if len(refused) > 0 || !strings.HasPrefix(find(all, "account-protected"), "warning") || find(all, "rights-stay") == "" {
		t.Errorf("%v, %+v", refused, all)
	}
	w.scene.Gaps = []quarantine.Gap{{What: "names of secrets in prod", Why: "not allowed"}}
	if _, refused = revoke.Forecast(w.scene, []string{revoke.LegacyTokens}, true); !slices.Equal(refused, []string{revoke.LegacyTokens}) {
		t.Errorf("%v", refused)
	}
	w.scene.Identity = nil
	if _, refused = revoke.Forecast(w.scene, []string{revoke.Account}, true); len(refused) != 1 {
		t.Errorf("%v", refused)
	}
}

func TestRulesAreWhole(t *testing.T) {
	for _, r := range revoke.Rules() {
		if r.Resource == "" || len(r.Verbs) == 0 || r.Why == "" || r.Scope == "" || slices.Contains(r.Verbs, "*") {
			t.Errorf("%+v", r)
		}
	}
	w := newTown(t)
	for _, r := range revoke.RulesOf(w.target, append(prepared(t, w, revoke.Bindings), prepared(t, w, revoke.Account)...)) {
		if !r.Required || len(r.Verbs) == 0 {
			t.Errorf("%+v", r)
		}
	}
}

// What a tenant writes into an annotation never becomes a word of a command.
func FuzzHints(f *testing.F) {
	for _, s := range []string{"arn:aws:iam::111122223333:role/path/web", "web@p.iam.gserviceaccount.com", "11111111-2222-3333-4444-555555555555", "x; rm -rf /", "$(id)", "arn:aws:iam::111122223333:role/a'b", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, principal string) {
		s := quarantine.Scene{Identity: &quarantine.Identity{Object: evidence.Object{Namespace: "prod", Name: "web"}}}
		for _, p := range []string{"aws-irsa", "aws-pod-identity", "gcp", "azure"} {
			s.Identity.Cloud = append(s.Identity.Cloud, quarantine.CloudIdentity{Provider: p, Principal: principal})
		}
		plain := quarantine.Scene{Identity: &quarantine.Identity{Object: s.Identity.Object}}
		for _, c := range s.Identity.Cloud {
			plain.Identity.Cloud = append(plain.Identity.Cloud, quarantine.CloudIdentity{Provider: c.Provider})
		}
		want, got := revoke.Hints(plain), revoke.Hints(s)
		for n, h := range got {
			for k, line := range h.Commands {
				form := regexp.QuoteMeta(want[n].Commands[k])
				for _, name := range []string{"<ROLE>", "<GSA>", "<CLIENT-ID>"} {
					form = strings.ReplaceAll(form, name, `(?:`+name+`|[A-Za-z0-9_][A-Za-z0-9_@=,.+:-]*)`)
				}
				if !regexp.MustCompile("^" + form + "$").MatchString(line) {
					t.Fatalf("%q is not of the form %s", line, form)
				}
			}
			if len(h.Commands) == 0 || h.Why == "" {
				t.Fatalf("%+v is not whole", h)
			}
		}
	})
}

func TestChangesSurviveTheLog(t *testing.T) {
	w := newTown(t)
	for name := range revoke.Layers(nil) {
		for _, c := range prepared(t, w, name) {
			b, err := json.Marshal(c)
			if err != nil || !revoke.Is(c.Layer) || c.Layer != name {
				t.Errorf("%s: %v %s", name, err, b)
			}
		}
	}
}

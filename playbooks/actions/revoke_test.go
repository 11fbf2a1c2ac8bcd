package actions

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/revoke"
)

func TestRevokePlaybooksCompile(t *testing.T) {
	for _, steps := range [][]string{{revoke.Bindings}, revoke.Steps()} {
		p, err := playbooks.Compile("revoke", RevokePlaybook(steps), Standard())
		if err != nil || len(p.Blueprints) != 1 || !slices.Equal(p.Blueprints[0].Needs().Revoke, steps) {
			t.Errorf("%v, %+v", err, p)
		}
	}
	for _, bad := range []string{"revoke: {}", "revoke: {steps: [everything]}", "revoke: {steps: []}"} {
		source := strings.Replace(string(RevokePlaybook(nil)), "revoke:\n      steps: []", bad, 1)
		if p, err := playbooks.Compile("revoke", []byte(source), Standard()); err == nil {
			t.Errorf("%s: %+v", bad, p)
		}
	}
}

// TestRevokeAndUndo: the bindings go, release leaves them gone, undo gives them back, and
// each write is in custody.
func TestRevokeAndUndo(t *testing.T) {
	n := newNight(t)
	o := playbooks.Order{Case: "c-1", Target: theTarget(), Pod: n.pod(t)}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: o.Target.Namespace, Name: "ops", UID: "b-1"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "ops"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: o.Target.Namespace, Name: "default"}}}
	if err := n.client.Tracker().Add(binding); err != nil {
		t.Fatal(err)
	}
	plan, err := playbooks.Compile("revoke", RevokePlaybook([]string{revoke.Bindings}), Standard())
	if err != nil {
		t.Fatal(err)
	}
	o.Plan = plan
	look, err := n.Look(t.Context(), o)
	if err != nil || !slices.Contains(look.Forecast.Refused, revoke.Bindings) {
		t.Fatalf("account default without force: %v, %+v", err, look.Forecast)
	}
	o.Force = true
	if look, err = n.Look(t.Context(), o); err != nil || len(look.Changes) != 1 || len(look.Blocked()) > 0 {
		t.Fatalf("%v, %+v, missing %v", err, look.Changes, look.Missing)
	}
	result, err := n.Run(t.Context(), o, look)
	if err != nil || len(result.Failed) > 0 || result.Verdict != nil {
		t.Fatalf("%+v, %v", result, err)
	}
	bound := func() int {
		l, err := n.client.RbacV1().RoleBindings(o.Target.Namespace).List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(l.Items)
	}
	if bound() != 0 {
		t.Fatal("the binding is still there")
	}
	s, err := n.Cases.Recall(o.Case)
	if err != nil || len(s.Revoked) != 1 || len(s.Changes) != 0 {
		t.Errorf("status: %+v, %v", s, err)
	}
	p, err := n.LookRelease(t.Context(), o.Case, quarantine.ToService)
	if err != nil || slices.ContainsFunc(p.Plan.Steps, func(s quarantine.Step) bool { return revoke.Is(s.Layer) }) ||
		!slices.ContainsFunc(p.Plan.Residue, func(s string) bool { return strings.Contains(s, "irkit revoke --undo") }) {
		t.Errorf("release: %+v, %v", p.Plan, err)
	}
	if id, ok, err := n.Cases.Revoking(func(x evidence.Target) bool { return x == o.Target }); id != o.Case || !ok || err != nil {
		t.Errorf("case %q, %v, %v", id, ok, err)
	}
	for again := range 2 {
		u, err := n.LookUnrevoke(o.Case)
		if err != nil || len(u.Plan.Steps) != 1-again {
			t.Fatalf("%+v, %v", u.Plan, err)
		}
		r, err := n.Release(t.Context(), o, u, func(string) bool { return true })
		if err != nil || len(r.Failed) > 0 || bound() != 1 {
			t.Errorf("%+v, %v, %d bindings", r, err, bound())
		}
	}
	h, err := n.Cases.History(o.Case)
	if err != nil || h.Released() {
		t.Errorf("released %v, %v", h.Released(), err)
	}
	var said []string
	for _, r := range h.Records {
		if r.Change != nil {
			said = append(said, string(r.Action)+" "+string(r.Phase))
		}
	}
	if !slices.Equal(said, []string{"revoked intend", "revoked did", "released intend", "released did"}) {
		t.Errorf("custody: %q", said)
	}
}

// TestAnAccountThatWasDeletedAndNotMadeIsMadeByRunningAgain: between the two halves anything
// may happen.
func TestAnAccountThatWasDeletedAndNotMadeIsMadeByRunningAgain(t *testing.T) {
	n := newNight(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "default", UID: "sa-1", Labels: map[string]string{"team": "blue"}}}
	accounts := schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	if err := n.client.Tracker().Update(accounts, account, "prod"); err != nil {
		t.Fatal(err)
	}
	refuse := true
	n.client.PrependReactor("create", "serviceaccounts", func(a ktesting.Action) (bool, runtime.Object, error) {
		if refuse {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "serviceaccounts"}, "default", errors.New("a webhook says no"))
		}
		a.(ktesting.CreateAction).GetObject().(*corev1.ServiceAccount).UID = "sa-2"
		return false, nil, nil
	})
	plan, err := playbooks.Compile("revoke", RevokePlaybook([]string{revoke.Account}), Standard())
	if err != nil {
		t.Fatal(err)
	}
	o := playbooks.Order{Case: "c-1", Target: theTarget(), Pod: n.pod(t), Plan: plan, Force: true}
	run := func() playbooks.Result {
		look, err := n.Look(t.Context(), o)
		if err != nil || len(look.Changes) != 1 || len(look.Forecast.Refused) > 0 {
			t.Fatalf("%v, %+v, %+v", err, look.Changes, look.Forecast)
		}
		r, err := n.Run(t.Context(), o, look)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := run(); len(r.Failed) != 1 || !strings.Contains(r.Failed[0], "which is deleted") {
		t.Fatalf("%+v", r)
	}
	s, err := n.Cases.Recall(o.Case)
	if err != nil || len(s.Revoked) != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	refuse = false
	if r := run(); len(r.Failed) > 0 {
		t.Fatalf("%+v", r)
	}
	got, err := n.client.CoreV1().ServiceAccounts("prod").Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil || got.UID != "sa-2" || got.Labels["team"] != "blue" {
		t.Errorf("%+v, %v", got, err)
	}
}

package revoke

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// bindings takes the account out of each binding that names it. One that names nobody else
// is deleted, which needs no right of the role's own; from one that is shared the account
// alone is taken. What it holds through a group stays: that would take it from others.
type bindings struct{ conn *cluster.Conn }

// body is a binding as it is made again: the fields that a person or a controller wrote.
type body struct {
	Metadata struct {
		Name            string                  `json:"name"`
		Namespace       string                  `json:"namespace,omitempty"`
		Labels          map[string]string       `json:"labels,omitempty"`
		Annotations     map[string]string       `json:"annotations,omitempty"`
		OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
	} `json:"metadata"`
	RoleRef  rbacv1.RoleRef   `json:"roleRef"`
	Subjects []rbacv1.Subject `json:"subjects"`
}

// shared is what of a binding with other subjects is touched.
type shared struct {
	Subjects []rbacv1.Subject `json:"subjects"`
}

// Traits implements quarantine.Layer.
func (bindings) Traits() quarantine.Traits {
	rule := func(resource string, scope evidence.Scope, verb, why string) evidence.Rule {
		return evidence.Rule{Group: rbacv1.GroupName, Resource: resource, Verbs: []string{verb}, Scope: scope, Why: why}
	}
	var rules []evidence.Rule
	for resource, scope := range map[string]evidence.Scope{"rolebindings": evidence.InTarget, "clusterrolebindings": evidence.InCluster} {
		rules = append(rules,
			rule(resource, scope, "get", "see whether a binding is still the one of the plan"),
			rule(resource, scope, "delete", "take away a binding that names the service account alone"),
			rule(resource, scope, "patch", "take the service account out of a binding that names others too; needs bind on the role, or all of its rights"),
			rule(resource, scope, "create", "put a binding back; needs bind on the role, or all of its rights"))
	}
	slices.SortFunc(rules, func(a, b evidence.Rule) int { return strings.Compare(a.Resource+a.Verbs[0], b.Resource+b.Verbs[0]) })
	return quarantine.Traits{Name: Bindings, Rules: rules}
}

// Prepare implements quarantine.Layer.
func (bindings) Prepare(s quarantine.Scene, t evidence.Target) ([]evidence.Change, error) {
	i, err := identity(s, t, Bindings)
	if err != nil {
		return nil, err
	}
	var out []evidence.Change
	for _, g := range i.Grants {
		named := i.Named(g)
		if len(named) == 0 {
			continue
		}
		c := evidence.Change{Layer: Bindings, Op: evidence.OpDelete, Object: g.Binding, After: json.RawMessage("null"),
			Why: fmt.Sprintf("take %s %q from service account %s, whom alone this binding names", g.Role.Kind, g.Role.Name, i.Name)}
		b := body{RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: g.Role.Kind, Name: g.Role.Name}, Subjects: g.Subjects}
		b.Metadata.Name, b.Metadata.Namespace, b.Metadata.Labels, b.Metadata.Annotations = g.Binding.Name, g.Binding.Namespace, g.Labels, g.Annotations
		c.Before = encode(b)
		if others := len(g.Subjects) - len(named); others > 0 {
			c.Op = evidence.OpPatch
			c.Before, c.After = encode(shared{g.Subjects}), encode(shared{without(g.Subjects, named)})
			c.Why = fmt.Sprintf("take %s %q from service account %s; the binding keeps its %d other subjects", g.Role.Kind, g.Role.Name, i.Name, others)
		}
		c.ID = fmt.Sprintf("%s/%s/%s/%s/%s", Bindings, c.Op, g.Binding.Kind, g.Binding.Namespace, g.Binding.Name)
		out = append(out, c)
	}
	return out, nil
}

// Apply implements quarantine.Layer.
func (l bindings) Apply(ctx context.Context, c evidence.Change) (quarantine.Result, error) {
	return l.apply(ctx, c, nil)
}

// ApplyDry implements quarantine.DryRunner.
func (l bindings) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, []string{metav1.DryRunAll})
	return err
}

func (l bindings) apply(ctx context.Context, c evidence.Change, dry []string) (res quarantine.Result, err error) {
	api, err := l.at(c.Object)
	if err != nil {
		return res, err
	}
	err = quarantine.Again(ctx, l.conn, c.Why, func() error {
		res = quarantine.Result{UID: c.Object.UID}
		live, rv, err := api.get(ctx)
		if apierrors.IsNotFound(err) && c.Op == evidence.OpDelete {
			res.Already = true
			return nil
		}
		if apierrors.IsNotFound(err) || err == nil && rv.uid != c.Object.UID {
			return fmt.Errorf("%s is gone or another one: %w", c.Object, cluster.ErrReplaced)
		}
		if err != nil {
			return err
		}
		if c.Op == evidence.OpDelete {
			var planned body
			if err := json.Unmarshal(c.Before, &planned); err != nil {
				return fmt.Errorf("read change %s: %w", c.ID, err)
			}
			if !slices.Equal(live.Subjects, planned.Subjects) || live.RoleRef != planned.RoleRef {
				return fmt.Errorf("%s names others than when it was planned; look again: %w", c.Object, quarantine.ErrForeign)
			}
			res.Before = encode(live)
			uid := types.UID(rv.uid)
			err := api.delete(ctx, metav1.DeleteOptions{DryRun: dry, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: rv.version}})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		gone, err := taken(c)
		if err != nil {
			return err
		}
		rest := without(live.Subjects, gone)
		if len(rest) == len(live.Subjects) {
			res.Already = true
			return nil
		}
		res.Before, res.After = encode(shared{live.Subjects}), encode(shared{rest})
		return api.patch(ctx, subjectsPatch(rv.uid, live.Subjects, rest), metav1.PatchOptions{FieldManager: quarantine.FieldManager, DryRun: dry})
	})
	return res, err
}

// Release implements quarantine.Layer. A binding that somebody made anew in between is left.
func (l bindings) Release(ctx context.Context, c evidence.Change) (res quarantine.Result, err error) {
	api, err := l.at(c.Object)
	if err != nil {
		return res, err
	}
	did := "put back " + c.Object.String()
	err = quarantine.Again(ctx, l.conn, did, func() error {
		res = quarantine.Result{}
		live, rv, err := api.get(ctx)
		switch {
		case apierrors.IsNotFound(err) && c.Op == evidence.OpDelete:
			var b body
			if err := json.Unmarshal(c.Before, &b); err != nil {
				return fmt.Errorf("read change %s: %w", c.ID, err)
			}
			if b.Metadata.Name != c.Object.Name || b.Metadata.Namespace != c.Object.Namespace {
				return fmt.Errorf("read change %s: it is not of the object that it names", c.ID)
			}
			res.UID, err = api.create(ctx, b)
			return err
		case apierrors.IsNotFound(err):
			res.Already, res.Notes = true, []string{c.Object.String() + " is gone: there is nothing to put back"}
			return nil
		case err != nil:
			return err
		case c.Op == evidence.OpDelete:
			res.Already = true
			if rv.uid != c.Object.UID {
				res.Notes = []string{c.Object.String() + " was made again by someone else, and is left as it is"}
			}
			return nil
		case rv.uid != c.Object.UID:
			res.Already, res.Notes = true, []string{c.Object.String() + " is another one, and is left as it is"}
			return nil
		}
		var before shared
		if err := json.Unmarshal(c.Before, &before); err != nil {
			return fmt.Errorf("read change %s: %w", c.ID, err)
		}
		ours, err := taken(c)
		if err != nil {
			return err
		}
		want := slices.Clone(live.Subjects)
		for at, s := range before.Subjects {
			if slices.Contains(ours, s) && !slices.Contains(want, s) {
				want = slices.Insert(want, min(at, len(want)), s)
			}
		}
		if len(want) == len(live.Subjects) {
			res.Already = true
			return nil
		}
		return api.patch(ctx, subjectsPatch(rv.uid, live.Subjects, want), metav1.PatchOptions{FieldManager: quarantine.FieldManager})
	})
	return res, err
}

// taken are the subjects that a change takes out of a shared binding.
func taken(c evidence.Change) ([]rbacv1.Subject, error) {
	var before, after shared
	if err := json.Unmarshal(c.Before, &before); err != nil {
		return nil, fmt.Errorf("read change %s: %w", c.ID, err)
	}
	if err := json.Unmarshal(c.After, &after); err != nil {
		return nil, fmt.Errorf("read change %s: %w", c.ID, err)
	}
	return without(before.Subjects, after.Subjects), nil
}

func without(all, some []rbacv1.Subject) []rbacv1.Subject {
	return slices.DeleteFunc(slices.Clone(all), func(s rbacv1.Subject) bool { return slices.Contains(some, s) })
}

// subjectsPatch stands on the whole list as it was seen: nobody's subject is lost.
func subjectsPatch(uid string, have, want []rbacv1.Subject) []byte {
	if len(have) == 0 {
		return encode([]op{{"test", "/metadata/uid", uid}, {"test", "/subjects", nil}, {"add", "/subjects", want}})
	}
	return encode([]op{{"test", "/metadata/uid", uid}, {"test", "/subjects", have}, {"replace", "/subjects", want}})
}

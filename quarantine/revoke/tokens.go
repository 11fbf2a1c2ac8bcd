package revoke

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// tokens ends the account's legacy tokens, which have no end of their own: by the label that
// the API server looks at with each use, and which can be taken off again, or by deleting
// their secrets. Only metadata is read and answered: no value of a secret comes here.
type tokens struct {
	conn   *cluster.Conn
	delete bool
}

// mark is what of a secret is touched, as a JSON merge patch (RFC 7386).
type mark struct {
	Metadata struct {
		Labels map[string]*string `json:"labels"`
	} `json:"metadata"`
}

func marked(value *string) json.RawMessage {
	var m mark
	m.Metadata.Labels = map[string]*string{quarantine.InvalidSince: value}
	return encode(m)
}

func (l tokens) name() string {
	if l.delete {
		return DeletedTokens
	}
	return LegacyTokens
}

// Traits implements quarantine.Layer.
func (l tokens) Traits() quarantine.Traits {
	r := evidence.Rule{Resource: "secrets", Verbs: []string{"patch"}, Scope: evidence.InTarget, Why: "mark the account's legacy tokens invalid, and valid again"}
	if l.delete {
		r.Verbs, r.Why = []string{"delete"}, "delete the account's legacy tokens"
	}
	get := evidence.Rule{Resource: "secrets", Verbs: []string{"get"}, Scope: evidence.InTarget, Why: "see whether a legacy token is still the one of the plan; irkit asks for metadata alone"}
	return quarantine.Traits{Name: l.name(), Rules: []evidence.Rule{get, r}}
}

// Prepare implements quarantine.Layer.
func (l tokens) Prepare(s quarantine.Scene, t evidence.Target) ([]evidence.Change, error) {
	i, err := identity(s, t, l.name())
	if err != nil {
		return nil, err
	}
	day := s.Taken.UTC().Format("2006-01-02")
	var out []evidence.Change
	for _, k := range i.Legacy {
		c := evidence.Change{Layer: l.name(), Object: evidence.Object{APIVersion: "v1", Kind: "Secret", Namespace: i.Namespace, Name: k.Name, UID: k.UID}}
		switch {
		case l.delete:
			c.Op, c.Before, c.After = evidence.OpDelete, encode(map[string]any{"metadata": map[string]any{"name": k.Name, "uid": k.UID, "labels": k.Labels}}), json.RawMessage("null")
			c.Why = "end the legacy token of service account " + i.Name + " by deleting its secret"
			c.Irreversible = "a deleted token secret cannot be had again; another one has another token"
		case k.Invalid != "":
			continue
		default:
			c.Op, c.Before, c.After = evidence.OpPatch, marked(nil), marked(&day)
			c.Why = "end the legacy token of service account " + i.Name + " by the label that makes it invalid"
		}
		c.ID = fmt.Sprintf("%s/%s/Secret/%s/%s/%s", l.name(), c.Op, i.Namespace, k.Name, k.UID)
		out = append(out, c)
	}
	return out, nil
}

func (l tokens) at(o evidence.Object) (metadata.ResourceInterface, error) {
	if o.Kind != "Secret" || o.Namespace == "" || o.Name == "" || o.UID == "" {
		return nil, fmt.Errorf("change names no pinned secret: %s", o)
	}
	if l.conn.Metadata == nil {
		return nil, fmt.Errorf("reach %s: this connection cannot ask for metadata alone", o)
	}
	return l.conn.Metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(o.Namespace), nil
}

// Apply implements quarantine.Layer.
func (l tokens) Apply(ctx context.Context, c evidence.Change) (quarantine.Result, error) {
	return l.apply(ctx, c, nil)
}

// ApplyDry implements quarantine.DryRunner.
func (l tokens) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, []string{metav1.DryRunAll})
	return err
}

func (l tokens) apply(ctx context.Context, c evidence.Change, dry []string) (res quarantine.Result, err error) {
	api, err := l.at(c.Object)
	if err != nil {
		return res, err
	}
	err = quarantine.Again(ctx, l.conn, c.Why, func() error {
		res = quarantine.Result{UID: c.Object.UID}
		live, err := api.Get(ctx, c.Object.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) && l.delete:
			res.Already = true
			return nil
		case apierrors.IsNotFound(err), err == nil && string(live.UID) != c.Object.UID:
			return fmt.Errorf("%s is gone or another one: %w", c.Object, cluster.ErrReplaced)
		case err != nil:
			return err
		}
		if l.delete {
			uid := live.UID
			if err = api.Delete(ctx, c.Object.Name, metav1.DeleteOptions{DryRun: dry, Preconditions: &metav1.Preconditions{UID: &uid}}); apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		var want mark
		if err := json.Unmarshal(c.After, &want); err != nil {
			return fmt.Errorf("read change %s: %w", c.ID, err)
		}
		value := want.Metadata.Labels[quarantine.InvalidSince]
		if value == nil || *value == "" {
			return fmt.Errorf("read change %s: it sets no %s", c.ID, quarantine.InvalidSince)
		}
		if was, there := live.Labels[quarantine.InvalidSince]; there && was != "" {
			res.Already = true
			if was != *value { // someone else's mark: theirs to take off
				res.Before, res.After = marked(&was), marked(&was)
			}
			return nil
		}
		return l.label(ctx, api, live, value, dry)
	})
	return res, err
}

// label sets or takes off the one label, standing on what was seen.
func (l tokens) label(ctx context.Context, api metadata.ResourceInterface, live *metav1.PartialObjectMetadata, value *string, dry []string) error {
	const at = "/metadata/labels/kubernetes.io~1legacy-token-invalid-since" // RFC 6901, section 3
	ops := []op{{"test", "/metadata/uid", live.UID}}
	was, there := live.Labels[quarantine.InvalidSince]
	switch {
	case value == nil:
		ops = append(ops, op{"test", at, was}, op{"remove", at, nil})
	case len(live.Labels) == 0:
		ops = append(ops, op{"test", "/metadata/labels", nil}, op{"add", "/metadata/labels", map[string]string{quarantine.InvalidSince: *value}})
	case there:
		ops = append(ops, op{"test", at, was}, op{"add", at, *value})
	default:
		ops = append(ops, op{"test", at, nil}, op{"add", at, *value})
	}
	_, err := api.Patch(ctx, live.Name, types.JSONPatchType, encode(ops), metav1.PatchOptions{FieldManager: quarantine.FieldManager, DryRun: dry})
	return err
}

// Release implements quarantine.Layer: a mark that is not ours stays, and what was deleted
// stays deleted.
func (l tokens) Release(ctx context.Context, c evidence.Change) (res quarantine.Result, err error) {
	if l.delete {
		return quarantine.Result{Already: true, Notes: []string{c.Object.String() + " was deleted or stands as it was: nothing can be put back"}}, nil
	}
	api, err := l.at(c.Object)
	if err != nil {
		return res, err
	}
	var set, was mark
	if err := json.Unmarshal(c.After, &set); err != nil {
		return res, fmt.Errorf("read change %s: %w", c.ID, err)
	}
	if err := json.Unmarshal(c.Before, &was); err != nil {
		return res, fmt.Errorf("read change %s: %w", c.ID, err)
	}
	err = quarantine.Again(ctx, l.conn, "let "+c.Object.String()+" be valid again", func() error {
		res = quarantine.Result{UID: c.Object.UID}
		live, err := api.Get(ctx, c.Object.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && string(live.UID) != c.Object.UID {
			res.Already, res.Notes = true, []string{c.Object.String() + " is gone or another one: there is nothing to put back"}
			return nil
		}
		if err != nil {
			return err
		}
		now, there := live.Labels[quarantine.InvalidSince]
		ours := set.Metadata.Labels[quarantine.InvalidSince]
		switch {
		case !there:
			res.Already = true
			return nil
		case was.Metadata.Labels[quarantine.InvalidSince] != nil, ours == nil, *ours != now:
			res.Already, res.Notes = true, []string{c.Object.String() + " is marked invalid by someone else, and is left so"}
			return nil
		}
		return l.label(ctx, api, live, nil, nil)
	})
	return res, err
}

package revoke

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// account deletes the service account and makes it anew under its name. Every token carries
// the account's UID, so that all that were ever given out are dead
// (k8s.io/kubernetes, pkg/serviceaccount/claims.go and legacy.go).
type account struct{ conn *cluster.Conn }

// making bounds the second half, which is made also when the caller is interrupted: between
// the two no pod of the account can start.
const making = 30 * time.Second

// whole is a service account as it is made again.
type whole struct {
	Metadata struct {
		Name            string                  `json:"name"`
		Namespace       string                  `json:"namespace"`
		UID             string                  `json:"uid,omitempty"`
		Labels          map[string]string       `json:"labels,omitempty"`
		Annotations     map[string]string       `json:"annotations,omitempty"`
		OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
	} `json:"metadata"`
	Secrets          []corev1.ObjectReference      `json:"secrets,omitempty"`
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	Automount        *bool                         `json:"automountServiceAccountToken,omitempty"`
}

func wholeOf(sa *corev1.ServiceAccount) whole {
	var w whole
	w.Metadata.Name, w.Metadata.Namespace, w.Metadata.UID = sa.Name, sa.Namespace, string(sa.UID)
	w.Metadata.Labels, w.Metadata.Annotations, w.Metadata.OwnerReferences = sa.Labels, sa.Annotations, sa.OwnerReferences
	w.Secrets, w.ImagePullSecrets, w.Automount = sa.Secrets, sa.ImagePullSecrets, sa.AutomountServiceAccountToken
	return w
}

func (w whole) object() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: w.Metadata.Name, Namespace: w.Metadata.Namespace, Labels: w.Metadata.Labels,
			Annotations: w.Metadata.Annotations, OwnerReferences: w.Metadata.OwnerReferences},
		Secrets: w.Secrets, ImagePullSecrets: w.ImagePullSecrets, AutomountServiceAccountToken: w.Automount,
	}
}

// Traits implements quarantine.Layer.
func (account) Traits() quarantine.Traits {
	return quarantine.Traits{Name: Account, Rules: []evidence.Rule{
		{Resource: "serviceaccounts", Verbs: []string{"get", "delete", "create"}, Scope: evidence.InTarget, Why: "delete the service account and make it anew, so that every token of it is dead"},
		{Resource: "serviceaccounts", Verbs: []string{"patch"}, Scope: evidence.InTarget, Why: "give an account that the cluster makes again by itself its labels and pull secrets back"},
	}}
}

// Prepare implements quarantine.Layer.
func (account) Prepare(s quarantine.Scene, t evidence.Target) ([]evidence.Change, error) {
	i, err := identity(s, t, Account)
	if err != nil {
		return nil, err
	}
	if i.Account == nil || i.UID == "" {
		return nil, fmt.Errorf("prepare %s for %s: service account %s could not be read: %w", Account, t, i.Name, quarantine.ErrUnsuited)
	}
	was := wholeOf(i.Account)
	is := was
	is.Metadata.UID = ""
	return []evidence.Change{{
		ID: fmt.Sprintf("%s/create/ServiceAccount/%s/%s/%s", Account, i.Namespace, i.Name, i.UID), Layer: Account, Op: evidence.OpCreate, Object: i.Object,
		Before: encode(was), After: encode(is),
		Why:          "delete service account " + i.Name + " and make it anew under its name: every token that carries its former UID is dead",
		Irreversible: "the tokens of the former service account are dead for ever, those of other pods too, and its legacy token secrets are deleted by the cluster",
	}}, nil
}

// Apply implements quarantine.Layer.
func (l account) Apply(ctx context.Context, c evidence.Change) (res quarantine.Result, err error) {
	var planned whole
	if err := json.Unmarshal(c.Before, &planned); err != nil {
		return res, fmt.Errorf("read change %s: %w", c.ID, err)
	}
	if o := c.Object; o.Kind != "ServiceAccount" || o.UID == "" || planned.Metadata.Name != o.Name || planned.Metadata.Namespace != o.Namespace {
		return res, fmt.Errorf("read change %s: it names no pinned service account", c.ID)
	}
	api := l.conn.Client.CoreV1().ServiceAccounts(c.Object.Namespace)
	want := planned
	err = quarantine.Again(ctx, l.conn, c.Why, func() error {
		live, err := api.Get(ctx, c.Object.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) { // an earlier run ended in the middle
			return nil
		}
		if err != nil {
			return err
		}
		if string(live.UID) != c.Object.UID {
			res = quarantine.Result{UID: string(live.UID), Already: true, Notes: []string{c.Object.String() + " is another one already: the tokens of the former are dead"}}
			return nil
		}
		want = wholeOf(live)
		uid := live.UID
		err = api.Delete(ctx, c.Object.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err != nil || res.Already {
		return res, err
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), making)
	defer done()
	return l.make(ctx, c, want)
}

// make creates the account, or takes the one that the cluster made by itself meanwhile
// (it does that for default), and gives it what the former had.
func (l account) make(ctx context.Context, c evidence.Change, want whole) (res quarantine.Result, err error) {
	api := l.conn.Client.CoreV1().ServiceAccounts(c.Object.Namespace)
	did := "make " + c.Object.String() + " anew, which is deleted"
	for {
		made, err := api.Create(ctx, want.object(), metav1.CreateOptions{FieldManager: quarantine.FieldManager})
		if err == nil {
			return quarantine.Result{UID: string(made.UID), Before: encode(want)}, nil
		}
		if apierrors.IsAlreadyExists(err) {
			live, getErr := api.Get(ctx, c.Object.Name, metav1.GetOptions{})
			if getErr == nil && string(live.UID) != c.Object.UID {
				return quarantine.Result{UID: string(live.UID), Before: encode(want), Notes: []string{c.Object.String() + " was made again by the cluster itself"}}, l.dress(ctx, live, want)
			}
		} else if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			return res, l.conn.Explain(did, err)
		}
		select { // a finaliser holds the former, or the API server is away for a moment
		case <-ctx.Done():
			return res, l.conn.Explain(did, fmt.Errorf("%w; running it again goes on: %w", ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// dress gives the account what of want it does not have.
func (l account) dress(ctx context.Context, live *corev1.ServiceAccount, want whole) error {
	patch := map[string]any{"metadata": map[string]any{"uid": live.UID, "labels": want.Metadata.Labels, "annotations": want.Metadata.Annotations},
		"secrets": want.Secrets, "imagePullSecrets": want.ImagePullSecrets, "automountServiceAccountToken": want.Automount}
	for _, k := range []string{"secrets", "imagePullSecrets", "automountServiceAccountToken"} {
		if string(encode(patch[k])) == "null" {
			delete(patch, k)
		}
	}
	_, err := l.conn.Client.CoreV1().ServiceAccounts(live.Namespace).Patch(ctx, live.Name, types.MergePatchType, encode(patch), metav1.PatchOptions{FieldManager: quarantine.FieldManager})
	return l.conn.Explain("give service account "+live.Name+" back its labels and pull secrets", err)
}

// ApplyDry implements quarantine.DryRunner: both halves. That the account is there is, since
// its deletion was only tried, no refusal.
func (l account) ApplyDry(ctx context.Context, c evidence.Change) error {
	var planned whole
	if err := json.Unmarshal(c.Before, &planned); err != nil {
		return fmt.Errorf("read change %s: %w", c.ID, err)
	}
	api, dry := l.conn.Client.CoreV1().ServiceAccounts(c.Object.Namespace), []string{metav1.DryRunAll}
	uid := types.UID(c.Object.UID)
	if err := api.Delete(ctx, c.Object.Name, metav1.DeleteOptions{DryRun: dry, Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil {
		return l.conn.Explain("delete "+c.Object.String(), err)
	}
	_, err := api.Create(ctx, planned.object(), metav1.CreateOptions{DryRun: dry, FieldManager: quarantine.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return l.conn.Explain("make "+c.Object.String()+" anew", err)
}

// Release implements quarantine.Layer: there is no way back.
func (account) Release(_ context.Context, c evidence.Change) (quarantine.Result, error) {
	return quarantine.Result{Already: true, Notes: []string{c.Object.String() + " stays the new one: the tokens of the former cannot be had again"}}, nil
}

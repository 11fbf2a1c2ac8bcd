package quarantine

import (
	"context"
	"encoding/json"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// budgetChange is the budget of a case: more pods are to stay than there can be. It is a
// number, since for a pod without controller the disruption controller can work with
// nothing else (k8s.io/kubernetes, pkg/controller/disruption).
func budgetChange(t evidence.Target, caseID string) evidence.Change {
	all := intstr.FromInt32(highestCost)
	b := policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Name: policyName(caseID), Namespace: t.Namespace, Labels: map[string]string{evidence.LabelCase: caseID}},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &all,
			Selector:     &metav1.LabelSelector{MatchLabels: map[string]string{evidence.LabelQuarantine: caseID}},
		},
	}
	return evidence.Change{
		ID: LayerProtect + "/create/poddisruptionbudget/" + t.Namespace + "/" + b.Name, Layer: LayerProtect, Op: evidence.OpCreate,
		Object: evidence.Object{APIVersion: b.APIVersion, Kind: b.Kind, Namespace: t.Namespace, Name: b.Name},
		Before: json.RawMessage("null"), After: encode(b), Why: "let no pod of case " + caseID + " be evicted",
	}
}

// budgetOf reads the budget of a change, and refuses one that irkit would not make.
func budgetOf(c evidence.Change) (*policyv1.PodDisruptionBudget, error) {
	var b policyv1.PodDisruptionBudget
	if err := json.Unmarshal(c.After, &b); err != nil {
		return nil, fmt.Errorf("read budget of change %s: %w", c.ID, err)
	}
	caseID := b.Labels[evidence.LabelCase]
	switch sel := b.Spec.Selector; {
	case b.Name != c.Object.Name || b.Namespace != c.Object.Namespace || b.Namespace == "":
		return nil, fmt.Errorf("read budget of change %s: it is not the object that the change names", c.ID)
	case caseID == "":
		return nil, fmt.Errorf("read budget of change %s: it has no label %s", c.ID, evidence.LabelCase)
	case sel == nil || len(sel.MatchExpressions) > 0 || len(sel.MatchLabels) != 1 || sel.MatchLabels[evidence.LabelQuarantine] != caseID:
		return nil, fmt.Errorf("read budget of change %s: it does not select the pods of its case alone", c.ID)
	}
	return &b, nil
}

func (l *protect) createBudget(ctx context.Context, c evidence.Change, dry bool) (Result, error) {
	want, err := budgetOf(c)
	if err != nil {
		return Result{}, err
	}
	o := metav1.CreateOptions{FieldManager: FieldManager}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	api, did := l.conn.Client.PolicyV1().PodDisruptionBudgets(want.Namespace), "create "+c.Object.String()
	var got *policyv1.PodDisruptionBudget
	err = cluster.Persist(ctx, func() error {
		got, err = api.Create(ctx, want, o)
		return err
	})
	if err == nil {
		return Result{UID: string(got.UID)}, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return Result{}, l.conn.Explain(did, err)
	}
	if got, err = api.Get(ctx, want.Name, metav1.GetOptions{}); err != nil {
		return Result{}, l.conn.Explain(did, err)
	}
	if got.Labels[evidence.LabelCase] != want.Labels[evidence.LabelCase] || !equality.Semantic.DeepEqual(got.Spec, want.Spec) {
		return Result{}, fmt.Errorf("%s: one of that name is there and is not what this case makes: %w", did, ErrForeign)
	}
	return Result{UID: string(got.UID), Already: true}, nil
}

func (l *protect) deleteBudget(ctx context.Context, c evidence.Change, how sending) (res Result, err error) {
	want, err := budgetOf(c)
	if err != nil {
		return Result{}, err
	}
	err = cluster.Persist(ctx, func() error {
		res, err = l.tryDeleteBudget(ctx, c, want, how)
		return err
	})
	return res, err
}

func (l *protect) tryDeleteBudget(ctx context.Context, c evidence.Change, want *policyv1.PodDisruptionBudget, how sending) (Result, error) {
	api, did := l.conn.Client.PolicyV1().PodDisruptionBudgets(want.Namespace), "delete "+c.Object.String()
	live, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Result{Already: true}, nil
	}
	if err != nil {
		return Result{}, l.conn.Explain(did, err)
	}
	res := Result{UID: string(live.UID)}
	if live.Labels[evidence.LabelCase] != want.Labels[evidence.LabelCase] || c.Object.UID != "" && c.Object.UID != string(live.UID) {
		res.Already = true
		res.Notes = append(res.Notes, c.Object.String()+" is not the one that this case made, and is left")
		return res, nil
	}
	users, err := carriers(ctx, l.conn, want.Namespace, want.Spec.Selector.MatchLabels, how.without)
	if err != nil {
		return res, l.conn.Explain(did, err)
	}
	if len(users) > 0 {
		res.Already = true
		res.Notes = append(res.Notes, fmt.Sprintf("%s stays: %s still carries its label", c.Object, listed(users)))
		return res, nil
	}
	if !equality.Semantic.DeepEqual(live.Spec, want.Spec) {
		res.Before = encode(live.Spec)
		res.Notes = append(res.Notes, c.Object.String()+" had been changed since; it is deleted all the same, and what it said is in the record")
	}
	err = api.Delete(ctx, want.Name, how.delete(live.UID))
	if err != nil && !apierrors.IsNotFound(err) {
		return res, l.conn.Explain(did, err)
	}
	return res, nil
}

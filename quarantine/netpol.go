package quarantine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

const policyPrefix = "irkit-quarantine-"

func policyName(caseID string) string { return policyPrefix + caseID }

// earlyName holds the whole UID, so that no two targets and no case "a-1" and "a" with a
// target "1" share a policy.
func earlyName(caseID string, t evidence.Target) string {
	return policyPrefix + caseID + ".early." + t.UID
}

type netpol struct {
	conn *cluster.Conn
	want Want
}

// NewNetpol is the layer of the NetworkPolicy: one for each case and namespace, on the
// quarantine label, both directions, no rules. Where the target has a label that no other
// pod can have, first one on that, because plugins act on it at once.
func NewNetpol(conn *cluster.Conn, w Want) Layer { return &netpol{conn: conn, want: w} }

// Traits implements Layer.
func (l *netpol) Traits() Traits {
	why := "create the quarantine policy, and take it away at release"
	return Traits{Name: LayerNetpol, Rules: []evidence.Rule{
		{Group: "networking.k8s.io", Resource: "networkpolicies", Verbs: []string{"create", "get", "delete"}, Scope: evidence.InTarget, Required: true, Why: why},
		{Resource: "pods", Verbs: []string{"list"}, Scope: evidence.InTarget, Required: true, Why: "see whether another pod still needs the policy"},
	}}
}

// Prepare implements Layer.
func (l *netpol) Prepare(s Scene, t evidence.Target) ([]evidence.Change, error) {
	if err := prepared(s, t, l.want, LayerNetpol); err != nil {
		return nil, err
	}
	return policyChanges(s, t, l.want), nil
}

// prepared is what every layer asks of its scene.
func prepared(s Scene, t evidence.Target, w Want, layer string) error {
	if err := checkCase(w.Case); err != nil {
		return fmt.Errorf("prepare %s: %w", layer, err)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("prepare %s: %w", layer, err)
	}
	if s.Target.UID != t.UID || s.Target.Namespace != t.Namespace || s.Target.Pod != t.Pod || string(s.Pod.UID) != t.UID {
		return fmt.Errorf("prepare %s for %s: the scene is that of %s (%s)", layer, t, s.Target, s.Pod.UID)
	}
	if _, why := unsuited(s, layer); why != "" {
		return fmt.Errorf("prepare %s for %s: %s: %w", layer, t, why, ErrUnsuited)
	}
	return nil
}

func policyChanges(s Scene, t evidence.Target, w Want) []evidence.Change {
	if _, why := unsuited(s, LayerNetpol); why != "" || !w.wants(LayerNetpol) {
		return nil
	}
	var out []evidence.Change
	except := func(c evidence.Change) evidence.Change {
		if len(w.exceptions(s)) == 0 {
			return c
		}
		p, err := policyOf(c)
		if err != nil {
			return c
		}
		excepted(&p.Spec, s, w)
		c.After = encode(p)
		c.Why += ", but for what --allow names"
		return c
	}
	if early := earlyLabels(s); early != nil {
		out = append(out, except(policyChange(t, w.Case, earlyName(w.Case, t), early,
			"stop all traffic of the pod by a label that it has already, which plugins act on at once")))
	}
	return append(out, except(policyChange(t, w.Case, policyName(w.Case), map[string]string{evidence.LabelQuarantine: w.Case},
		"stop all traffic, both ways, of the pods of case "+w.Case)))
}

func policyChange(t evidence.Target, caseID, name string, on map[string]string, why string) evidence.Change {
	p := networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: t.Namespace, Labels: map[string]string{evidence.LabelCase: caseID}},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: on},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	return evidence.Change{
		ID: LayerNetpol + "/create/networkpolicy/" + t.Namespace + "/" + name, Layer: LayerNetpol, Op: evidence.OpCreate,
		Object: evidence.Object{APIVersion: p.APIVersion, Kind: p.Kind, Namespace: t.Namespace, Name: name},
		Before: json.RawMessage("null"), After: encode(p), Why: why,
	}
}

// Early reports a change that creates the policy on a label which the target had
// already: it must go before a successor of the same name may come.
func Early(c evidence.Change) bool {
	var p networkingv1.NetworkPolicy
	if c.Layer != LayerNetpol || json.Unmarshal(c.After, &p) != nil {
		return false
	}
	_, byLabel := p.Spec.PodSelector.MatchLabels[evidence.LabelQuarantine]
	return !byLabel
}

// Apply implements Layer.
func (l *netpol) Apply(ctx context.Context, c evidence.Change) (Result, error) {
	return l.apply(ctx, c, false)
}

// ApplyDry implements DryRunner.
func (l *netpol) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, true)
	return err
}

func (l *netpol) apply(ctx context.Context, c evidence.Change, dry bool) (Result, error) {
	want, err := policyOf(c)
	if err != nil {
		return Result{}, err
	}
	o := metav1.CreateOptions{FieldManager: FieldManager}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	api := l.conn.Client.NetworkingV1().NetworkPolicies(want.Namespace)
	did := "create " + c.Object.String()
	var got *networkingv1.NetworkPolicy
	err = cluster.Persist(ctx, func() error {
		got, err = api.Create(ctx, want, o) // one that was made, and of which we never heard, is there already
		return err
	})
	if err == nil {
		return Result{UID: string(got.UID)}, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return Result{}, l.conn.Explain(did, err)
	}
	got, err = api.Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return Result{}, l.conn.Explain(did, err)
	}
	if got.Labels[evidence.LabelCase] != want.Labels[evidence.LabelCase] || !equality.Semantic.DeepEqual(got.Spec, want.Spec) {
		return Result{}, fmt.Errorf("%s: one of that name is there and is not what this case makes: %w", did, ErrForeign)
	}
	return Result{UID: string(got.UID), Already: true}, nil
}

// policyOf reads the policy of a change, and refuses one that irkit would not make: it
// must select by label, deny, and stand where the change says.
func policyOf(c evidence.Change) (*networkingv1.NetworkPolicy, error) {
	var p networkingv1.NetworkPolicy
	if err := json.Unmarshal(c.After, &p); err != nil {
		return nil, fmt.Errorf("read policy of change %s: %w", c.ID, err)
	}
	switch {
	case p.Name != c.Object.Name || p.Namespace != c.Object.Namespace || p.Namespace == "":
		return nil, fmt.Errorf("read policy of change %s: it is not the object that the change names", c.ID)
	case len(p.Spec.PodSelector.MatchLabels) == 0 || len(p.Spec.PodSelector.MatchExpressions) > 0:
		return nil, fmt.Errorf("read policy of change %s: it does not select by labels alone", c.ID)
	case p.Labels[evidence.LabelCase] == "":
		return nil, fmt.Errorf("read policy of change %s: it has no label %s", c.ID, evidence.LabelCase)
	}
	return &p, nil
}

// Release implements Layer. A policy on the quarantine label stays, with a note, as long
// as a pod of the namespace carries the label: release takes the label off first.
func (l *netpol) Release(ctx context.Context, c evidence.Change) (Result, error) {
	return l.undo(ctx, c, sending{})
}

// ReleaseDry implements DryReleaser.
func (l *netpol) ReleaseDry(ctx context.Context, t evidence.Target, c evidence.Change) (Result, error) {
	return l.undo(ctx, c, trying(t))
}

func (l *netpol) undo(ctx context.Context, c evidence.Change, how sending) (res Result, err error) {
	want, err := policyOf(c)
	if err != nil {
		return Result{}, err
	}
	err = cluster.Persist(ctx, func() error {
		res, err = l.release(ctx, c, want, how)
		return err
	})
	return res, err
}

func (l *netpol) release(ctx context.Context, c evidence.Change, want *networkingv1.NetworkPolicy, how sending) (Result, error) {
	api, did := l.conn.Client.NetworkingV1().NetworkPolicies(want.Namespace), "delete "+c.Object.String()
	live, err := api.Get(ctx, want.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Result{Already: true}, nil
	}
	if err != nil {
		return Result{}, l.conn.Explain(did, err)
	}
	res := Result{UID: string(live.UID)}
	if live.Labels[evidence.LabelCase] != want.Labels[evidence.LabelCase] || (c.Object.UID != "" && c.Object.UID != string(live.UID)) {
		res.Already = true
		res.Notes = append(res.Notes, c.Object.String()+" is not the one that this case made, and is left")
		return res, nil
	}
	if !Early(c) {
		users, err := carriers(ctx, l.conn, want.Namespace, want.Spec.PodSelector.MatchLabels, how.without)
		if err != nil {
			return res, l.conn.Explain(did, err)
		}
		if len(users) > 0 {
			res.Already = true
			res.Notes = append(res.Notes, fmt.Sprintf("%s stays: %s still carries its label", c.Object, listed(users)))
			return res, nil
		}
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

// carriers are the pods of a namespace that have these labels, but for the one.
func carriers(ctx context.Context, conn *cluster.Conn, namespace string, on map[string]string, without string) ([]string, error) {
	var out []string
	err := pages(func(o metav1.ListOptions) (string, error) {
		o.LabelSelector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: on})
		pods, err := conn.Client.CoreV1().Pods(namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range pods.Items {
			if name := pods.Items[i].Name; name != without {
				out = append(out, "pod "+name)
			}
		}
		return pods.Continue, nil
	})
	return out, err
}

func gone(err error) bool { return errors.Is(err, cluster.ErrReplaced) }

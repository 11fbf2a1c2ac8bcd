package quarantine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// denier is one API in which a deny can be written that beats another's allow.
type denier struct {
	schema.GroupVersionResource
	kind       string
	namespaced bool
	plugins    []string // those that are known to act on it
	spec       func(s Scene, t evidence.Target, w Want) (map[string]any, error)
}

// deniers are the APIs that are known, each written to where the cluster serves it.
func deniers() []denier {
	gvr := func(group, version, resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
	}
	return []denier{
		{gvr("cilium.io", "v2", "ciliumnetworkpolicies"), "CiliumNetworkPolicy", true, []string{"cilium"}, denyCilium},
		{gvr("projectcalico.org", "v3", "globalnetworkpolicies"), "GlobalNetworkPolicy", false, []string{"calico", "canal"}, denyCalico},
		{gvr("policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies"), "ClusterNetworkPolicy", false, nil, denyCluster},
	}
}

type denyLayer struct {
	conn *cluster.Conn
	want Want
}

// NewDeny is the layer of the deny that beats someone else's allow, which a NetworkPolicy
// cannot: in whichever of Cilium's, Calico's and the network-policy-api's policies the
// cluster serves. It selects on the quarantine label.
func NewDeny(conn *cluster.Conn, w Want) Layer { return &denyLayer{conn: conn, want: w} }

// Traits implements Layer. Nothing is required: a cluster may have none of these APIs.
func (l *denyLayer) Traits() Traits {
	var rules []evidence.Rule
	for _, d := range deniers() {
		scope := evidence.InCluster
		if d.namespaced {
			scope = evidence.InTarget
		}
		rules = append(rules, evidence.Rule{Group: d.Group, Resource: d.Resource, Verbs: []string{"create", "get", "delete"}, Scope: scope,
			Why: "deny what another's policy allows, and take that away at release"})
	}
	return Traits{Name: LayerDeny, Rules: rules}
}

// Prepare implements Layer.
func (l *denyLayer) Prepare(s Scene, t evidence.Target) ([]evidence.Change, error) {
	if err := prepared(s, t, l.want, LayerDeny); err != nil {
		return nil, err
	}
	var out []evidence.Change
	for _, d := range offered(s) {
		spec, err := d.spec(s, t, l.want)
		if err != nil {
			return nil, fmt.Errorf("prepare %s in %s for %s: %w", LayerDeny, d.Group, t, err)
		}
		out = append(out, d.change(t, l.want.Case, spec))
	}
	return out, nil
}

// denyChanges are the changes where they can be made, none where they cannot.
func denyChanges(s Scene, t evidence.Target, w Want) []evidence.Change {
	if !w.wants(LayerDeny) {
		return nil
	}
	out, err := NewDeny(nil, w).Prepare(s, t)
	if err != nil {
		return nil
	}
	return out
}

// offered are the APIs that the cluster serves.
func offered(s Scene) []denier {
	return slices.DeleteFunc(deniers(), func(d denier) bool { return !slices.Contains(s.CNI.Deny, d.Group) })
}

// denyName holds the namespace too where the object has none of its own.
func (d denier) name(t evidence.Target, caseID string) string {
	if d.namespaced {
		return policyName(caseID)
	}
	return policyName(caseID) + "." + t.Namespace
}

func (d denier) change(t evidence.Target, caseID string, spec map[string]any) evidence.Change {
	meta := map[string]any{"name": d.name(t, caseID), "labels": map[string]any{evidence.LabelCase: caseID}}
	o := evidence.Object{APIVersion: d.GroupVersion().String(), Kind: d.kind, Name: d.name(t, caseID)}
	if d.namespaced {
		o.Namespace, meta["namespace"] = t.Namespace, t.Namespace
	}
	after := map[string]any{"apiVersion": o.APIVersion, "kind": o.Kind, "metadata": meta, "spec": spec}
	return evidence.Change{
		ID:    LayerDeny + "/create/" + strings.ToLower(d.kind) + "." + d.Group + "/" + t.Namespace + "/" + o.Name,
		Layer: LayerDeny, Op: evidence.OpCreate, Object: o, Before: json.RawMessage("null"), After: encode(after),
		Why: "deny all traffic, both ways, of the pods of case " + caseID + ", also what another's policy allows",
	}
}

// denierOf finds the API of a change, and refuses an object that irkit would not make.
func denierOf(c evidence.Change) (denier, *unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(c.After, &o.Object); err != nil {
		return denier{}, nil, fmt.Errorf("read policy of change %s: %w", c.ID, err)
	}
	i := slices.IndexFunc(deniers(), func(d denier) bool {
		return d.GroupVersion().String() == c.Object.APIVersion && d.kind == c.Object.Kind
	})
	switch {
	case i < 0:
		return denier{}, nil, fmt.Errorf("read policy of change %s: %s of %s is no policy that denies", c.ID, c.Object.Kind, c.Object.APIVersion)
	case o.GetName() != c.Object.Name || o.GetNamespace() != c.Object.Namespace || o.GetKind() != c.Object.Kind:
		return denier{}, nil, fmt.Errorf("read policy of change %s: it is not the object that the change names", c.ID)
	case o.GetLabels()[evidence.LabelCase] == "":
		return denier{}, nil, fmt.Errorf("read policy of change %s: it has no label %s", c.ID, evidence.LabelCase)
	}
	return deniers()[i], o, nil
}

func (l *denyLayer) api(d denier, c evidence.Change) dynamic.ResourceInterface {
	if d.namespaced {
		return l.conn.Dynamic.Resource(d.GroupVersionResource).Namespace(c.Object.Namespace)
	}
	return l.conn.Dynamic.Resource(d.GroupVersionResource)
}

// Apply implements Layer.
func (l *denyLayer) Apply(ctx context.Context, c evidence.Change) (Result, error) {
	return l.apply(ctx, c, nil)
}

// ApplyDry implements DryRunner.
func (l *denyLayer) ApplyDry(ctx context.Context, c evidence.Change) error {
	_, err := l.apply(ctx, c, []string{metav1.DryRunAll})
	return err
}

func (l *denyLayer) apply(ctx context.Context, c evidence.Change, dry []string) (Result, error) {
	d, want, err := denierOf(c)
	if err != nil {
		return Result{}, err
	}
	api, did := l.api(d, c), "create "+c.Object.String()
	var got *unstructured.Unstructured
	err = cluster.Persist(ctx, func() error {
		got, err = api.Create(ctx, want, metav1.CreateOptions{FieldManager: FieldManager, DryRun: dry})
		return err
	})
	if err == nil {
		return Result{UID: string(got.GetUID())}, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return Result{}, l.conn.Explain(did, err)
	}
	if got, err = api.Get(ctx, want.GetName(), metav1.GetOptions{}); err != nil {
		return Result{}, l.conn.Explain(did, err)
	}
	if got.GetLabels()[evidence.LabelCase] != want.GetLabels()[evidence.LabelCase] || !covers(got.Object["spec"], want.Object["spec"]) {
		return Result{}, fmt.Errorf("%s: one of that name is there and is not what this case makes: %w", did, ErrForeign)
	}
	return Result{UID: string(got.GetUID()), Already: true}, nil
}

// Release implements Layer. Like the quarantine policy it stays, with a note, as long as a
// pod of the namespace carries the label.
func (l *denyLayer) Release(ctx context.Context, c evidence.Change) (Result, error) {
	return l.undo(ctx, c, sending{})
}

// ReleaseDry implements DryReleaser.
func (l *denyLayer) ReleaseDry(ctx context.Context, t evidence.Target, c evidence.Change) (Result, error) {
	return l.undo(ctx, c, trying(t))
}

func (l *denyLayer) undo(ctx context.Context, c evidence.Change, how sending) (res Result, err error) {
	d, want, err := denierOf(c)
	if err != nil {
		return Result{}, err
	}
	err = cluster.Persist(ctx, func() error {
		res, err = l.release(ctx, c, d, want, how)
		return err
	})
	return res, err
}

func (l *denyLayer) release(ctx context.Context, c evidence.Change, d denier, want *unstructured.Unstructured, how sending) (Result, error) {
	api, did := l.api(d, c), "delete "+c.Object.String()
	live, err := api.Get(ctx, want.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Result{Already: true}, nil
	}
	if err != nil {
		return Result{}, l.conn.Explain(did, err)
	}
	uid, caseID := live.GetUID(), want.GetLabels()[evidence.LabelCase]
	res := Result{UID: string(uid)}
	if live.GetLabels()[evidence.LabelCase] != caseID || c.Object.UID != "" && c.Object.UID != string(uid) {
		res.Already = true
		res.Notes = append(res.Notes, c.Object.String()+" is not the one that this case made, and is left")
		return res, nil
	}
	namespace := c.Object.Namespace
	if !d.namespaced {
		namespace = strings.TrimPrefix(c.Object.Name, policyName(caseID)+".")
	}
	users, err := carriers(ctx, l.conn, namespace, map[string]string{evidence.LabelQuarantine: caseID}, how.without)
	if err != nil {
		return res, l.conn.Explain(did, err)
	}
	if len(users) > 0 {
		res.Already = true
		res.Notes = append(res.Notes, fmt.Sprintf("%s stays: %s still carries its label", c.Object, listed(users)))
		return res, nil
	}
	if !equality.Semantic.DeepEqual(live.Object["spec"], want.Object["spec"]) && (!covers(live.Object["spec"], want.Object["spec"]) || extends(live.Object["spec"], want.Object["spec"])) {
		res.Before = encode(live.Object["spec"])
		res.Notes = append(res.Notes, c.Object.String()+" had been changed since; it is deleted all the same, and what it said is in the record")
	}
	err = api.Delete(ctx, want.GetName(), how.delete(uid))
	if err != nil && !apierrors.IsNotFound(err) {
		return res, l.conn.Explain(did, err)
	}
	return res, nil
}

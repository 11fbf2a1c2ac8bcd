package reach

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"irkit.dev/irkit/evidence"
)

// Foreign is a policy of another kind than NetworkPolicy, as stored.
type Foreign struct {
	evidence.Object
	Labels map[string]string `json:"labels,omitempty"`
	Spec   json.RawMessage   `json:"spec,omitempty"`
	Specs  json.RawMessage   `json:"specs,omitempty"` // Cilium's further rules
	// Closes says that what its denies leave out is meant to be left out: all of them count
	// as a deny of everything in their direction.
	Closes bool `json:"-"`
}

// Resource is a kind of policy and where it is read.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
}

// Where Calico's policies are stored, and the API in front of that, which some clusters
// serve alone.
const (
	calicoStore = "crd.projectcalico.org"
	calicoAPI   = "projectcalico.org"
)

// Served are the kinds to read where these API groups are served. What is behind two of
// them is read from where it is stored.
func Served(groups []string) []Resource {
	return slices.DeleteFunc(Resources(), func(r Resource) bool {
		return !slices.Contains(groups, r.Group) || r.Group == calicoAPI && slices.Contains(groups, calicoStore)
	})
}

// Resources are the kinds that decide beside NetworkPolicy, with those that we know of and
// cannot read: they are named, and what they do is Unsure.
func Resources() []Resource {
	r := func(group, version, resource, kind string, namespaced bool) Resource {
		return Resource{schema.GroupVersionResource{Group: group, Version: version, Resource: resource}, kind, namespaced}
	}
	return []Resource{
		r("cilium.io", "v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy", true),
		r("cilium.io", "v2", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", false),
		r(calicoStore, "v1", "networkpolicies", "NetworkPolicy", true),
		r(calicoStore, "v1", "globalnetworkpolicies", "GlobalNetworkPolicy", false),
		r(calicoStore, "v1", "tiers", "Tier", false),
		r(calicoAPI, "v3", "networkpolicies", "NetworkPolicy", true),
		r(calicoAPI, "v3", "globalnetworkpolicies", "GlobalNetworkPolicy", false),
		r(calicoAPI, "v3", "tiers", "Tier", false),
		r("policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies", "ClusterNetworkPolicy", false),
		r("policy.networking.k8s.io", "v1alpha1", "adminnetworkpolicies", "AdminNetworkPolicy", false),
		r("policy.networking.k8s.io", "v1alpha1", "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy", false),
		r("crd.antrea.io", "v1beta1", "networkpolicies", "NetworkPolicy", true),
		r("crd.antrea.io", "v1beta1", "clusternetworkpolicies", "ClusterNetworkPolicy", false),
	}
}

// Title is how a person looks for the policy.
func (f Foreign) Title() string {
	kind := f.Kind
	group, _, _ := strings.Cut(f.APIVersion, "/")
	switch group {
	case calicoStore, calicoAPI:
		kind = "Calico " + kind
	case "crd.antrea.io":
		kind = "Antrea " + kind
	}
	if f.Namespace == "" {
		return kind + " " + f.Name
	}
	return kind + " " + f.Namespace + "/" + f.Name
}

// laws reads a policy. One that cannot be read may do anything to whom it may select.
func (f Foreign) laws() []law {
	group, _, _ := strings.Cut(f.APIVersion, "/")
	var out []law
	err := errors.New("this kind of policy is not read")
	switch {
	case group == "cilium.io":
		out, err = f.cilium()
	case strings.HasSuffix(group, "projectcalico.org") && f.Kind == "Tier":
		return nil // read by tiers
	case strings.HasSuffix(group, "projectcalico.org"):
		out, err = f.calico()
	case group == "policy.networking.k8s.io" && f.Kind == "ClusterNetworkPolicy":
		out, err = f.cluster()
	}
	if err != nil {
		return []law{f.unread(err)}
	}
	return out
}

func (f Foreign) unread(err error) law {
	namespace := f.Namespace
	l := law{name: f.Title(), stage: pluginStage, selects: func(p PodEnd) Answer {
		return Unsure.and(answer(namespace == "" || namespace == p.Namespace))
	}}
	for _, d := range directions() {
		for _, a := range []action{allow, deny} {
			l.clauses = append(l.clauses, clause{direction: d, action: a, rule: word(d), text: word(d) + " that cannot be told from here",
				matches: func(*PodEnd, Flow) Answer { return Unsure }, unsure: err.Error()})
		}
	}
	return l
}

func directions() []networkingv1.PolicyType {
	return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
}

func word(d networkingv1.PolicyType) string { return strings.ToLower(string(d)) }

// strictly reads JSON of which every field is known: one more field may mean anything.
func strictly(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read its specification: %w", err)
	}
	return nil
}

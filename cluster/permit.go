package cluster

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// Namespaces of irkit's own.
const (
	SystemNamespace = "irkit-system" // the probe pod
	NodeNamespace   = "irkit-node"   // node pods
)

// Identity is who the API server takes us for, after impersonation.
type Identity struct {
	Name   string
	UID    string
	Groups []string
}

// WhoAmI asks the API server who we are (SelfSubjectReview, KEP-3325).
func (c *Conn) WhoAmI(ctx context.Context) (Identity, error) {
	r, err := c.Client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authn.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return Identity{}, c.Explain("ask who we are", err)
	}
	u := r.Status.UserInfo
	return Identity{Name: u.Username, UID: u.UID, Groups: u.Groups}, nil
}

// Missing is one verb of a rule that is not allowed.
type Missing struct {
	Rule      evidence.Rule
	Verb      string
	Namespace string // empty: cluster-wide
	Reason    string // the authoriser's words, where it gave some
}

// String is "patch pods/ephemeralcontainers in prod".
func (m Missing) String() string {
	s := m.Verb + " " + Resource(m.Rule)
	if m.Namespace == "" {
		return s + " cluster-wide"
	}
	return s + " in " + m.Namespace
}

// Resource is the rule's resource as RBAC spells it, with its group where it has one.
func Resource(r evidence.Rule) string {
	s := r.Resource
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Sub != "" {
		s += "/" + r.Sub
	}
	return s
}

// Namespace is where a rule must hold for a target; empty: cluster-wide.
func Namespace(s evidence.Scope, t evidence.Target) string {
	switch s {
	case evidence.InTarget:
		return t.Namespace
	case evidence.InSystem:
		return SystemNamespace
	case evidence.InNodes:
		return NodeNamespace
	}
	return ""
}

// Check asks, all at once, whether each verb of each rule is allowed
// (SelfSubjectAccessReview), and answers what is not, in the order of the rules. What
// several rules want is asked once. It knows nothing of admission: that shows in a
// server-side dry run.
func (c *Conn) Check(ctx context.Context, t evidence.Target, rules []evidence.Rule) ([]Missing, error) {
	type question struct{ namespace, group, resource, sub, verb string }
	var all []Missing
	asked := map[question][]int{} // who wants to know
	for _, r := range rules {
		for _, v := range r.Verbs {
			m := Missing{Rule: r, Verb: v, Namespace: Namespace(r.Scope, t)}
			q := question{m.Namespace, r.Group, r.Resource, r.Sub, v}
			asked[q] = append(asked[q], len(all))
			all = append(all, m)
		}
	}
	denied := make([]bool, len(all))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(64) // one round trip for all
	for _, who := range asked {
		g.Go(func() error {
			ok, why, err := c.may(gctx, all[who[0]])
			for _, i := range who {
				denied[i], all[i].Reason = !ok, why
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, c.Explain("ask what we may do", err)
	}
	var out []Missing
	for i, m := range all {
		if denied[i] {
			out = append(out, m)
		}
	}
	return out, nil
}

func (c *Conn) may(ctx context.Context, m Missing) (bool, string, error) {
	r, err := c.Client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authz.SelfSubjectAccessReview{
		Spec: authz.SelfSubjectAccessReviewSpec{ResourceAttributes: &authz.ResourceAttributes{
			Namespace: m.Namespace, Verb: m.Verb, Group: m.Rule.Group, Resource: m.Rule.Resource, Subresource: m.Rule.Sub,
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, "", fmt.Errorf("may we %s: %w", m, err)
	}
	why := r.Status.Reason
	if e := r.Status.EvaluationError; e != "" && !r.Status.Allowed {
		why = e
	}
	return r.Status.Allowed, why, nil
}

// Admin reports whether we may do everything, as cluster-admin may: more than irkit
// needs, and more than a responder should carry.
func (c *Conn) Admin(ctx context.Context) (bool, error) {
	ok, _, err := c.may(ctx, Missing{Rule: evidence.Rule{Group: "*", Resource: "*"}, Verb: "*"})
	return ok, c.Explain("ask what we may do", err)
}

package quarantine

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"irkit.dev/irkit/evidence"
)

// Identity is the target's service account: what whoever holds its token may do, which
// tokens there are, and what else it stands for. It holds names, never the value of a
// secret or of a token.
type Identity struct {
	evidence.Object                        // the ServiceAccount; UID empty: it could not be read
	Account         *corev1.ServiceAccount `json:"account,omitempty"`
	Grants          []Grant                `json:"grants"`
	Powers          []Power                `json:"powers"`
	Secrets         SecretReach            `json:"secrets"`
	Used            []string               `json:"secrets_used"` // names that the pod mounts or refers to
	Tokens          []Token                `json:"tokens"`       // that the pod holds
	Legacy          []LegacyToken          `json:"legacy_tokens,omitempty"`
	Cloud           []CloudIdentity        `json:"cloud,omitempty"`
	Pods            []string               `json:"pods"` // others of the namespace that use the account
	// Sources say what Powers are made of: "rbac" (its objects, all of them read), "asked"
	// (SubjectAccessReview). None: nothing is known.
	Sources []string `json:"sources"`
}

// User is the account's name as the API server knows it.
func (i *Identity) User() string { return "system:serviceaccount:" + i.Namespace + ":" + i.Name }

// AccountGroups are the groups that every token of a namespace's accounts is in
// (k8s.io/apiserver, pkg/authentication/serviceaccount/util.go).
func AccountGroups(namespace string) []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
}

// Grant is one binding that gives the account something, with the rules of its role.
type Grant struct {
	Binding   evidence.Object     `json:"binding"`
	Role      evidence.Object     `json:"role"`
	Namespace string              `json:"namespace,omitempty"` // where it holds; empty: everywhere
	Group     string              `json:"group,omitempty"`     // bound through this group, not by name
	Rules     []rbacv1.PolicyRule `json:"rules,omitempty"`
	RoleRead  bool                `json:"role_read"` // false: the role is not there, or could not be read
	// Of a binding that names the account:
	Subjects    []rbacv1.Subject  `json:"subjects,omitempty"` // all, as they stood
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Named are the subjects of a binding that are the account itself. A service account may
// stand there as a user, too; without a namespace it is of the RoleBinding's.
func (i *Identity) Named(g Grant) []rbacv1.Subject {
	return slices.DeleteFunc(slices.Clone(g.Subjects), func(s rbacv1.Subject) bool { return !i.Is(g.Binding.Namespace, s) })
}

// Is reports a subject of a binding in that namespace that is the account itself.
func (i *Identity) Is(namespace string, s rbacv1.Subject) bool {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		of := s.Namespace
		if of == "" {
			of = namespace
		}
		return s.Name == i.Name && of == i.Namespace
	case rbacv1.UserKind:
		return s.Name == i.User()
	}
	return false
}

// Power is something that the account may do and that reaches further than its work.
type Power struct {
	Code      string   `json:"code"` // read-secrets, exec, escalate, …
	Text      string   `json:"text"` // "exec into pods"
	Namespace string   `json:"namespace,omitempty"`
	Names     []string `json:"names,omitempty"` // of these objects alone
	By        []string `json:"by"`              // bindings, or "asked"
	Layers    []string `json:"undoes,omitempty"`
}

// Where is the place of a power, for people.
func (p Power) Where() string {
	if p.Namespace == "" {
		return "everywhere"
	}
	return "in " + p.Namespace
}

// SecretReach is which secrets the account may read.
type SecretReach struct {
	Everywhere bool                `json:"everywhere,omitempty"`
	Namespaces []string            `json:"namespaces,omitempty"` // all of these
	Named      map[string][]string `json:"named,omitempty"`      // by namespace, "*": any
	// Names are those of the target's namespace that are within reach; only where secrets
	// could be listed (SurveySecrets).
	Names []string `json:"names,omitempty"`
}

// Token is one that the pod holds in a volume.
type Token struct {
	Volume   string `json:"volume"`
	Secret   string `json:"secret,omitempty"`   // of a legacy token; it has no end
	Audience string `json:"audience,omitempty"` // empty: the API server
	Seconds  int64  `json:"expiration_seconds,omitempty"`
	Mounted  bool   `json:"mounted"` // by a container; else it lies only on the node
}

// LegacyToken is a secret of type kubernetes.io/service-account-token of the account.
type LegacyToken struct {
	Name    string            `json:"name"`
	UID     string            `json:"uid"`
	Labels  map[string]string `json:"labels,omitempty"`
	Invalid string            `json:"invalid_since,omitempty"`
}

// CloudIdentity is what the account, or a token of the pod, stands for in a cloud. The
// tenant wrote it: it is not to be trusted as a word of a command line.
type CloudIdentity struct {
	Provider  string `json:"provider"`            // aws-irsa, aws-pod-identity, gcp, azure
	Principal string `json:"principal,omitempty"` // ARN, e-mail, client ID
	Source    string `json:"source"`              // the annotation or volume that says so
}

// Undoes says by layer why whoever holds the account's token could take it away; empty
// where the pod holds no token for the API server. It stays true until the rights or the
// token are revoked: a token that was sent out works from elsewhere.
func (i *Identity) Undoes() map[string]string {
	out := map[string]string{}
	if i == nil || !i.holdsToken() {
		return out
	}
	for _, p := range i.Powers {
		if len(p.Names) > 0 || (p.Namespace != "" && p.Namespace != i.Namespace) {
			continue // of single objects: ours have names of their own
		}
		for _, l := range p.Layers {
			if out[l] == "" {
				out[l] = "its service account " + i.Name + " may " + p.Text + " " + p.Where()
			}
		}
	}
	return out
}

func (i *Identity) holdsToken() bool {
	return slices.ContainsFunc(i.Tokens, func(t Token) bool { return t.Audience == "" && t.Mounted })
}

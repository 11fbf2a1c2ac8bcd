package evidence

// Scope says where a rule must hold.
type Scope string

// Scopes of a permission.
const (
	InTarget  Scope = "target"  // the target's namespace
	InSystem  Scope = "system"  // namespace irkit-system, where the probe pod runs
	InNodes   Scope = "nodes"   // namespace irkit-node, where node pods run
	InCluster Scope = "cluster" // cluster-wide
)

// Rule is one permission that something needs, as data: from this one value come
// the preflight, `irkit rbac` and docs/permissions.md.
type Rule struct {
	Group    string   `json:"group"` // "" is the core group
	Resource string   `json:"resource"`
	Sub      string   `json:"subresource,omitempty"`
	Verbs    []string `json:"verbs"`
	Scope    Scope    `json:"scope"`
	Required bool     `json:"required"` // without it the plan is refused; else something is left out
	Why      string   `json:"why"`
}

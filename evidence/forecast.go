package evidence

// Severity orders what a forecast says.
type Severity string

// Severities, from harmless to refusal.
const (
	Note    Severity = "note"
	Warning Severity = "warning"
	Refused Severity = "refused" // a layer or the whole cannot be done; Layer says which
)

// Finding is one statement of a forecast: what will follow, or what cannot be.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`            // stable, kebab-case: residual-allow, replacement-starts
	Layer    string   `json:"layer,omitempty"` // the layer that it concerns; empty: the whole
	Object   string   `json:"object,omitempty"`
	Text     string   `json:"text"` // one sentence for a person
}

// Forecast says what will happen, before the first write. It is computed by a
// pure function over the scene.
type Forecast struct {
	Target   Target    `json:"target"`
	Layers   []string  `json:"layers"`  // that will be applied, in order
	Refused  []string  `json:"refused"` // asked for, but not possible here; a finding says why
	Findings []Finding `json:"findings"`
	// BudgetSeconds is how long the kubelet lets the target live once its probes fail
	// (failureThreshold x periodSeconds, the least of all containers); 0: no such probe.
	BudgetSeconds int `json:"capture_budget_seconds,omitempty"`
}

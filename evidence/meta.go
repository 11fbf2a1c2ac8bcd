package evidence

import "time"

// MetaSchema is the schema of meta/evidence.json.
const MetaSchema = "irkit.dev/evidence/v1"

// Meta is meta/evidence.json: what the bundle is, of what, by whom, with what and on
// what ground. What is not known is left out; nothing in it is guessed.
type Meta struct {
	Schema      string `json:"schema"` // MetaSchema
	Bundle      string `json:"bundle_id"`
	Case        string `json:"case_id"`
	DerivedFrom string `json:"derived_from,omitempty"` // seal digest of the bundle that this is a redacted copy of
	Exercise    bool   `json:"exercise,omitempty"`     // nothing in it is of a real incident

	Target   MetaTarget        `json:"target"`
	Window   Window            `json:"window"`
	Clocks   Clocks            `json:"clocks"`
	Order    []OrderStep       `json:"order_of_volatility"`
	Method   Method            `json:"method"`
	Tool     Tool              `json:"tool"`
	Operator Actor             `json:"operator"`
	Legal    Legal             `json:"legal"`
	Limits   map[string]int64  `json:"limits,omitempty"` // name to number: max_artifact_bytes
	Results  Results           `json:"results"`
	Privacy  Privacy           `json:"privacy"`
	Custody  string            `json:"custody_head"` // digest of the last record in the bundle
	Digests  []string          `json:"algorithms"`   // sha256, sha512
	Notes    []string          `json:"notes,omitempty"`
	Extra    map[string]string `json:"extra,omitempty"`
}

// MetaTarget is the target with what a reader wants to know of it at a glance.
type MetaTarget struct {
	Target
	Context        string          `json:"context,omitempty"`    // of the kubeconfig
	Server         string          `json:"api_server,omitempty"` // address
	ServerVersion  string          `json:"api_server_version,omitempty"`
	Owner          string          `json:"owner,omitempty"` // kind/name
	ServiceAccount string          `json:"service_account,omitempty"`
	QoS            string          `json:"qos,omitempty"`
	HostNetwork    bool            `json:"host_network,omitempty"`
	IPs            []string        `json:"ips,omitempty"`
	CNI            string          `json:"cni,omitempty"`
	Containers     []MetaContainer `json:"containers"`
}

// MetaContainer is one container of the target.
type MetaContainer struct {
	Name    string `json:"name"`
	Ordinal string `json:"ordinal"` // c0, i0, e0
	Image   string `json:"image"`
	Digest  string `json:"image_digest,omitempty"` // as the runtime tells it
	ID      string `json:"container_id,omitempty"`
}

// Window is the time in which the bundle was filled.
type Window struct {
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// Clocks compares the clocks that stamped what is in the bundle. Offsets are what to add to
// a time of the clock to get this machine's, in milliseconds; nil: not measured.
type Clocks struct {
	Local       time.Time `json:"local"`
	APIServer   time.Time `json:"apiserver_date_header,omitzero"`
	APIOffset   *int64    `json:"apiserver_offset_ms,omitempty"`
	Node        time.Time `json:"node,omitzero"`
	NodeOffset  *int64    `json:"node_offset_ms,omitempty"`
	NTPOffset   *int64    `json:"ntp_offset_ms,omitempty"`
	NTPSynced   *bool     `json:"ntp_synced,omitempty"`
	Uncertainty int64     `json:"uncertainty_ms,omitempty"` // of the offsets
}

// OrderStep is one step of the order of volatility (RFC 3227, section 2.1), as it went.
type OrderStep struct {
	Rank     int       `json:"rank"`
	Step     string    `json:"step"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Result   string    `json:"result"` // ok, partial, failed, left-out
}

// Method says through what the target was read, and what that left behind.
type Method struct {
	Mode       string       `json:"mode"` // debugger, node, api
	Profile    string       `json:"profile,omitempty"`
	Image      string       `json:"image,omitempty"` // of the debug container
	AgentSHA   string       `json:"agent_sha256,omitempty"`
	Transport  string       `json:"transport,omitempty"` // spdy, websocket
	Privileges []string     `json:"privileges,omitempty"`
	Footprint  []Alteration `json:"footprint"`
}

// Legal says on what ground the bundle was made and how long it is to be kept.
type Legal struct {
	Authority
	Jurisdiction   []string  `json:"jurisdiction,omitempty"`
	Controller     string    `json:"controller,omitempty"`
	Processor      string    `json:"operator,omitempty"` // of personal data (LGPD art. 5, VII)
	DPO            string    `json:"dpo,omitempty"`
	RetentionClass string    `json:"retention_class,omitempty"`
	RetainUntil    time.Time `json:"retain_until,omitzero"`
	Hold           bool      `json:"hold,omitempty"`
}

// Results counts what the bundle holds.
type Results struct {
	Entries    int   `json:"entries"`
	Bytes      int64 `json:"bytes"` // of all parts
	Collected  int   `json:"collected"`
	Truncated  int   `json:"truncated"`
	Changed    int   `json:"changed"`
	LeftOut    int   `json:"left_out"`
	Impossible int   `json:"impossible"`
}

// Privacy says how values that may be secret were treated.
type Privacy struct {
	Environment string           `json:"env_mode"` // names-and-hmac, raw
	HMAC        string           `json:"hmac_alg,omitempty"`
	KeyID       string           `json:"hmac_key_id,omitempty"`
	Encrypted   bool             `json:"restricted_encrypted,omitempty"`
	Recipients  []string         `json:"recipients,omitempty"`
	Justified   string           `json:"justification,omitempty"` // of raw values
	Counts      map[string]int64 `json:"counts,omitempty"`
}

// Completeness is meta/completeness.json: every artifact that was planned, of every container, and
// what became of it. A row is there for each pair, so that nothing is missing unsaid.
type Completeness struct {
	Rows []CompletenessRow `json:"rows"`
}

// CompletenessRow is one artifact of one container.
type CompletenessRow struct {
	Kind      string   `json:"kind"`
	Section   Section  `json:"section"`
	Container string   `json:"container,omitempty"` // empty: of the pod
	Ordinal   string   `json:"ordinal"`
	Status    Status   `json:"status"`
	Reason    string   `json:"reason,omitempty"`
	Entries   []string `json:"entries,omitempty"` // their IDs
	Size      int64    `json:"size"`
}

// Planned is meta/plan.json: what the command was about to do, before the first write.
type Planned struct {
	Playbook string   `json:"playbook"`
	Version  string   `json:"playbook_version,omitempty"`
	Steps    []string `json:"steps,omitempty"`
	Layers   []string `json:"layers,omitempty"`
	Changes  []Change `json:"changes"`
}
